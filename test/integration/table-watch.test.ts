import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { adoptTable } from '../../shared/postgres/adoption.ts';
import { connectPostgres, type PostgresLink } from '../../shared/postgres/connection.ts';
import { Fence } from '../../shared/postgres/fence.ts';
import { addRows, removeRows } from '../../shared/postgres/rows.ts';
import { type TableCount, TableWatch } from '../../shared/postgres/table-watch.ts';
import { freshDatabase, recordingLog, sharedPostgres, type TestDatabase } from '../support/postgres-server.ts';
import { eventually } from '../support/service-process.ts';
import { WORK_ITEMS } from '../support/work-items.ts';

const SLOTS = 32;
const { log } = recordingLog();

let database: TestDatabase;
let link: PostgresLink;
let watch: TableWatch;
let fence: Fence;
let admin: pg.Client;

before(async () => {
  database = await freshDatabase((await sharedPostgres()).url);
  link = await connectPostgres({ connectionString: database.url, applicationName: 'test' }, { log });
  const adoption = await adoptTable(link, { names: WORK_ITEMS, slots: SLOTS, log });
  watch = new TableWatch(link, WORK_ITEMS, adoption);
  fence = new Fence(link, WORK_ITEMS, adoption);
  admin = await openClient();
});

after(async () => {
  await link.close();
  await admin.end();
  await database.drop();
});

beforeEach(async () => {
  await admin.query('TRUNCATE work_items; DELETE FROM scaler.table_change');
});

async function openClient(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  return client;
}

const insertSome = (count: number) =>
  `INSERT INTO work_items (id) SELECT gen_random_uuid() FROM generate_series(1, ${count})`;
const deleteSome = (count: number) =>
  `DELETE FROM work_items WHERE id IN (SELECT id FROM work_items LIMIT ${count} FOR UPDATE SKIP LOCKED)`;

/** Adds changes to a count, as the coordinator does. */
class Tally {
  weights: Float64Array;
  rows: number;
  at: string;
  readonly connection: string;

  constructor(count: TableCount) {
    this.weights = count.weights;
    this.rows = count.rows;
    this.at = count.at;
    this.connection = count.connection;
  }

  async follow(): Promise<void> {
    const change = await watch.changesSince(this.at);
    assert.deepEqual([change.recount, change.connection], [false, this.connection]);
    for (const { slot, delta } of change.deltas) this.weights[slot] = this.weights[slot]! + delta;
    this.rows += change.added - change.removed;
    this.at = change.at;
  }
}

async function assertExact(tally: Tally): Promise<void> {
  const exact = await watch.count();
  assert.equal(tally.rows, exact.rows);
  assert.deepEqual(tally.weights, exact.weights);
}

