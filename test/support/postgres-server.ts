import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import pg from 'pg';
import { type Logger, pino } from 'pino';
import { startPostgres } from '../../services/local/postgres.ts';

export interface TestServer {
  readonly url: string;
}

export interface TestDatabase {
  readonly url: string;
  /** Also with clients still connected: they are thrown out. */
  readonly drop: () => Promise<void>;
}

export type LocalPostgres = Awaited<ReturnType<typeof startPostgres>> & { readonly dataDir: string };

const servers: Awaited<ReturnType<typeof startPostgres>>[] = [];
const dataDirs: string[] = [];

// Not where a server is started: a hook belongs to the test it is made in, and the server to the whole process. And not
// before the test file's own hooks: hooks run in the order they were made in, and the file's still need the server.
setImmediate(() =>
  after(async () => {
    await Promise.all(servers.map((server) => server.stop()));
    removeFolders();
  }),
);

// A test process that is cut off, as by the runner's time limit, runs no hooks.
process.once('exit', () => {
  for (const server of servers) server.kill();
  removeFolders();
});

process.once('SIGTERM', () => process.exit(143));

function removeFolders(): void {
  for (const folder of dataDirs.splice(0)) rmSync(folder, { recursive: true, force: true });
}

let server: Promise<TestServer> | null = null;

/** The Postgres of `TEST_DATABASE_URL`; without it, one that this test process starts and takes down at its end. */
export function sharedPostgres(): Promise<TestServer> {
  server ??= process.env.TEST_DATABASE_URL ? Promise.resolve({ url: process.env.TEST_DATABASE_URL }) : startServer();
  return server;
}

/** A Postgres of one's own, to be stopped and started at will, until the test process ends. */
export async function startServer(): Promise<LocalPostgres> {
  const dataDir = await mkdtemp(join(tmpdir(), 'notifi-scaler-postgres-'));
  dataDirs.push(dataDir);
  return startAgain({ dataDir, port: 0 });
}

/** Starts a stopped server of `startServer` once more. */
export async function startAgain({ dataDir, port }: { dataDir: string; port: number }): Promise<LocalPostgres> {
  const started = await startPostgres({ dataDir, port, log: pino({ level: 'silent' }) });
  servers.push(started);
  return { ...started, dataDir };
}

/** A new database of a random name, for one test file. */
export async function freshDatabase(url: string): Promise<TestDatabase> {
  const name = `test_${randomBytes(6).toString('hex')}`;
  await execute(url, `CREATE DATABASE ${name}`);
  const own = new URL(url);
  own.pathname = `/${name}`;
  return { url: own.href, drop: () => execute(url, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`) };
}

async function execute(url: string, text: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(text);
  } finally {
    await client.end();
  }
}

/** A logger that keeps its lines. */
export function recordingLog(): {
  readonly log: Logger;
  readonly lines: { readonly level: number; readonly msg: string }[];
} {
  const lines: { level: number; msg: string }[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  return { log, lines };
}
