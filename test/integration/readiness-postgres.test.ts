import assert from 'node:assert/strict';
import { appendFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { type LocalPostgres, startAgain, startServer } from '../support/postgres-server.ts';
import { BEGAN, countOf, tryTrouble } from '../support/readiness.ts';
import { eventually, type ServiceProcess } from '../support/service-process.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { TestSystem } from '../support/test-system.ts';

/** Postgres' troubles, with a real one: what `/readyz` and the logs of leader, standby and workers say. */
describe('readiness and Postgres', { timeout: 240_000 }, () => {
  let postgres: LocalPostgres;
  let proxy: TcpProxy;
  let system: TestSystem;
  let services: Record<string, ServiceProcess>;

  before(async () => {
    postgres = await startServer();
    proxy = await TcpProxy.before(postgres.url);
    await startWithPasswords();
    system = await TestSystem.start({ postgresUrl: postgres.url });
    await run(`ALTER DATABASE ${database()} OWNER TO app`);
    const url = new URL(proxy.through(system.databaseUrl));
    url.username = 'app';
    url.password = 'first';
    const environment = { DATABASE_URL: url.href };
    const leader = system.coordinator('coordinator-1', ['--slots', '256'], environment);
    await leader.waitFor('it to lead', ({ msg }) => msg === 'leading');
    await run(INSERT, system.databaseUrl);
    services = {
      leader,
      standby: system.coordinator('coordinator-2', ['--slots', '256'], environment),
      first: system.worker('worker-1', [], environment),
      second: system.worker('worker-2', [], environment),
    };
    await system.watching([services.first!, services.second!], 40);
  });

  after(async () => {
    await system?.stop();
    await proxy?.close();
  });

  test('a Postgres that is stopped makes all unready with its own words, and no service repeats itself', async () => {
    const lines = await tryTrouble({
      services,
      reasons: allSay(/Postgres: .*(ECONNREFUSED|connection was|terminat|57P0|ECONNRESET)/),
      begin: async () => {
        await postgres.stop();
        proxy.refuse();
      },
      end: async () => {
        postgres = await startAgain(postgres);
        proxy.heal();
      },
      lastsMs: 6_000,
    });
    for (const written of Object.values(lines)) assert.equal(countOf(written, /^Postgres requests fail/), 1);
  });

  test('a Postgres that hangs is logged after two seconds, not after the limit of a statement', async () => {
    const lines = await tryTrouble({
      services,
      reasons: allSay(/Postgres: no answer for \d/),
      begin: () => proxy.cut(),
      end: () => proxy.heal(),
    });
    for (const [name, written] of Object.entries(lines)) {
      assert.match(String(written.find(({ msg }) => BEGAN.test(msg ?? ''))?.reason), /^no answer for/, name);
    }
  });

  test('a Postgres that became read-only makes all unready with SQL state 25006 or what is set', async () => {
    const set = (value: 'on' | 'off') => run(`ALTER SYSTEM SET default_transaction_read_only = ${value}`);
    await tryTrouble({
      services,
      reasons: {
        ...both('leader', 'standby', /Postgres is read-only: transaction_read_only is on/),
        ...both('first', 'second', /cannot execute \w+.* in a read-only transaction \(25006\)/),
      },
      begin: async () => {
        await set('on');
        await run('SELECT pg_reload_conf()');
      },
      end: async () => {
        await run('ALTER SYSTEM RESET default_transaction_read_only');
        await run('SELECT pg_reload_conf()');
      },
    });
  });

  test('a rotated password makes all unready with SQL state 28P01, and they go on once it is valid again', async () => {
    await tryTrouble({
      services,
      reasons: allSay(/password authentication failed for user "app" \(28P01\)/),
      begin: async () => {
        await run("ALTER ROLE app PASSWORD 'second'");
        await run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
      },
      end: () => run("ALTER ROLE app PASSWORD 'first'"),
    });
  });

  test('a dropped schema scaler is created again by the leader, and no row is ticked twice in a second', async () => {
    const seen = await mending(() => run('DROP SCHEMA scaler CASCADE', system.databaseUrl));
    await seen(/^schema scaler had been dropped/);
    await seen(/^leading$/);
    await everybodyTicks();
    const audit = await system.cli('audit', '--seconds', '5', '--json');
    assert.equal(audit.json[0]?.double, 0);
  });

  test('a dropped table is reported with the remedy, and adopted again once it was created again', async () => {
    const lines = await tryTrouble({
      services,
      reasons: {
        ...both('leader', 'standby', /^table public\.work_items is gone: create it again/),
        ...both('first', 'second', /relation "public.work_items" does not exist \(42P01\)/),
      },
      begin: () => run('DROP TABLE public.work_items', system.databaseUrl),
      end: async () => {
        await run(`${CREATE}; ALTER TABLE work_items OWNER TO app; ${INSERT}`, system.databaseUrl);
      },
    });
    const mended = [lines.leader!, lines.standby!].map((of) =>
      countOf(of, /^the table had lost its slot index or triggers/),
    );
    assert.deepEqual(mended.sort(), [0, 1]);
    await everybodyTicks();
    await run(INSERT, system.databaseUrl);
    await system.watching([services.first!, services.second!], 80);
  });

  test('a table that was replaced in one transaction gets its index and triggers again', async () => {
    const replace = `BEGIN; DROP TABLE work_items; ${CREATE}; ALTER TABLE work_items OWNER TO app; ${INSERT}; COMMIT`;
    const seen = await mending(() => run(replace, system.databaseUrl));
    await seen(/^the table had lost its slot index/);
    await run(INSERT, system.databaseUrl);
    await system.watching([services.first!, services.second!], 80);
  });

  test('a schema scaler that lost a part is refused with the remedy, and the remedy works', async () => {
    await tryTrouble({
      services,
      reasons: {
        ...both('leader', 'standby', /^schema scaler lacks scaler\.slot: run: DROP SCHEMA scaler CASCADE/),
        ...both('first', 'second', /relation "scaler\.slot" does not exist \(42P01\)/),
      },
      begin: () => run('DROP TABLE scaler.slot CASCADE', system.databaseUrl),
      end: () => run('DROP SCHEMA scaler CASCADE', system.databaseUrl),
    });
    await everybodyTicks();
  });

  function allSay(reason: RegExp): Record<string, RegExp> {
    return Object.fromEntries(Object.keys(services).map((name) => [name, reason]));
  }

  function both(one: string, other: string, reason: RegExp): Record<string, RegExp> {
    return { [one]: reason, [other]: reason };
  }

  /** Damages something; returns what waits for a line of either coordinator since: on a slow machine the other one may lead. */
  async function mending(damage: () => Promise<unknown>): Promise<(message: RegExp) => Promise<unknown>> {
    const coordinators = [services.leader!, services.standby!].map((one) => ({ one, from: one.lines.length }));
    await damage();
    return (message) =>
      eventually(
        `a line ${message}`,
        () => coordinators.some(({ one, from }) => countOf(one.lines.slice(from), message) > 0),
        () => coordinators.map(({ one }) => one.tail()).join('\n'),
      );
  }

  /** All rows, by any worker. */
  async function everybodyTicks(): Promise<void> {
    const before = await rows();
    const isTicked = async () => {
      const after = await rows();
      return before.size > 0 && [...before].every(([id, value]) => (after.get(id) ?? -1) > value);
    };
    await eventually('every row to be ticked', isTicked, () => services.leader!.tail());
  }

  async function rows(): Promise<Map<string, number>> {
    const found = await run('SELECT id, value FROM work_items', system.databaseUrl);
    return new Map(found.rows.map(({ id, value }) => [String(id), Number(value)]));
  }

  function database(): string {
    return new URL(system.databaseUrl).pathname.slice(1);
  }

  /** Everybody else is trusted, as before. */
  async function startWithPasswords(): Promise<void> {
    await run("CREATE ROLE app LOGIN PASSWORD 'first'");
    const path = join(postgres.dataDir, 'pg_hba.conf');
    const trusting = await readFile(path, 'utf8');
    await writeFile(path, 'host all app 127.0.0.1/32 scram-sha-256\n');
    await appendFile(path, trusting);
    await run('SELECT pg_reload_conf()');
  }

  /** As the superuser, and past the proxy. */
  async function run(text: string, url: string = postgres.url): Promise<pg.QueryResult> {
    const client = new pg.Client({ connectionString: url, options: '-c default_transaction_read_only=off' });
    await client.connect();
    try {
      return await client.query(text);
    } finally {
      await client.end();
    }
  }
});

const CREATE = `CREATE TABLE work_items (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), value integer NOT NULL DEFAULT 0,
  currentworker text)`;
const INSERT = 'INSERT INTO work_items (value) SELECT 0 FROM generate_series(1, 40)';