describe('counting', () => {
  test('an empty table has no rows and no changes', async () => {
    const { weights, rows, at, connection } = await watch.count();
    assert.deepEqual({ weights, rows }, { weights: new Float64Array(SLOTS), rows: 0 });
    const { at: later, connection: laterConnection, readMs, ...change } = await watch.changesSince(at);
    assert.deepEqual(change, { deltas: [], added: 0, removed: 0, recount: false });
    assert.equal(laterConnection, connection);
    assert.match(later, /^\d+:\d+:/);
    assert.ok(readMs > 0);
  });

  test('a poll waits for the next commit, also for that of a transaction that began before', async () => {
    const earlier = await openClient();
    try {
      await earlier.query(`BEGIN; ${insertSome(3)}`);
      let { at } = await watch.count();
      const commits = [
        [1, () => admin.query(insertSome(1))],
        [3, () => earlier.query('COMMIT')],
      ] as const;
      for (const [rows, commit] of commits) {
        const waiting = watch.changesSince(at);
        await delay(50);
        await commit();
        let change = await waiting;
        // On a busy machine the wait may have been over before the commit.
        if (change.added === 0) change = await watch.changesSince(change.at);
        assert.equal(change.added, rows);
        at = change.at;
      }
    } finally {
      await earlier.end();
    }
  });

  test('a poll that waits holds back no vacuum', async () => {
    const { at } = await watch.count();
    const waiting = async () =>
      (await admin.query("SELECT query_start, backend_xmin FROM pg_stat_activity WHERE query LIKE 'DO %table_change%'"))
        .rows;
    await eventually('one wait that goes on with a newer snapshot', async () => {
      const poll = watch.changesSince(at);
      await delay(30);
      const [before] = await waiting();
      await admin.query('SELECT pg_current_xact_id()');
      await delay(60);
      const [after] = await waiting();
      await poll;
      if (before === undefined || after === undefined || `${before.query_start}` !== `${after.query_start}`)
        return false;
      return after.backend_xmin === null || Number(after.backend_xmin) > Number(before.backend_xmin);
    });
  });

  test('each insert and delete is told once, netted by slot, with its totals', async () => {
    const tally = new Tally(await watch.count());
    await addRows(link, WORK_ITEMS, 500);
    await removeRows(link, WORK_ITEMS, 120);
    const change = await watch.changesSince(tally.at);
    assert.deepEqual([change.added, change.removed], [500, 120]);
    assert.ok(change.deltas.every(({ delta }) => delta !== 0));
    await tally.follow();
    await assertExact(tally);
    await tally.follow();
    await assertExact(tally);
  });

  test('a row that takes another id moves to its new slot', async () => {
    await addRows(link, WORK_ITEMS, 100);
    const tally = new Tally(await watch.count());
    await admin.query('UPDATE work_items SET id = gen_random_uuid()');
    await admin.query('UPDATE work_items SET id = id');
    await tally.follow();
    await assertExact(tally);
  });

  test('rows that a conflict kept out, and statements that did nothing, are no changes', async () => {
    await addRows(link, WORK_ITEMS, 10);
    const { at } = await watch.count();
    await admin.query('INSERT INTO work_items (id) SELECT id FROM work_items ON CONFLICT (id) DO UPDATE SET value = 3');
    await admin.query('INSERT INTO work_items (id) SELECT id FROM work_items ON CONFLICT DO NOTHING');
    await admin.query('DELETE FROM work_items WHERE false');
    const slots = Array.from({ length: SLOTS }, (_, slot) => slot);
    await fence.claim({ worker: 'a', incarnation: 1, epoch: await fence.drawEpoch(0), version: 1, slots });
    await fence.tick({ worker: 'a', incarnation: 1, tick: 1, slots });
    assert.equal((await admin.query('SELECT 1 FROM scaler.table_change WHERE slot = -1 OR delta < 0')).rows.length, 0);
    assert.deepEqual((await watch.changesSince(at)).deltas, []);
  });

  test('what a rolled back transaction or savepoint did is no change; what a kept savepoint did is one', async () => {
    const tally = new Tally(await watch.count());
    await admin.query(`BEGIN; ${insertSome(10)}; ROLLBACK`);
    await admin.query(
      `BEGIN; ${insertSome(3)}; SAVEPOINT a; ${insertSome(50)}; ROLLBACK TO a; SAVEPOINT b; ${insertSome(4)}; RELEASE b; COMMIT`,
    );
    await tally.follow();
    assert.equal(tally.rows, 7);
    await assertExact(tally);
  });

  test('a statement of many rows is summed up by slot, one of few is not, and both are exact', async () => {
    for (const count of [1, 7, 8, 9, 16, 2_000]) {
      await admin.query('DELETE FROM work_items');
      const tally = new Tally(await watch.count());
      await admin.query('DELETE FROM scaler.table_change');
      await admin.query(insertSome(count));
      const recorded = (await admin.query('SELECT 1 FROM scaler.table_change')).rows.length;
      assert.ok(recorded <= Math.min(count, 8 + SLOTS), `${recorded} for ${count}`);
      await tally.follow();
      await assertExact(tally);
      await admin.query('DELETE FROM work_items');
      await tally.follow();
      assert.equal(tally.rows, 0);
      await assertExact(tally);
    }
  });

  test('sums beyond the range of an integer are read', async () => {
    const { at } = await watch.count();
    await admin.query(`INSERT INTO scaler.table_change (slot, delta)
      SELECT 3, delta FROM (VALUES (2147483647), (2147483647), (-2147483648)) d (delta)`);
    const { deltas, added, removed } = await watch.changesSince(at);
    assert.deepEqual(
      { deltas, added, removed },
      {
        deltas: [{ slot: 3, delta: 2 ** 31 - 2 }],
        added: 2 ** 32 - 2,
        removed: 2 ** 31,
      },
    );
  });

  test('a table that was truncated is to be counted anew', async () => {
    await addRows(link, WORK_ITEMS, 100);
    const { at } = await watch.count();
    await admin.query('TRUNCATE work_items');
    await addRows(link, WORK_ITEMS, 5);
    assert.equal((await watch.changesSince(at)).recount, true);
    const tally = new Tally(await watch.count());
    assert.equal(tally.rows, 5);
    await tally.follow();
    await assertExact(tally);
  });
});

