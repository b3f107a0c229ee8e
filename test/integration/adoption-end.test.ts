import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import pg from 'pg';
import { eventually, type ServiceProcess } from '../support/service-process.ts';
import { TestSystem } from '../support/test-system.ts';

/**
 * A coordinator whose adoption waits for a transaction of somebody else, and is then asked to leave. That transaction stays
 * open until the test ends: an adoption that waits for it, here or in Postgres, never ends.
 */
const MAKE = `CREATE TABLE public.work_items (id uuid PRIMARY KEY, value integer, currentworker text);
  INSERT INTO public.work_items SELECT gen_random_uuid(), n FROM generate_series(1, 100) n`;

let system: TestSystem;
let blocker: pg.Client;
let admin: pg.Client;

before(async () => {
  system = await TestSystem.start();
});
after(async () => {
  await system.stop();
});

beforeEach(async () => {
  [blocker, admin] = [await openClient('nightly report'), await openClient('admin')];
  await admin.query('DROP SCHEMA IF EXISTS scaler CASCADE; DROP TABLE IF EXISTS public.work_items');
  await admin.query(MAKE);
});

afterEach(async () => {
  await blocker.end();
  await admin.end();
});

async function openClient(name: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: system.databaseUrl, application_name: name });
  await client.connect();
  return client;
}

const readMigrations = async () =>
  (await admin.query('SELECT number FROM scaler.migration ORDER BY 1')).rows.map(({ number }) => Number(number));

async function readTraces(id: string) {
  const { rows } = await admin.query(
    `SELECT (SELECT count(*)::int FROM pg_locks l JOIN pg_database d ON d.oid = l.database
        WHERE l.locktype = 'advisory' AND d.datname = current_database()) AS locks,
      (SELECT count(*)::int FROM pg_stat_activity WHERE application_name = $1) AS sessions`,
    [id],
  );
  return rows[0] as { locks: number; sessions: number };
}

/** It ends with 0 while the blocker's transaction is still open, and leaves nothing running in Postgres. */
async function assertEndsWhenAsked(coordinator: ServiceProcess, id: string): Promise<void> {
  const migrations = await readMigrations();
  coordinator.signal('SIGTERM');
  assert.equal(await coordinator.end(), 0, coordinator.tail());
  await eventually('no advisory lock and no session', async () => {
    const { locks, sessions } = await readTraces(id);
    return locks === 0 && sessions === 0;
  });
  assert.deepEqual(await readMigrations(), migrations);
}

describe('an adoption that waits', () => {
  test('for an older transaction while it makes the index ends when asked, and names the transaction', async () => {
    await blocker.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM public.work_items');
    const coordinator = system.coordinator('waits-for-index');
    const line = await coordinator.waitFor('the wait', ({ msg }) => /waits for another transaction/.test(msg ?? ''));
    assert.match(String(line.reason), /^pid \d+ \(nightly report\), transaction open for \d+ s$/);
    await assertEndsWhenAsked(coordinator, 'waits-for-index');
    await blocker.query('ROLLBACK');
    // What it left behind is no obstacle.
    const next = system.coordinator('goes-on');
    await next.waitFor('leadership', ({ msg }) => /became leader|leading/.test(msg ?? ''));
    next.signal('SIGTERM');
    assert.equal(await next.end(), 0);
  });

  test('for a lock on the table ends when asked, and names its holder', async () => {
    await blocker.query('BEGIN; LOCK TABLE public.work_items IN SHARE UPDATE EXCLUSIVE MODE');
    const coordinator = system.coordinator('waits-for-lock');
    const line = await coordinator.waitFor('the wait', ({ msg }) =>
      /waits for another transaction|locked by another transaction/.test(msg ?? ''),
    );
    assert.match(String(line.reason), /pid \d+ \(nightly report\), transaction open for \d+ s/);
    await assertEndsWhenAsked(coordinator, 'waits-for-lock');
  });

  test('for another adoption ends when asked, and names its process', async () => {
    await blocker.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM public.work_items');
    const first = system.coordinator('adopts-first');
    await first.waitFor('the wait', ({ msg }) => /waits for another transaction/.test(msg ?? ''));
    const second = system.coordinator('adopts-second');
    const line = await second.waitFor('the wait', ({ msg }) => /waiting for another coordinator/.test(msg ?? ''));
    assert.match(String(line.reason), /pid \d+ \(adopts-first\)/);
    second.signal('SIGTERM');
    assert.equal(await second.end(), 0, second.tail());
    await assertEndsWhenAsked(first, 'adopts-first');
  });
});
