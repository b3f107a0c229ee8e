import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import pg from 'pg';
import { findFreePort } from '../../services/local/ports.ts';
import { connectPostgres } from '../../shared/postgres/connection.ts';
import { type LocalPostgres, recordingLog, startServer } from '../support/postgres-server.ts';
import { eventually } from '../support/service-process.ts';
import { TestSystem } from '../support/test-system.ts';

/** Debian puts it where ordinary users do not look. PGBOUNCER names another one to test with. */
const PGBOUNCER = process.env.PGBOUNCER ?? 'pgbouncer';
const ENVIRONMENT = { ...process.env, PATH: [process.env.PATH, '/usr/sbin'].join(delimiter) };
const missing = await promisify(execFile)(PGBOUNCER, ['--version'], { env: ENVIRONMENT }).then(
  () => null,
  () => 'PgBouncer is not installed: no test of poolers runs; apt-get install pgbouncer, or name one in PGBOUNCER',
);
if (missing !== null) process.stderr.write(`${missing}\n`);

describe('poolers', { skip: missing ?? false }, () => {
  let server: LocalPostgres;
  let folder: string;
  const poolers: ChildProcess[] = [];

  before(async () => {
    server = await startServer();
    folder = await mkdtemp(join(tmpdir(), 'notifi-scaler-pgbouncer-'));
    await chmod(folder, 0o755);
  });

  after(async () => {
    for (const pooler of poolers) {
      pooler.kill('SIGKILL');
      if (pooler.exitCode === null && pooler.signalCode === null) await once(pooler, 'exit');
    }
    await rm(folder, { recursive: true, force: true });
  });

  /** @returns its URL. */
  async function startPooler(mode: string, settings: readonly string[] = []): Promise<string> {
    const port = await findFreePort();
    const path = join(folder, `${mode}-${port}.ini`);
    const lines = [
      '[databases]',
      `* = host=127.0.0.1 port=${server.port} user=postgres`,
      '[pgbouncer]',
      'listen_addr = 127.0.0.1',
      `listen_port = ${port}`,
      'unix_socket_dir =',
      'auth_type = any',
      `pool_mode = ${mode}`,
      ...settings,
    ];
    await writeFile(path, `${lines.join('\n')}\n`);
    // It refuses to run as root.
    const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : [];
    poolers.push(spawn(PGBOUNCER, [...user, path], { stdio: 'ignore', env: ENVIRONMENT }));
    const url = `postgres://postgres@127.0.0.1:${port}/postgres`;
    await eventually('the pooler', async () => {
      const client = new pg.Client({ connectionString: url });
      return client.connect().then(
        () => client.end().then(() => true),
        () => false,
      );
    });
    return url;
  }

  const connect = (connectionString: string, log = recordingLog().log) =>
    connectPostgres({ connectionString, applicationName: 'test' }, { log });

  for (const mode of ['transaction', 'statement']) {
    test(`a pooler in ${mode} mode is refused by name, with the remedy`, async () => {
      const url = await startPooler(mode);
      await assert.rejects(connect(url), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'postgres-refused');
        assert.match(error.message, /it is a pooler such as PgBouncer in transaction or statement mode/);
        assert.match(error.message, /connect to Postgres itself, past the pooler, or .*pool_mode = session/);
        return true;
      });
    });
  }

  test('it is refused with a single server connection, and with many that others use at the same time', async () => {
    await assert.rejects(connect(await startPooler('transaction', ['default_pool_size = 1'])), /pool_mode = session/);
    const busy = await startPooler('transaction', ['default_pool_size = 10', 'server_round_robin = 1']);
    const clients = Array.from({ length: 6 }, () => new pg.Client({ connectionString: busy }));
    await Promise.all(clients.map((client) => client.connect()));
    let isOver = false;
    const traffic = clients.map(async (client) => {
      while (!isOver) await client.query('SELECT pg_sleep(0.001)');
    });
    await assert.rejects(connect(busy), /pool_mode = session/);
    isOver = true;
    await Promise.all(traffic);
    await Promise.all(clients.map((client) => client.end()));
  });

  test('a pooler in session mode is used, and mentioned', async () => {
    const { log, lines } = recordingLog();
    const link = await connect(await startPooler('session'), log);
    assert.ok(lines.some(({ msg }) => msg === 'Postgres is reached through a pooler'));
    const ask = { name: 'ask', text: 'SELECT $1::int AS n', values: [7] };
    for (const _ of [1, 2]) assert.equal((await link.query<{ n: number }>('a', ask)).rows[0]?.n, 7);
    await link.close();
  });

  test('services behind a pooler in transaction mode end with code 1 and say why; in session mode they tick', async () => {
    const system = await TestSystem.start({ postgresUrl: server.url });
    try {
      const behind = async (mode: string) => {
        const pooled = new URL(await startPooler(mode));
        pooled.pathname = new URL(system.databaseUrl).pathname;
        return { DATABASE_URL: pooled.href };
      };
      const refused = system.worker('refused', [], await behind('transaction'));
      assert.equal(await refused.end(), 1);
      assert.match(String(refused.lines.at(-1)?.reason), /pool_mode = session/);
      const environment = await behind('session');
      system.coordinator('coordinator', [], environment);
      const worker = system.worker('worker', [], environment);
      await worker.waitFor('a watching line', ({ msg }) => msg === 'watching');
      const client = new pg.Client({ connectionString: system.databaseUrl });
      await client.connect();
      await client.query('INSERT INTO work_items (value) SELECT 0 FROM generate_series(1, 20)');
      await client.end();
      await system.watching([worker], 20);
    } finally {
      await system.stop();
    }
  });
});
