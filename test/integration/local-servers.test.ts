/** The servers that `npm start` brings along, and `npm start` itself, as real processes. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { connect as connectNats, type StreamAPI } from 'nats';
import pg from 'pg';
import { pino } from 'pino';
import { openDataDirectory } from '../../services/local/data-directory.ts';
import { startNatsServer } from '../../services/local/nats-server.ts';
import { findNatsServer } from '../../services/local/nats-server-source.ts';
import { findFreePort } from '../../services/local/ports.ts';
import { startPostgres } from '../../services/local/postgres.ts';
import { startProcess } from '../../services/local/process.ts';

const log = pino({ level: 'silent' });
const LIMIT_MS = 60_000;

async function dataDirectory(t: TestContext) {
  const directory = await openDataDirectory(undefined);
  t.after(() => directory.remove());
  return directory;
}

async function query(url: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + LIMIT_MS;
  while (!(await condition())) {
    if (performance.now() > deadlineMs) throw new Error(`not within ${LIMIT_MS / 1000} s: ${what}`);
    await wait(20);
  }
}

/** What a NATS server greets with, or null when none answers. */
async function readInfo(port: number): Promise<Record<string, unknown> | null> {
  const socket = connect({ host: '127.0.0.1', port });
  try {
    const [greeting] = await once(socket, 'data');
    return JSON.parse(String(greeting).replace(/^INFO /, ''));
  } catch {
    return null;
  } finally {
    socket.destroy();
  }
}

async function withStreams<T>(url: string, act: (streams: StreamAPI) => Promise<T>): Promise<T> {
  const connection = await connectNats({ servers: url });
  try {
    return await act((await connection.jetstreamManager()).streams);
  } finally {
    await connection.close();
  }
}

test('a NATS server comes up with JetStream, needs no credentials, stops, and goes on with its streams', async (t) => {
  const { path: binary } = await findNatsServer({ log });
  const { nats: dataDir } = await dataDirectory(t);
  for (const systemAccount of [false, true]) {
    const first = await startNatsServer({ binary, port: 0, dataDir, log, systemAccount });
    assert.equal(first.url, `nats://127.0.0.1:${first.port}`);
    await withStreams(first.url, (streams) => streams.add({ name: `kept-${systemAccount}`, subjects: ['a'] }));
    await first.stop();
    await first.stop();
    assert.equal(await readInfo(first.port), null);
    const second = await startNatsServer({ binary, port: first.port, dataDir, log, systemAccount });
    assert.equal(second.port, first.port);
    const kept = await withStreams(second.url, (streams) => streams.names().next());
    assert.deepEqual(kept, [`kept-${systemAccount}`]);
    await second.stop();
  }
});

test('a NATS server with a system account tells there who has gone', async (t) => {
  const { path: binary } = await findNatsServer({ log });
  const { nats: dataDir } = await dataDirectory(t);
  const server = await startNatsServer({ binary, port: 0, dataDir, log, systemAccount: true });
  t.after(() => server.stop());
  const { host, username: user, password: pass } = new URL(server.systemUrl!);
  const watcher = await connectNats({ servers: host, user, pass });
  const gone: string[] = [];
  watcher.subscribe('$SYS.ACCOUNT.*.DISCONNECT', { callback: (_error, message) => gone.push(message.subject) });
  await watcher.flush();
  const client = await connectNats({ servers: server.url });
  await client.close();
  await until('the event comes', () => gone.includes('$SYS.ACCOUNT.APP.DISCONNECT'));
  await watcher.close();
});

test('a NATS server that cannot start says why', async (t) => {
  const { path: binary } = await findNatsServer({ log });
  const { nats: dataDir } = await dataDirectory(t);
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.after(() => taken.close());
  const { port } = taken.address() as { port: number };
  const start = startNatsServer({ binary, port, dataDir, log });
  await assert.rejects(
    start,
    /nats-server ended with exit code 1 before it was ready; its last lines:[\s\S]*address already in use/,
  );
});