describe('what is dead in scaler.table_change', () => {
  test('is not read by polls and prunes, also where an old snapshot keeps it from being removed', async () => {
    const epoch = await fence.drawEpoch(0);
    const holder = await openClient();
    await holder.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
    await admin.query('INSERT INTO scaler.table_change (slot, delta) SELECT 1, 0 FROM generate_series(1, 20000)');
    await admin.query('DELETE FROM scaler.table_change');
    const tally = new Tally(await watch.count());
    let pruned = tally.at;
    const before = await readScans();
    const changes = 25;
    for (let round = 0; round < changes; round += 1) {
      await addRows(link, WORK_ITEMS, 1);
      await tally.follow();
      await watch.prune({ after: pruned, at: tally.at, epoch, connection: tally.connection });
      pruned = tally.at;
    }
    const until = performance.now() + 20_000;
    for (;;) {
      // Each backend reports what it did a second later, with its next statement.
      await watch.changesSince(tally.at);
      const { entries, scans } = await readScans();
      if (scans - before.scans >= 2 * changes) {
        assert.ok(entries - before.entries < 1_000, `${entries - before.entries} entries read`);
        break;
      }
      assert.ok(performance.now() < until, `${scans} scans reported`);
      await delay(100);
    }
    await holder.query('COMMIT');
    await holder.end();
    await assertExact(tally);
  });

  /** Of all backends, as far as they have reported them: counts of scans, and of index entries read. */
  async function readScans() {
    const { rows } = await admin.query<Record<'scans' | 'entries', string>>(
      "SELECT idx_scan AS scans, idx_tup_read AS entries FROM pg_stat_user_indexes WHERE indexrelname = 'table_change_xid'",
    );
    return { scans: Number(rows[0]?.scans), entries: Number(rows[0]?.entries) };
  }
});

