import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type pg from 'pg';
import { Registry } from 'prom-client';
import { performCoordinator } from '../../services/coordinator/effects.ts';
import { makeCoordinatorMetrics } from '../../services/coordinator/metrics.ts';
import { makeCoordinatorReports } from '../../services/coordinator/reports.ts';
import { adoptTable } from '../../shared/postgres/adoption.ts';
import type { PostgresLink } from '../../shared/postgres/connection.ts';
import { Fence } from '../../shared/postgres/fence.ts';
import { addRows, removeRows } from '../../shared/postgres/rows.ts';
import { TableError } from '../../shared/postgres/table.ts';
import { TableWatch } from '../../shared/postgres/table-watch.ts';
import { makeCoordinatorConfig } from '../support/machine-fixtures.ts';
import { type OpenedDatabase, openDatabase } from '../support/opened-database.ts';
import type { recordingLog } from '../support/postgres-server.ts';
import { ADOPTED_BY_769ECBC, WORK_ITEMS } from '../support/work-items.ts';

/** A publication of all tables, as logical replication and blue/green upgrades make it. Its rules apply at any wal_level. */
const PUBLISH = 'CREATE PUBLICATION everything FOR ALL TABLES';
const SLOTS = Array.from({ length: 16 }, (_, slot) => slot);

let opened: OpenedDatabase;
let link: PostgresLink;
let admin: pg.Client;
let records: ReturnType<typeof recordingLog>;

beforeEach(async () => {
  opened = await openDatabase();
  ({ link, admin, records } = opened);
});

afterEach(() => opened.close());

const adopt = () => adoptTable(link, { names: WORK_ITEMS, slots: 16, log: records.log });
const said = (pattern: RegExp) => records.lines.filter(({ msg }) => pattern.test(msg));

async function changes(): Promise<number> {
  return (await admin.query('SELECT count(*)::int AS count FROM scaler.table_change')).rows[0].count;
}

/** All that leaders and workers write. */
async function exercise(): Promise<void> {
  const fence = new Fence(link, WORK_ITEMS, { slots: 16 });
  const watch = new TableWatch(link, WORK_ITEMS, { slots: 16 });
  const epoch = await fence.drawEpoch(0);
  const { at: since } = await watch.count();
  await addRows(link, WORK_ITEMS, 100);
  await fence.claim({ worker: 'a', incarnation: 1, epoch, version: 1, slots: SLOTS });
  assert.equal((await fence.tick({ worker: 'a', incarnation: 1, tick: 5, slots: SLOTS })).rows, 100);
  // As if the database's clock had been set back by a minute.
  await admin.query('UPDATE scaler.slot SET last_tick = extract(epoch FROM now())::bigint + 60');
  assert.equal(await fence.rebase({ worker: 'a', incarnation: 1, slots: SLOTS }), 16);
  await removeRows(link, WORK_ITEMS, 100);
  const { at, connection } = await watch.changesSince(since);
  const prune = () => watch.prune({ after: null, at, epoch, connection });
  assert.ok((await prune()).pruned > 0);
  while (!(await prune()).isAll);
  assert.equal(await changes(), 0);
}

describe('beside a publication of all tables', () => {
  test('a table adopted by this version is ticked, counted and pruned', async () => {
    await adopt();
    await admin.query(PUBLISH);
    await exercise();
    await adopt();
  });

  test('a table that is adopted afterwards is ticked, counted and pruned', async () => {
    await admin.query(PUBLISH);
    await adopt();
    await exercise();
  });

  test('a database of commit 769ecbc whose changes piled up is migrated, and then pruned', async () => {
    await admin.query(ADOPTED_BY_769ECBC);
    await admin.query(PUBLISH);
    await admin.query(
      'INSERT INTO scaler.table_change (slot, delta) SELECT n % 16, 0 FROM generate_series(1, 250000) n',
    );
    await adopt();
    await exercise();
  });

  test('an identity that somebody took away is set again', async () => {
    await adopt();
    await admin.query(PUBLISH);
    await admin.query('ALTER TABLE scaler.table_change REPLICA IDENTITY NOTHING');
    await adopt();
    await exercise();
  });

  test('every table of ours has a replica identity', async () => {
    await adopt();
    const { rows } =
      await admin.query(`SELECT relname FROM pg_class c WHERE relnamespace = 'scaler'::regnamespace AND relkind = 'r'
      AND NOT (relreplident = 'f' OR relreplident = 'd' AND EXISTS (SELECT 1 FROM pg_index WHERE indrelid = c.oid AND indisprimary))`);
    assert.deepEqual(rows, []);
  });
});

