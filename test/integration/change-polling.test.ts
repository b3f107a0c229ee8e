import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import pg from 'pg';
import { startAgain, startServer } from '../support/postgres-server.ts';
import { eventually, type ServiceProcess } from '../support/service-process.ts';
import { TestSystem } from '../support/test-system.ts';

/** What writers may do now that they notify nobody, and how the leader finds it out all the same. */
let system: TestSystem;
let leader: ServiceProcess;
let workers: readonly ServiceProcess[];
let admin: pg.Client;
/** Autovacuum names the table, too. */
const IS_POLLING = "query LIKE '%scaler.table_change%' AND backend_type = 'client backend' AND pid <> pg_backend_pid()";

before(async () => {
  const server = await startServer();
  await run(server.url, 'ALTER SYSTEM SET max_prepared_transactions = 10');
  await server.stop();
  const { url } = await startAgain(server);
  system = await TestSystem.start({ postgresUrl: url });
  leader = system.coordinator('coordinator-1');
  await leader.waitFor('leading', ({ msg }) => msg === 'leading');
  system.coordinator('coordinator-2');
  workers = [system.worker('worker-1'), system.worker('worker-2')];
  admin = new pg.Client({ connectionString: system.databaseUrl });
  await admin.connect();
  await leader.waitFor('a ring of two', ({ msg, workers }) => msg === 'ring published' && workers === 2);
});

beforeEach(async () => {
  await admin.query(`DELETE FROM work_items; ${insertSome(10)}`);
  await system.watching(workers, 10);
});

after(async () => {
  await admin?.end();
  await system?.stop();
});

const insertSome = (count: number) =>
  `INSERT INTO work_items (id) SELECT gen_random_uuid() FROM generate_series(1, ${count})`;
const deleteSome = (count: number) =>
  `DELETE FROM work_items WHERE id IN (SELECT id FROM work_items LIMIT ${count} FOR UPDATE)`;

describe('two-phase commit', () => {
  test('rows of a prepared transaction are shared out once it is committed', async () => {
    await admin.query(`BEGIN; ${insertSome(20)}`);
    await admin.query("PREPARE TRANSACTION 'added'");
    // A later commit, counted before the earlier transaction ends.
    await admin.query(insertSome(4));
    await system.watching(workers, 14);
    assert.equal(await rowsCounted(), 14);
    await admin.query("COMMIT PREPARED 'added'");
    await system.watching(workers, 34);
  });

  test('rows that a prepared transaction removes are given up once it is committed', async () => {
    await admin.query(`BEGIN; ${deleteSome(3)}; ${insertSome(1)}`);
    await admin.query("PREPARE TRANSACTION 'removed'");
    await admin.query("COMMIT PREPARED 'removed'");
    await system.watching(workers, 8);
    await eventually('8 rows counted', async () => (await rowsCounted()) === 8);
  });

  test('what a prepared transaction did is no change when it is rolled back', async () => {
    await admin.query(`BEGIN; ${insertSome(20)}`);
    await admin.query("PREPARE TRANSACTION 'undone'");
    await admin.query("ROLLBACK PREPARED 'undone'");
    await admin.query(insertSome(2));
    await system.watching(workers, 12);
    assert.equal(await rowsCounted(), 12);
  });

  test('a TRUNCATE can be prepared, too', async () => {
    await admin.query('BEGIN; TRUNCATE work_items');
    await admin.query("PREPARE TRANSACTION 'emptied'");
    await admin.query("COMMIT PREPARED 'emptied'");
    await eventually('no rows counted', async () => (await rowsCounted()) === 0);
  });
});

test('only the leader polls: a standby has no connection for it', async () => {
  const text = `SELECT DISTINCT application_name AS name FROM pg_stat_activity WHERE ${IS_POLLING}`;
  // Between two polls the connection may just have pruned: it is not seen polling at every moment.
  const polling = await eventually('somebody seen polling', async () => {
    const { rows } = await admin.query<{ name: string }>(text);
    return rows.length > 0 && rows;
  });
  assert.deepEqual(polling, [{ name: 'coordinator-1' }]);
});

test('the table is counted again when the polls get another connection, which may be to another server', async () => {
  const before = await recounts();
  // What a failover loses: rows that are there, and reports that are not.
  await admin.query(`SET session_replication_role = replica; ${insertSome(5)}; RESET session_replication_role`);
  await eventually('the polls cut off', async () => {
    const { rows } = await admin.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE ${IS_POLLING}`);
    return rows.length > 0;
  });
  await eventually('15 rows counted', async () => (await rowsCounted()) === 15);
  assert.ok((await recounts()) > before);
  await admin.query(insertSome(3));
  await eventually('18 rows counted', async () => (await rowsCounted()) === 18);
});

test('nothing is left in scaler.table_change, and its trigger functions notify nobody', async () => {
  const count = async () => (await admin.query('SELECT 1 FROM scaler.table_change')).rows.length;
  await eventually('all changes pruned', async () => (await count()) === 0);
  const { rows } = await admin.query(
    "SELECT proname FROM pg_proc WHERE prosrc ILIKE '%notify%' AND pronamespace = 'scaler'::regnamespace",
  );
  assert.deepEqual(rows, []);
});

async function rowsCounted(): Promise<unknown> {
  return ((await (await get('/api/desired-workers')).json()) as { rows?: number }).rows;
}

async function recounts(): Promise<number> {
  const found = /recounts_total\{reason="reconnected"\} (\d+)/.exec(await (await get('/metrics')).text());
  return Number(found?.[1] ?? 0);
}

async function get(path: string): Promise<Response> {
  const { port } = await leader.waitFor('its port', ({ msg }) => msg === 'serving the API, health and metrics');
  return fetch(`http://127.0.0.1:${port}${path}`);
}

async function run(url: string, text: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(text);
  await client.end();
}