test('a Postgres is made once and goes on with its data, also after it was killed', async (t) => {
  const { postgres: dataDir } = await dataDirectory(t);
  const first = await startPostgres({ dataDir, port: 0, log });
  const [settings] = await query(
    first.url,
    `SELECT current_setting('server_encoding') AS encoding, version() AS version`,
  );
  assert.equal(settings?.encoding, 'UTF8');
  await query(first.url, 'CREATE TABLE kept AS SELECT 7 AS value');
  first.kill();
  await first.ended;
  const second = await startPostgres({ dataDir, port: first.port, log });
  assert.deepEqual(await query(second.url, 'SELECT value FROM kept'), [{ value: 7 }]);
  await second.stop();
  await second.stop();
  await assert.rejects(query(second.url, 'SELECT 1'), /ECONNREFUSED/);
});

test('the lock of a killed Postgres whose process id another process has now does not keep the next from starting', async (t) => {
  const { postgres: dataDir } = await dataDirectory(t);
  const first = await startPostgres({ dataDir, port: 0, log });
  const lockPath = join(dataDir, 'postmaster.pid');
  const lock = readFileSync(lockPath, 'utf8');
  await first.stop();
  writeFileSync(lockPath, lock.replace(String(first.pid), String(process.pid)));
  const second = await startPostgres({ dataDir, port: 0, log });
  await second.stop();
});

test('a second Postgres on the same data is refused, naming the process that has them', async (t) => {
  const { postgres: dataDir } = await dataDirectory(t);
  const first = await startPostgres({ dataDir, port: 0, log });
  t.after(() => first.stop());
  const second = startPostgres({ dataDir, port: 0, log });
  await assert.rejects(
    second,
    new RegExp(`is in use by process ${first.pid}\\. End that one \\(kill -INT ${first.pid}\\)`),
  );
  assert.deepEqual(await query(first.url, 'SELECT 1 AS one'), [{ one: 1 }]);
});

test('a database is made only where nothing else is, and what an interrupted start left is made anew', async (t) => {
  const { postgres: dataDir } = await dataDirectory(t);
  mkdirSync(dataDir);
  writeFileSync(join(dataDir, 'holiday.jpg'), '');
  await assert.rejects(
    startPostgres({ dataDir, port: 0, log }),
    /holds something else than a database \(ENOTEMPTY\): empty it/,
  );
  rmSync(join(dataDir, 'holiday.jpg'));
  mkdirSync(`${dataDir}.making`, { recursive: true });
  writeFileSync(join(`${dataDir}.making`, 'PG_VERSION'), '18');
  const server = await startPostgres({ dataDir, port: 0, log });
  await server.stop();
});

test('clients that name no user come in under the name of who started it', async (t) => {
  const { postgres: dataDir } = await dataDirectory(t);
  const server = await startPostgres({ dataDir, port: 0, log });
  t.after(() => server.stop());
  const { username } = userInfo();
  const rows = await query(`postgres://${username}@127.0.0.1:${server.port}/postgres`, 'SELECT current_user AS name');
  assert.deepEqual(rows, [{ name: username }]);
});

test('what this process started ends even when this process is killed', async (t) => {
  const { path: binary } = await findNatsServer({ log });
  const { nats: dataDir } = await dataDirectory(t);
  const module = new URL('../../services/local/nats-server.ts', import.meta.url).href;
  const source = `import { startNatsServer } from ${JSON.stringify(module)};
    const log = { child: () => log, debug() {} };
    const server = await startNatsServer({ binary: ${JSON.stringify(binary)}, port: 0, dataDir: ${JSON.stringify(dataDir)}, log });
    console.log(server.port);
    setInterval(() => {}, 1000);`;
  const starter = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = await once(createInterface({ input: starter.stdout }), 'line');
  assert.notEqual(await readInfo(Number(line)), null);
  starter.kill('SIGKILL');
  await until('the server ends', async () => (await readInfo(Number(line))) === null);
});