describe('a table with a unique index and no primary key', () => {
  const make = 'CREATE TABLE public.work_items (id uuid NOT NULL UNIQUE, value int DEFAULT 0, currentworker text)';

  for (const [what, publish] of [
    ['of all tables', PUBLISH],
    ['of this table', 'CREATE PUBLICATION one FOR TABLE public.work_items'],
  ] as const) {
    test(`is refused beside a publication ${what}, and adopted after what the error says was run`, async () => {
      await admin.query(make);
      await admin.query(publish);
      const error = await adopt().then(
        () => null,
        (error) => error,
      );
      assert.ok(error instanceof TableError, String(error));
      assert.equal(error.code, 'no-replica-identity');
      await admin.query(/run: (.*)$/.exec(error.message)![1]!);
      await adopt();
      await exercise();
    });
  }

  test('is warned of without a publication, and no more after what the warning says was run', async () => {
    await admin.query(make);
    await adopt();
    const [warning] = said(/no replica identity/);
    await admin.query((warning as unknown as { remedy: string }).remedy);
    await adopt();
    assert.equal(said(/no replica identity/).length, 1);
  });

  test('is adopted beside a publication that publishes no updates', async () => {
    await admin.query(make);
    await admin.query("CREATE PUBLICATION inserts FOR ALL TABLES WITH (publish = 'insert')");
    await adopt();
    await exercise();
  });

  test('and with a deferrable primary key has no replica identity either', async () => {
    await admin.query(make);
    await admin.query('ALTER TABLE public.work_items ADD COLUMN n serial PRIMARY KEY DEFERRABLE');
    await adopt();
    assert.equal(said(/no replica identity/).length, 1);
  });
});

test('a failing prune is logged once, counted each time, and logged again after it worked in between', async () => {
  await adopt();
  const registry = new Registry();
  const metrics = makeCoordinatorMetrics(registry);
  const table = new TableWatch(link, WORK_ITEMS, { slots: 16 });
  const { log } = records;
  const scaling = { rowsPerWorker: 1, minWorkers: 1, maxWorkers: 1 };
  const report = makeCoordinatorReports({ log, metrics, scaling, subject: 'ring.snapshot' });
  const explain = async (error: unknown) => error;
  const outside = { table, report, explain } as unknown as Parameters<typeof performCoordinator>[1];
  const perform = performCoordinator(makeCoordinatorConfig(), outside);
  const { at, connection } = await table.count();
  const effect = { kind: 'prune-changes', after: null, at, epoch: 0, connection } as const;
  const prune = async () => assert.equal((await perform(effect))?.kind, 'table-pruned');
  const failures = async () => (await metrics.pruneFailures.get()).values[0]?.value;
  for (const round of [1, 2]) {
    await admin.query('ALTER TABLE scaler.table_change REPLICA IDENTITY NOTHING');
    await admin.query(PUBLISH);
    for (let attempt = 0; attempt < 3; attempt += 1) await prune();
    assert.equal(await failures(), 3 * round);
    const lines = said(/pruning scaler.table_change failed/);
    assert.equal(lines.length, round);
    assert.match((lines[0] as unknown as { reason: string }).reason, /replica identity/);
    await admin.query('DROP PUBLICATION everything');
    for (let attempt = 0; attempt < 3; attempt += 1) await prune();
    assert.equal(said(/what failed before succeeded/).length, round);
  }
  assert.equal(await failures(), 6);
});
