/** Real nats-server processes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { pino } from 'pino';
import { isAnswering } from '../../services/local/nats-server.ts';
import { findNatsServer } from '../../services/local/nats-server-source.ts';
import { findFreePort } from '../../services/local/ports.ts';

export interface TestNats {
  readonly url: string;
  readonly port: number;
  /** Where streams and buckets are kept. */
  readonly dataDir: string;
  /** In order; removes the store where it was made here. Idempotent. */
  stop(): Promise<void>;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** A new process on the same port and store; kills the old one where it still runs. */
  restart(): Promise<void>;
  /** Replaces the additional configuration, for the running server at once. */
  reload(config: string): Promise<void>;
}

export interface TestNatsOptions {
  /** @default NATS_SERVER, else the one in PATH, else fetched as for `npm start` */
  readonly binary?: string;
  /** @default any free one */
  readonly port?: number;
  /** @default a new one, removed by `stop` */
  readonly dataDir?: string;
  /** More of the server's own configuration language: users, accounts, TLS. */
  readonly config?: string;
  /** @default true */
  readonly hasJetStream?: boolean;
  /** More of it than this process has. */
  readonly environment?: Readonly<Record<string, string>>;
}

const READY_LIMIT_MS = 15_000;
const running = new Set<ChildProcess>();
const madeDirectories = new Set<string>();
// A test process that is told to end, by the runner's time limit for one, leaves no server behind.
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
  for (const directory of madeDirectories) rmSync(directory, { recursive: true, force: true });
});
process.once('SIGTERM', () => process.exit(143));

/** Starts a server on loopback, with JetStream; resolves when it answers. */
export async function startNats(options: TestNatsOptions = {}): Promise<TestNats> {
  const binary = options.binary ?? (await findNatsServer({ log: pino({ level: 'silent' }) })).path;
  const port = options.port ?? (await findFreePort());
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), 'notifi-nats-')));
  if (options.dataDir === undefined) madeDirectories.add(dataDir);
  const configPath = join(dataDir, 'test.conf');
  const jetStream = options.hasJetStream === false ? [] : ['-js', '-sd', dataDir];
  const args = ['-c', configPath, ...jetStream, '-a', '127.0.0.1', '-p', String(port)];
  await writeFile(configPath, options.config ?? '');
  const environment = { ...process.env, ...options.environment };
  let child = await spawnServer(binary, { args, port, environment });
  const end = async (signal: NodeJS.Signals) => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    await exited;
  };
  return {
    url: `nats://127.0.0.1:${port}`,
    port,
    dataDir,
    stop: async () => {
      await end('SIGTERM');
      if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true });
    },
    kill: () => end('SIGKILL'),
    restart: async () => {
      await end('SIGKILL');
      child = await spawnServer(binary, { args, port, environment });
    },
    reload: async (config) => {
      await writeFile(configPath, config);
      child.kill('SIGHUP');
    },
  };
}

async function spawnServer(
  binary: string,
  how: { readonly args: readonly string[]; readonly port: number; readonly environment: NodeJS.ProcessEnv },
): Promise<ChildProcess> {
  const { args, port, environment } = how;
  const child = spawn(binary, args, { stdio: ['ignore', 'ignore', 'pipe'], env: environment });
  running.add(child);
  child.once('exit', () => running.delete(child));
  let said = '';
  child.stderr.on('data', (chunk) => {
    said = `${said}${chunk}`.slice(-4_000);
  });
  await once(child, 'spawn');
  const deadlineMs = performance.now() + READY_LIMIT_MS;
  while (performance.now() < deadlineMs) {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`nats-server ended at once: ${said}`);
    if (await isAnswering(port)) return child;
    await wait(10);
  }
  child.kill('SIGKILL');
  throw new Error(`nats-server did not answer within ${READY_LIMIT_MS} ms: ${said}`);
}