test('a process that ignores the signal to end is killed after the limit', async () => {
  const lines: string[] = [];
  const deaf = await startProcess({
    command: '/bin/sh',
    args: ['-c', `trap '' TERM; echo deaf; while :; do sleep 0.1; done`],
    onLine: (line) => lines.push(line),
  });
  await until('it is deaf', () => lines.includes('deaf'));
  assert.deepEqual(await deaf.stop({ signal: 'SIGTERM', limitMs: 100 }), { code: null, signal: 'SIGKILL' });
});

const MAIN = fileURLToPath(new URL('../../services/local/main.ts', import.meta.url));
const TSX = import.meta.resolve('tsx');
const FREE_PORTS = ['--nats-port', '0', '--postgres-port', '0', '--http-port', '0'];

interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  readonly lines: Record<string, unknown>[];
  readonly stderr: string[];
  /** The first line that has come, or comes, with this message. */
  line(msg: RegExp): Promise<Record<string, unknown>>;
}

/** `npm start` from a folder that is not the checkout. */
function start(t: TestContext, args: readonly string[], environment: NodeJS.ProcessEnv = {}): Started {
  const child = spawn(process.execPath, ['--import', TSX, MAIN, ...args], {
    cwd: tmpdir(),
    env: { ...process.env, LOG_FORMAT: '', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(child, 'exit').then(([code]) => code as number | null);
  t.after(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  const lines: Record<string, unknown>[] = [];
  const stderr: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(JSON.parse(line)));
  createInterface({ input: child.stderr }).on('line', (line) => stderr.push(line));
  let hasEnded = false;
  void ended.then(() => {
    hasEnded = true;
  });
  const line = async (msg: RegExp) => {
    const find = () => lines.find((each) => msg.test(String(each.msg)));
    await until(`a line ${msg}; stderr: ${stderr.join('\n')}`, () => find() !== undefined || hasEnded);
    const found = find();
    assert.ok(found, `it ended without a line ${msg}: ${stderr.join('\n')}`);
    return found;
  };
  return { child, ended, lines, stderr, line };
}

function pidOf(started: Started, name: string): number {
  return Number(started.lines.find((line) => line.msg === 'started' && line.name === name)?.pid);
}

test('npm start shares rows out, survives the kill of a worker, ends all in order, and goes on with its data', async (t) => {
  const data = await mkdtemp(join(tmpdir(), 'notifi-scaler-test-'));
  // Under root, Postgres runs as another user.
  await rm(data, { recursive: true });
  t.after(() => rm(data, { recursive: true, force: true }));
  const args = [...FREE_PORTS, '--workers', '2', '--rows', '6', '--data', data];
  const first = start(t, args);
  const announcement = await first.line(/^everything is started$/);
  const rows = 'SELECT count(*)::int AS rows, min(value) AS least FROM public.work_items';
  await until('all rows grow', async () => Number((await query(String(announcement.postgres), rows))[0]?.least) > 0);
  assert.equal((await fetch(String(announcement.http))).status > 0, true);

  process.kill(pidOf(first, 'worker-2'), 'SIGKILL');
  assert.equal((await first.line(/^worker-2 ended/)).msg, 'worker-2 ended by SIGKILL; its rows go to the others');
  await until('worker-1 has all rows', async () => {
    const text = `SELECT count(*)::int AS rows FROM public.work_items WHERE currentworker = 'worker-1'`;
    return (await query(String(announcement.postgres), text))[0]?.rows === 6;
  });

  first.child.kill('SIGTERM');
  assert.equal(await first.ended, 0, first.stderr.join('\n'));
  const stopped = first.lines.filter((line) => line.msg === 'stopped').map((line) => line.worker ?? line.coordinator);
  assert.deepEqual(stopped, ['worker-1', 'coordinator-1']);

  const second = start(
    t,
    [...args, '--rows=50'].filter((arg, index, all) => arg !== '--rows' && all[index - 1] !== '--rows'),
  );
  const again = await second.line(/^everything is started$/);
  const [kept] = await query(String(again.postgres), rows);
  assert.equal(kept?.rows, 6, 'the rows of the first start are kept');
  assert.ok(Number(kept?.least) > 0);
  process.kill(pidOf(second, 'NATS'), 'SIGKILL');
  assert.equal(await second.ended, 1);
  assert.match(second.stderr.join('\n'), /NATS ended by SIGKILL; nothing works without it, so everything ends\./);
});

test("npm start is not disturbed by what the caller's environment says of another Postgres", async (t) => {
  const elsewhere = {
    PGHOST: 'elsewhere.invalid',
    PGHOSTADDR: '192.0.2.1',
    PGPORT: '1',
    PGUSER: 'nobody',
    PGDATABASE: 'nowhere',
    PGSSLMODE: 'verify-full',
    PGSSLROOTCERT: '/no/such/file',
    PGSSLNEGOTIATION: 'direct',
    PGTARGETSESSIONATTRS: 'standby',
    PGOPTIONS: '-c default_transaction_read_only=on',
    DATABASE_URL: 'postgres://elsewhere.invalid/x',
  };
  const { line, child, ended } = start(t, [...FREE_PORTS, '--workers', '1', '--rows', '3'], elsewhere);
  assert.ok(await line(/^everything is started$/));
  child.kill('SIGTERM');
  assert.equal(await ended, 0);
});

test('npm start ends when the shell that npm runs it in is ended', async (t) => {
  const command = [process.execPath, '--import', TSX, MAIN, ...FREE_PORTS, '--workers', '0'].join(' ');
  const shell = spawn('/bin/sh', ['-c', `${command}; true`], {
    env: { ...process.env, LOG_FORMAT: '', npm_lifecycle_event: 'start' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => shell.kill('SIGKILL'));
  const messages: string[] = [];
  createInterface({ input: shell.stdout }).on('line', (line) => messages.push(String(JSON.parse(line).msg)));
  const closed = once(shell.stdout, 'close');
  await until('it is started', () => messages.includes('everything is started'));
  shell.kill('SIGTERM');
  await closed;
  assert.ok(messages.includes('ending everything: workers, coordinators, Postgres, NATS'));
});

test('ports that are taken are all named before anything is started', async (t) => {
  const servers = [createServer().listen(0, '127.0.0.1'), createServer().listen(0)];
  await Promise.all(servers.map((server) => once(server, 'listening')));
  t.after(() => servers.map((server) => server.close()));
  const [nats, http] = servers.map((server) => String((server.address() as { port: number }).port));
  const postgres = String(await findFreePort());
  const { ended, stderr, lines } = start(t, ['--nats-port', nats!, '--http-port', http!, '--postgres-port', postgres]);
  assert.equal(await ended, 1);
  assert.deepEqual(stderr, [
    `port ${nats}, wanted for NATS, is in use: give another with --nats-port, or --nats-port 0 for any free one`,
    `port ${http}, wanted for HTTP, is in use: give another with --http-port, or --http-port 0 for any free one`,
  ]);
  assert.deepEqual(lines, []);
});

test('bad options end npm start with exit code 2, --help with 0', async (t) => {
  const bad = start(t, ['--workers', 'many', '--htpp-port', '1']);
  assert.equal(await bad.ended, 2);
  assert.equal(bad.stderr.length, 4, bad.stderr.join('\n'));
  const help = spawn(process.execPath, ['--import', TSX, MAIN, '--help'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [text, [code]] = await Promise.all([help.stdout.toArray(), once(help, 'exit')]);
  assert.equal(code, 0);
  assert.match(text.join(''), /--workers .*\[LOCAL_WORKERS\]/);
});