describe('transactions around the count', () => {
  test('one that inserted before the count and commits after it is counted exactly once', async () => {
    const writer = await openClient();
    await writer.query(`BEGIN; ${insertSome(25)}`);
    const tally = new Tally(await watch.count());
    assert.equal(tally.rows, 0);
    await tally.follow();
    assert.equal(tally.rows, 0);
    // A later transaction, committed before the earlier one, draws the snapshots' upper end past it.
    await addRows(link, WORK_ITEMS, 10);
    await tally.follow();
    assert.equal(tally.rows, 10);
    await writer.query('COMMIT');
    await tally.follow();
    assert.equal(tally.rows, 35);
    await tally.follow();
    await assertExact(tally);
    await writer.end();
  });

  test('pruning deletes what was counted, keeps what was not, and nothing for a former leader', async () => {
    const epoch = await fence.drawEpoch(0);
    const writer = await openClient();
    await addRows(link, WORK_ITEMS, 10);
    await writer.query(`BEGIN; ${insertSome(25)}`);
    const tally = new Tally(await watch.count());
    await writer.query('COMMIT');
    await writer.end();
    const prune = { after: null, at: tally.at, epoch, connection: tally.connection };
    assert.ok((await watch.prune(prune)).pruned > 0);
    assert.deepEqual(await watch.prune(prune), { pruned: 0, isAll: true });
    await tally.follow();
    assert.equal(tally.rows, 35);
    await fence.drawEpoch(0);
    assert.equal((await watch.prune({ ...prune, at: tally.at })).pruned, 0);
    await tally.follow();
    await assertExact(tally);
  });

  test('changes are pruned over the connection only that they were polled over', async () => {
    const epoch = await fence.drawEpoch(0);
    await addRows(link, WORK_ITEMS, 10);
    const { at, connection } = await watch.count();
    assert.equal((await watch.prune({ after: null, at, epoch, connection: 'another' })).pruned, 0);
    const other = new TableWatch(link, WORK_ITEMS, { slots: SLOTS });
    assert.notEqual((await other.count()).connection, connection);
    assert.ok((await watch.prune({ after: null, at, epoch, connection })).pruned > 0);
  });

  test('changes are pruned in a database that was restored to before its leader’s epoch', async () => {
    const epoch = await fence.drawEpoch(0);
    const { at, connection } = await watch.count();
    await admin.query(insertSome(3));
    await admin.query('UPDATE scaler.adoption SET epoch = epoch - 1');
    const { at: later } = await watch.changesSince(at);
    assert.equal((await watch.prune({ after: at, at: later, epoch, connection })).pruned, 3);
    await admin.query('UPDATE scaler.adoption SET epoch = epoch + 1');
  });

  test('changes that a dump brought from another server are never counted, and pruned', async () => {
    const epoch = await fence.drawEpoch(0);
    const { at, connection } = await watch.count();
    await admin.query("INSERT INTO scaler.table_change (slot, delta, xid) VALUES (3, 7, '900000000000000')");
    assert.deepEqual((await watch.changesSince(at)).deltas, []);
    assert.equal((await watch.prune({ after: at, at, epoch, connection })).pruned, 1);
  });

  test('random writers, with pruning in between, add up to the exact count', async () => {
    const epoch = await fence.drawEpoch(0);
    const tally = new Tally(await watch.count());
    const endMs = performance.now() + 3_000;
    const isOver = () => performance.now() > endMs;
    const writers = Array.from({ length: 5 }, async () => {
      const writer = await openClient();
      while (!isOver()) {
        const size = 1 + Math.floor(Math.random() * 30);
        const work = Math.random() < 0.6 ? insertSome(size) : deleteSome(size);
        const end = Math.random() < 0.8 ? 'COMMIT' : 'ROLLBACK';
        await writer.query(`BEGIN; ${work}`);
        if (Math.random() < 0.3) await delay(Math.random() * 40);
        if (Math.random() < 0.2) await writer.query(insertSome(2));
        await writer.query(end);
      }
      await writer.end();
    });
    let follows = 0;
    let pruned: string | null = null;
    while (!isOver()) {
      await tally.follow();
      follows += 1;
      if (follows % 7 !== 0) continue;
      const { at, connection } = tally;
      if ((await watch.prune({ after: pruned, at, epoch, connection })).isAll) pruned = at;
    }
    await Promise.all(writers);
    await tally.follow();
    assert.ok(follows > 20 && tally.rows > 0, `${follows} reads, ${tally.rows} rows`);
    await assertExact(tally);
    await watch.prune({ after: pruned, at: tally.at, epoch, connection: tally.connection });
    assert.equal((await admin.query('SELECT 1 FROM scaler.table_change')).rows.length, 0, 'nothing is left unpruned');
  });
});
