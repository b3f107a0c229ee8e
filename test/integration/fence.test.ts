import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { adoptTable } from '../../shared/postgres/adoption.ts';
import { connectPostgres, type PostgresLink } from '../../shared/postgres/connection.ts';
import { Fence } from '../../shared/postgres/fence.ts';
import { CLAIM_TEXT, FENCE_SETTINGS, ROW_PATIENCE_MS, tickText } from '../../shared/postgres/fence-statements.ts';
import { addRows, layRows, removeRows } from '../../shared/postgres/rows.ts';
import { TickProgress } from '../../shared/postgres/tick-progress.ts';
import { freshDatabase, recordingLog, sharedPostgres, type TestDatabase } from '../support/postgres-server.ts';
import { WORK_ITEMS } from '../support/work-items.ts';

const SLOTS = 64;
const ALL = Array.from({ length: SLOTS }, (_, slot) => slot);
const TICK_TEXT = tickText(WORK_ITEMS, SLOTS);
const { log } = recordingLog();

let database: TestDatabase;
let link: PostgresLink;
let fence: Fence;
let progress: TickProgress;
let admin: pg.Client;

before(async () => {
  database = await freshDatabase((await sharedPostgres()).url);
  link = await connect();
  admin = new pg.Client({ connectionString: database.url });
  await admin.connect();
  const adoption = await adoptTable(link, { names: WORK_ITEMS, slots: SLOTS, log });
  fence = new Fence(link, WORK_ITEMS, adoption);
  progress = new TickProgress(link, WORK_ITEMS, adoption);
  // Claims are refused in epochs that were not issued.
  await fence.drawEpoch(9);
});

after(async () => {
  await link.close();
  await admin.end();
  await database.drop();
});

beforeEach(async () => {
  await admin.query(
    'TRUNCATE work_items; UPDATE scaler.slot SET epoch = 0, version = 0, worker = NULL, incarnation = NULL, last_tick = 0',
  );
});

const connect = () => connectPostgres({ connectionString: database.url, applicationName: 'test' }, { log });
const claim = (worker: string, version: number, slots: readonly number[] = ALL) =>
  fence.claim({ worker, incarnation: 1, epoch: 1, version, slots });
const tick = (worker: string, at: number, slots: readonly number[] = ALL) =>
  fence.tick({ worker, incarnation: 1, tick: at, slots });

async function column<Value>(text: string, values: unknown[] = []): Promise<Value[]> {
  return (await admin.query({ text, values, rowMode: 'array' })).rows.map(([value]) => value as Value);
}

const databaseSecond = async () => Math.floor((await fence.measureClock()).serverMs / 1000);

/** The slots of the table's rows, ascending, one for each row. */
const slotsOfRows = () =>
  column<number>(`SELECT (uuid_hash_extended(id, 0) & ${SLOTS - 1})::int FROM work_items ORDER BY 1`);

function countEach(slots: readonly number[]): Map<number, number> {
  const counts = new Map<number, number>();
  for (const slot of slots) counts.set(slot, (counts.get(slot) ?? 0) + 1);
  return counts;
}

test('a tick tells, where asked, what the slots it stamped stood at, and their rows', async () => {
  await addRows(link, WORK_ITEMS, 200);
  await claim('a', 1);
  await tick('a', 100);
  const [first] = await slotsOfRows();
  await admin.query('UPDATE scaler.slot SET last_tick = 97 WHERE slot = $1', [first]);
  const result = await fence.tick({ worker: 'a', incarnation: 1, tick: 102, slots: ALL, withBefore: true });
  const rows = countEach(await slotsOfRows());
  assert.deepEqual(
    result.before,
    [...rows].map(([slot, all]) => ({ slot, lastTick: slot === first ? 97 : 100, rows: all })),
  );
  const again = await fence.tick({ worker: 'a', incarnation: 1, tick: 102, slots: ALL, withBefore: true });
  assert.deepEqual([again.before, again.rows], [[], 0]);
  assert.equal((await tick('a', 103)).checksum, result.checksum);
  assert.equal('before' in (await tick('a', 104)), false);
});

describe('claiming', () => {
  test('stamps what belongs to nobody, and leaves alone what is mine already', async () => {
    const first = await claim('a', 1, [5, 6, 7, 20]);
    const unticked = (slot: number) => ({ slot, lastTick: 0, isStanding: false });
    assert.deepEqual(first, { claimed: [5, 6, 7, 20].map(unticked), refused: [] });
    assert.deepEqual(await claim('a', 2, [5, 6, 7, 21]), { claimed: [unticked(21)], refused: [] });
    assert.deepEqual(await fence.owned({ worker: 'a', incarnation: 1 }), [5, 6, 7, 20, 21]);
    const owner = (await fence.owners())[5];
    assert.deepEqual(owner, { slot: 5, epoch: 1, version: 1, worker: 'a', lastTick: 0 });
  });

  test('is refused by an equal or newer stamp of another, ordered by epoch first', async () => {
    await fence.claim({ worker: 'a', incarnation: 1, epoch: 2, version: 5, slots: [1, 2, 3] });
    const claimAt = (epoch: number, version: number) =>
      fence.claim({ worker: 'b', incarnation: 1, epoch, version, slots: [2, 3] });
    for (const [epoch, version] of [
      [2, 5],
      [2, 4],
      [1, 900],
    ] as const) {
      assert.deepEqual(await claimAt(epoch, version), { claimed: [], refused: [2, 3] });
    }
    assert.deepEqual(
      (await fence.claim({ worker: 'b', incarnation: 1, epoch: 3, version: 1, slots: [2] })).refused,
      [],
    );
    assert.deepEqual(await fence.newest(), { epoch: 3, version: 1 });
  });

  test('is refused whole in an epoch that Postgres never issued, also where nobody owns the slots', async () => {
    const lastEpoch = await fence.lastEpoch();
    for (const epoch of [lastEpoch + 1, Number.MAX_SAFE_INTEGER]) {
      const result = await fence.claim({ worker: 'a', incarnation: 1, epoch, version: 1, slots: ALL });
      assert.deepEqual(result, { claimed: [], refused: [], lastEpoch });
    }
    assert.deepEqual(await fence.owned({ worker: 'a', incarnation: 1 }), []);
    const issued = await fence.drawEpoch(0);
    const result = await fence.claim({ worker: 'a', incarnation: 1, epoch: issued, version: 1, slots: ALL });
    assert.deepEqual([result.claimed.length, result.lastEpoch], [SLOTS, undefined]);
  });

  test('the newest claim leaves out what nobody can reach honestly, which is counted', async () => {
    await claim('a', 7, [1, 2, 3]);
    assert.deepEqual([await fence.newest(), await fence.countForged()], [{ epoch: 1, version: 7 }, 0]);
    await admin.query(`UPDATE scaler.slot SET epoch = 9007199254740991 WHERE slot = 1;
      UPDATE scaler.slot SET version = 9007199254740991 WHERE slot = 2`);
    assert.deepEqual([await fence.newest(), await fence.countForged()], [{ epoch: 1, version: 7 }, 2]);
  });

  test('tells which slots stand where their former owner’s last round left them; empty ones are behind', async () => {
    await admin.query(`UPDATE scaler.slot SET worker = CASE WHEN slot < 8 THEN 'a' WHEN slot < 16 THEN 'c' END,
      last_tick = CASE slot WHEN 1 THEN 100 WHEN 2 THEN 99 WHEN 3 THEN 98 WHEN 9 THEN 40 ELSE 0 END`);
    const { claimed } = await claim('b', 1, [1, 2, 3, 4, 9, 10, 20]);
    const standing = claimed.filter(({ isStanding }) => isStanding).map(({ slot }) => slot);
    assert.deepEqual(standing, [1, 2, 9]);
  });

  test('of no slots, and of slots in any order, is fine', async () => {
    assert.deepEqual(await claim('a', 1, []), { claimed: [], refused: [] });
    assert.equal((await claim('a', 1, [9, 3, 3, 4])).claimed.length, 3);
    assert.equal(await fence.newest().then((order) => order?.version), 1);
  });

  test('before any claim there is no order and no owner', async () => {
    assert.equal(await fence.newest(), null);
    assert.deepEqual(await fence.owned({ worker: 'a', incarnation: 1 }), []);
    assert.equal((await fence.owners()).length, SLOTS);
  });
});

describe('progress', () => {
  test('is the newest tick of each worker’s slots, from all of its processes, and none ahead of the clock', async () => {
    await addRows(link, WORK_ITEMS, 200);
    const now = await databaseSecond();
    assert.deepEqual(await progress.newest(), []);
    await claim('a', 1, ALL.slice(0, 32));
    await claim('b', 1, ALL.slice(32));
    await tick('a', now - 50);
    await tick('a', now - 40, [(await slotsOfRows())[0]!]);
    await tick('b', now - 3);
    await fence.claim({ worker: 'b', incarnation: 2, epoch: 1, version: 1, slots: ALL.slice(40) });
    await admin.query('UPDATE scaler.slot SET last_tick = $1 WHERE slot = 63', [now + 60]);
    const read = async () => (await progress.newest()).sort((x, y) => (x.worker < y.worker ? -1 : 1));
    assert.deepEqual(await read(), [
      { worker: 'a', tick: now - 40 },
      { worker: 'b', tick: now - 3 },
    ]);
    await admin.query("UPDATE scaler.slot SET last_tick = $1 WHERE worker = 'b'", [now + 60]);
    assert.deepEqual(await read(), [{ worker: 'a', tick: now - 40 }]);
  });

  test('tells which groups of slots have rows, by the table itself', async () => {
    await addRows(link, WORK_ITEMS, 3);
    const filled = new Set(await slotsOfRows());
    const empty = ALL.filter((slot) => !filled.has(slot));
    assert.deepEqual(await progress.haveRows([ALL, empty, [], [...filled]]), [true, false, false, true]);
    assert.deepEqual(await progress.haveRows([]), []);
    await admin.query(
      'SET session_replication_role = replica; DELETE FROM work_items; SET session_replication_role = DEFAULT',
    );
    assert.deepEqual(await progress.haveRows([ALL]), [false]);
  });
});

describe('ticking', () => {
  test('increments each row of my slots once per tick, and says who did', async () => {
    await addRows(link, WORK_ITEMS, 300);
    await claim('a', 1);
    const result = await tick('a', 100);
    const distinct = new Set(await slotsOfRows()).size;
    assert.equal(result.stamped, distinct);
    assert.equal(result.rows, 300);
    assert.equal((await tick('a', 100)).rows, 0);
    assert.equal((await tick('a', 99)).rows, 0);
    assert.equal((await tick('a', 101)).checksum, result.checksum);
    assert.deepEqual(await column('SELECT DISTINCT value FROM work_items'), [2]);
    assert.deepEqual(await column('SELECT DISTINCT currentworker FROM work_items'), ['a']);
  });

  test('writes nothing for slots without rows', async () => {
    await addRows(link, WORK_ITEMS, 3);
    await claim('a', 1);
    const filled = new Set(await slotsOfRows()).size;
    assert.equal((await tick('a', 5)).stamped, filled);
    assert.equal((await column('SELECT slot FROM scaler.slot WHERE last_tick = 5')).length, filled);
  });

  test("leaves other owners' rows alone and names their slots as lost", async () => {
    await addRows(link, WORK_ITEMS, 200);
    await claim('a', 1, ALL.slice(0, 32));
    await claim('b', 1, ALL.slice(32, 48));
    const result = await tick('a', 7);
    assert.deepEqual(
      [...result.lost].sort((x, y) => x - y),
      ALL.slice(32),
    );
    assert.equal(result.rows, (await slotsOfRows()).filter((slot) => slot < 32).length);
  });

  test('the checksum of chunks combines by XOR, and changes with the ids', async () => {
    await addRows(link, WORK_ITEMS, 200);
    await claim('a', 1);
    const whole = BigInt((await tick('a', 1)).checksum);
    const low = BigInt((await tick('a', 2, ALL.slice(0, 20))).checksum);
    const high = BigInt((await tick('a', 2, ALL.slice(20))).checksum);
    assert.equal(low ^ high, whole);
    await admin.query('UPDATE work_items SET id = gen_random_uuid() WHERE id = (SELECT id FROM work_items LIMIT 1)');
    assert.notEqual(BigInt((await tick('a', 3)).checksum), whole);
    await admin.query('TRUNCATE work_items');
    assert.equal((await tick('a', 4)).checksum, '0');
  });

  test('NULL stays NULL, the largest integer stays, and both are named', async () => {
    await addRows(link, WORK_ITEMS, 10);
    await admin.query('ALTER TABLE work_items ALTER value DROP NOT NULL');
    const ids = await column<string>('SELECT id::text FROM work_items ORDER BY id');
    await admin.query('UPDATE work_items SET value = NULL WHERE id = $1', [ids[0]]);
    await admin.query('UPDATE work_items SET value = 2147483647 WHERE id = $1', [ids[1]]);
    await admin.query('UPDATE work_items SET value = 2147483646 WHERE id = $1', [ids[2]]);
    await claim('a', 1);
    for (const at of [1, 2]) {
      const { rows, exhausted, exhaustedCount, nullCount } = await tick('a', at);
      const named = [`-${ids[0]}`, ids[1], ids[2]];
      assert.deepEqual([rows, exhaustedCount, nullCount, [...exhausted].sort()], [10, 3, 1, named.sort()]);
    }
    const values = await column('SELECT value FROM work_items ORDER BY id');
    assert.deepEqual(values.slice(0, 4), [null, 2147483647, 2147483647, 2]);
    assert.deepEqual(await column('SELECT DISTINCT currentworker FROM work_items'), ['a']);
  });

  test('of many exhausted rows a hundred are named, and all are counted', async () => {
    await addRows(link, WORK_ITEMS, 150);
    await admin.query('UPDATE work_items SET value = 2147483647');
    await claim('a', 1);
    const { exhausted, exhaustedCount } = await tick('a', 1);
    assert.deepEqual([exhausted.length, exhaustedCount], [100, 150]);
  });

  test('names slots that are more than two ticks ahead of the tick asked for', async () => {
    await addRows(link, WORK_ITEMS, 200);
    await claim('a', 1);
    await tick('a', 1000);
    assert.deepEqual((await tick('a', 998)).ahead, []);
    const { ahead, rows } = await tick('a', 500);
    assert.deepEqual(
      [...ahead].sort((x, y) => x - y),
      [...new Set(await slotsOfRows())],
    );
    assert.equal(rows, 0);
  });

  test('a worker whose clock is behind cannot set slots back: the database’s clock did not step back', async () => {
    await addRows(link, WORK_ITEMS, 200);
    await claim('a', 1);
    const now = await databaseSecond();
    await tick('a', now);
    const { ahead } = await tick('a', now - 8);
    assert.ok(ahead.length > 0);
    assert.equal(await fence.rebase({ worker: 'a', incarnation: 1, slots: ALL }), 0);
    assert.equal((await tick('a', now)).rows, 0);
  });

  test('slots ahead of the database’s clock are set back to its second, by their owner only, and once', async () => {
    await addRows(link, WORK_ITEMS, 200);
    await claim('a', 1);
    const ahead = (await databaseSecond()) + 3_600;
    await admin.query('UPDATE scaler.slot SET last_tick = $1 WHERE slot < 32', [ahead]);
    const before = await databaseSecond();
    await admin.query('UPDATE scaler.slot SET last_tick = $1 WHERE slot >= 32', [before]);
    assert.equal(await fence.rebase({ worker: 'b', incarnation: 1, slots: ALL }), 0);
    assert.equal(await fence.rebase({ worker: 'a', incarnation: 1, slots: ALL }), 32);
    assert.equal(await fence.rebase({ worker: 'a', incarnation: 1, slots: ALL }), 0);
    const after = await databaseSecond();
    const [lowest = 0, highest = 0] = await column<number>(
      'SELECT last_tick::int FROM scaler.slot WHERE slot < 32 ORDER BY last_tick',
    ).then((ticks) => [ticks[0], ticks.at(-1)]);
    assert.ok(before <= lowest && highest <= after, `${lowest} to ${highest}, between ${before} and ${after}`);
    assert.equal((await tick('a', before)).rows, 0);
    assert.equal((await tick('a', after + 1)).rows, 200);
  });

  test('a tick that is more than two ahead of the database’s clock stamps nothing and says so', async () => {
    await addRows(link, WORK_ITEMS, 200);
    await claim('a', 1);
    const early = await tick('a', (await databaseSecond()) + 60);
    assert.deepEqual([early.isEarly, early.stamped, early.rows, early.lost], [true, 0, 0, []]);
    assert.deepEqual(await column('SELECT DISTINCT last_tick::int FROM scaler.slot'), [0]);
    const near = await tick('a', (await databaseSecond()) + 2);
    assert.deepEqual([near.isEarly, near.rows], [false, 200]);
  });

  test('of no slots asks Postgres all the same', async () => {
    const { stamped, rows, lost } = await tick('a', 1, []);
    assert.deepEqual({ stamped, rows, lost }, { stamped: 0, rows: 0, lost: [] });
  });

  test('a row added after the claim is ticked without any message', async () => {
    await claim('a', 1);
    assert.equal((await tick('a', 1)).rows, 0);
    await addRows(link, WORK_ITEMS, 20);
    assert.equal((await tick('a', 2)).rows, 20);
    assert.equal(await removeRows(link, WORK_ITEMS, 5), 5);
    assert.equal((await tick('a', 3)).rows, 15);
    assert.equal(await removeRows(link, WORK_ITEMS, 100), 15);
  });

  test('rows are removed while they are being ticked, without a deadlock, as many as asked', async () => {
    await addRows(link, WORK_ITEMS, 3_000);
    await claim('a', 1);
    let isOver = false;
    const ticking = (async () => {
      for (let at = 1; !isOver; at += 1) await tick('a', at);
    })();
    for (let round = 0; round < 5; round += 1) assert.equal(await removeRows(link, WORK_ITEMS, 500), 500);
    isOver = true;
    await ticking;
    assert.equal((await slotsOfRows()).length, 500);
  });

  test('laying the rows by slot changes where they lie, and nothing else', async () => {
    await admin.query('INSERT INTO work_items SELECT FROM generate_series(1, 2000)');
    await claim('a', 1);
    const before = await tick('a', 1);
    const contents = () => column('SELECT row_to_json(w) FROM work_items w ORDER BY id');
    const [rows, changes] = [await contents(), await column('SELECT count(*) FROM scaler.table_change')];
    await layRows(link, WORK_ITEMS);
    const slots = await column<number>(
      `SELECT (uuid_hash_extended(id, 0) & ${SLOTS - 1})::int FROM work_items ORDER BY ctid`,
    );
    assert.deepEqual(slots, await slotsOfRows());
    assert.deepEqual(await contents(), rows);
    assert.deepEqual(await column('SELECT count(*) FROM scaler.table_change'), changes);
    assert.equal((await tick('a', 2)).checksum, before.checksum);
  });

  test('laying gives up on a table that others hold, instead of making everybody wait behind it', async () => {
    const holder = new pg.Client({ connectionString: database.url });
    await holder.connect();
    try {
      await holder.query('BEGIN; LOCK TABLE work_items IN ACCESS SHARE MODE');
      await assert.rejects(layRows(link, WORK_ITEMS), { code: '55P03' });
    } finally {
      await holder.end();
    }
  });

  test('ids are read in order, of the slots asked only', async () => {
    await addRows(link, WORK_ITEMS, 100);
    const all = await column<string>('SELECT id::text FROM work_items ORDER BY id');
    assert.deepEqual((await fence.readIds({ slots: ALL })).slice(), all);
    const some = await fence.readIds({ slots: ALL.slice(0, 10) });
    assert.equal(some.length, (await slotsOfRows()).filter((slot) => slot < 10).length);
    assert.deepEqual((await fence.readIds({ slots: [] })).slice(), []);
  });

  test('every plan reaches rows by the slot index, from an empty table to a large one, also with stale statistics', async () => {
    const planner = new pg.Client({ connectionString: database.url });
    await planner.connect();
    try {
      await planner.query(FENCE_SETTINGS);
      await planner.query(`PREPARE t AS ${TICK_TEXT}`);
      await planner.query(`PREPARE o AS ${tickText(WORK_ITEMS, SLOTS, { form: 'over', withBefore: true })}`);
      for (const rows of [0, 10, 20_000]) {
        await addRows(link, WORK_ITEMS, rows);
        for (const mayAnalyze of [false, true]) {
          if (mayAnalyze) await admin.query('ANALYZE work_items');
          for (const [name, byId] of [
            ['t', false],
            ['o', true],
          ] as const) {
            const { rows: lines } = await planner.query(
              `EXPLAIN EXECUTE ${name}('{0,63}', 'a', 1, 1${byId ? ", '{}', '{}', false" : ''})`,
            );
            const plan = lines.map((line) => line['QUERY PLAN']).join('\n');
            assert.doesNotMatch(plan, /Seq Scan/, plan);
            assert.match(plan, /Index Scan (using|on) work_items_scaler_slot/, plan);
            assert.equal(/Index Scan (using|on) work_items_pkey/.test(plan), byId, plan);
          }
        }
      }
    } finally {
      await planner.end();
    }
  });
});

describe('an owner and its successor at the same moment', () => {
  let other: pg.Client;
  const values = (worker: string, ...rest: number[]) => [
    `{${Array.from({ length: SLOTS }, (_, slot) => slot)}}`,
    worker,
    1,
    ...rest,
  ];

  beforeEach(async () => {
    other = new pg.Client({ connectionString: database.url });
    await other.connect();
    await addRows(link, WORK_ITEMS, 200);
    await claim('a', 1);
    await tick('a', 10);
  });

  afterEach(async () => {
    await other.end();
  });

  /** Resolves once somebody waits for a lock that `other` holds. */
  async function untilBlocked(): Promise<void> {
    const text =
      'SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND $1 = ANY (pg_blocking_pids(pid))';
    const pid = (await other.query('SELECT pg_backend_pid() AS pid')).rows[0].pid;
    for (let attempt = 0; attempt < 500; attempt += 1) {
      if ((await column(text, [pid])).length > 0) return;
      await delay(10);
    }
    throw new Error('nobody came to wait');
  }

  test("a claim waits for the old owner's tick and returns the tick it made", async () => {
    await other.query('BEGIN');
    await other.query(TICK_TEXT, values('a', 11));
    const claiming = claim('b', 2);
    await untilBlocked();
    await other.query('COMMIT');
    const { claimed } = await claiming;
    const filled = new Set(await slotsOfRows());
    assert.equal(claimed.length, SLOTS);
    for (const { slot, lastTick } of claimed) assert.equal(lastTick, filled.has(slot) ? 11 : 0, `slot ${slot}`);
    assert.equal((await tick('b', 11)).rows, 0);
    assert.equal((await tick('b', 12)).rows, 200);
    assert.deepEqual(await column('SELECT DISTINCT value FROM work_items'), [3]);
  });

  test('a claim that waited for a tick that was rolled back returns the tick before', async () => {
    await other.query('BEGIN');
    await other.query(TICK_TEXT, values('a', 11));
    const claiming = claim('b', 2);
    await untilBlocked();
    await other.query('ROLLBACK');
    assert.equal(Math.max(...(await claiming).claimed.map(({ lastTick }) => lastTick)), 10);
    assert.equal((await tick('b', 11)).rows, 200);
  });

  test('a tick that waited for a claim touches nothing and knows what it lost', async () => {
    await other.query('BEGIN');
    await other.query(CLAIM_TEXT, values('b', 1, 2));
    const ticking = tick('a', 11);
    await untilBlocked();
    await other.query('COMMIT');
    const { stamped, rows, lost, checksum } = await ticking;
    assert.deepEqual({ stamped, rows, checksum }, { stamped: 0, rows: 0, checksum: '0' });
    assert.deepEqual(
      [...lost].sort((x, y) => x - y),
      [...new Set(await slotsOfRows())],
    );
    assert.deepEqual(await column('SELECT DISTINCT currentworker FROM work_items'), ['a']);
    assert.deepEqual(await column('SELECT DISTINCT value FROM work_items'), [1]);
  });

  test('a tick that waited for a claim that was rolled back goes on', async () => {
    await other.query('BEGIN');
    await other.query(CLAIM_TEXT, values('b', 1, 2));
    const ticking = tick('a', 11);
    await untilBlocked();
    await other.query('ROLLBACK');
    const { rows, lost } = await ticking;
    assert.deepEqual({ rows, lost }, { rows: 200, lost: [] });
  });

  test('of two claims at once the older one is refused, whoever came first', async () => {
    await other.query('BEGIN');
    await other.query(CLAIM_TEXT, values('c', 1, 3));
    const claiming = claim('b', 2);
    await untilBlocked();
    await other.query('COMMIT');
    assert.deepEqual(await claiming, { claimed: [], refused: ALL });
    await other.query('BEGIN');
    await other.query(CLAIM_TEXT, values('d', 1, 4));
    const newer = claim('e', 5);
    await untilBlocked();
    await other.query('COMMIT');
    assert.equal((await newer).claimed.length, SLOTS);
  });

  test('a second connection of the same worker neither ticks twice nor takes its slots for lost', async () => {
    await other.query('BEGIN');
    await other.query(TICK_TEXT, values('a', 11));
    const ticking = tick('a', 11);
    await untilBlocked();
    await other.query('COMMIT');
    const { stamped, rows, lost } = await ticking;
    assert.deepEqual({ stamped, rows, lost }, { stamped: 0, rows: 0, lost: [] });
  });

  test('a claim of the same worker at the same time is neither repeated nor refused', async () => {
    await other.query('BEGIN');
    await other.query(CLAIM_TEXT, values('b', 1, 2));
    const claiming = claim('b', 2);
    await untilBlocked();
    await other.query('COMMIT');
    assert.deepEqual(await claiming, { claimed: [], refused: [] });
  });

  test("a tick adds to what somebody else's transaction has just written", async () => {
    await other.query('BEGIN');
    await other.query('UPDATE work_items SET value = 500 WHERE id = (SELECT id FROM work_items ORDER BY id LIMIT 1)');
    await other.query('DELETE FROM work_items WHERE id = (SELECT max(id::text)::uuid FROM work_items)');
    // Without the limit of a tick's patience, which a busy machine may come near.
    const patient = TICK_TEXT.replace(`'lock_timeout', '${ROW_PATIENCE_MS}'`, "'lock_timeout', '0'");
    const ticking = link.query<{ rows: number }>('patient', { text: patient, values: values('a', 11) });
    await untilBlocked();
    await other.query('COMMIT');
    assert.equal((await ticking).rows[0]?.rows, 199);
    assert.deepEqual(await column('SELECT value FROM work_items ORDER BY id LIMIT 2'), [501, 2]);
  });
});

test('epochs are never drawn twice, rise above what is asked, and above each other, from many connections at once', async () => {
  const links = await Promise.all(Array.from({ length: 4 }, connect));
  try {
    const draws = links.flatMap((own, index) => {
      const ownFence = new Fence(own, WORK_ITEMS, { slots: SLOTS });
      return Array.from({ length: 25 }, (_, round) => {
        const above = (round * 7 + index * 3) % 40;
        return ownFence.drawEpoch(above).then((epoch) => ({ above, epoch }));
      });
    });
    const drawn = await Promise.all(draws);
    assert.equal(new Set(drawn.map(({ epoch }) => epoch)).size, 100);
    for (const { above, epoch } of drawn) assert.ok(epoch > above, `${epoch} is not above ${above}`);
    assert.ok((await fence.drawEpoch(1_000_000)) > 1_000_000);
    assert.ok((await fence.drawEpoch(5)) > 1_000_001);
  } finally {
    await Promise.all(links.map((own) => own.close()));
  }
});

test("the database's clock is read in milliseconds", async () => {
  const beforeMs = Date.now();
  const { serverMs } = await fence.measureClock();
  assert.ok(Math.abs(serverMs - beforeMs) < 5_000, `${serverMs} is far from ${beforeMs}`);
});

test('four workers that claim and tick at random never increment a row twice for one tick, and never deadlock', async () => {
  const ROWS = 1_500;
  const DURATION_MS = 4_000;
  const TICK_MS = 40;
  await addRows(link, WORK_ITEMS, ROWS);
  // What happens to one slot happens in the order of this record: its row's lock sees to it.
  await admin.query(`CREATE TABLE history (number bigserial, slot int, version bigint, worker text, last_tick bigint, is_tick boolean);
    CREATE FUNCTION record_history() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO history (slot, version, worker, last_tick, is_tick)
        VALUES (NEW.slot, NEW.version, NEW.worker, NEW.last_tick, NEW.last_tick > OLD.last_tick AND NEW.version = OLD.version);
      RETURN NULL; END $$;
    CREATE TRIGGER history AFTER UPDATE ON scaler.slot FOR EACH ROW EXECUTE FUNCTION record_history()`);
  const links = await Promise.all(Array.from({ length: 4 }, connect));
  const startedMs = performance.now();
  const isOver = () => performance.now() - startedMs > DURATION_MS;
  const randomSlots = () => {
    const from = Math.floor(Math.random() * SLOTS);
    return ALL.filter((slot) => (slot + SLOTS - from) % SLOTS < 24 && Math.random() < 0.8);
  };
  const claims: string[] = [];
  const sums = { rows: 0, stamped: 0, lost: 0, version: 1 };
  try {
    const loops = links.flatMap((own, index) => {
      const ownFence = new Fence(own, WORK_ITEMS, { slots: SLOTS });
      const worker = `w${index}`;
      const claiming = async () => {
        while (!isOver()) {
          sums.version += 1;
          const { version } = sums;
          const { claimed } = await ownFence.claim({ worker, incarnation: 1, epoch: 1, version, slots: randomSlots() });
          for (const { slot, lastTick } of claimed) claims.push(`${slot} ${version} ${worker} ${lastTick}`);
          await delay(Math.random() * 10);
        }
      };
      const ticking = async (lane: string) => {
        while (!isOver()) {
          const at = 1 + Math.floor((performance.now() - startedMs) / TICK_MS);
          const result = await ownFence.tick({ worker, incarnation: 1, tick: at, slots: randomSlots(), lane });
          sums.rows += result.rows;
          sums.stamped += result.stamped;
          sums.lost += result.lost.length;
        }
      };
      return [claiming(), ticking('tick'), ticking('second')];
    });
    await Promise.all(loops);
  } finally {
    await Promise.all(links.map((own) => own.close()));
    await admin.query('DROP TRIGGER history ON scaler.slot');
  }
  assert.ok(
    sums.rows > 3 * ROWS && claims.length > 500 && sums.lost > 500,
    JSON.stringify({ ...sums, claims: claims.length }),
  );
  const misplaced = await column(`SELECT row_to_json(h) FROM (SELECT *, lag(last_tick, 1, 0) OVER w AS tick_before,
      lag(version, 1, 0) OVER w AS version_before, lag(worker) OVER w AS worker_before
      FROM history WINDOW w AS (PARTITION BY slot ORDER BY number)) h
    WHERE CASE WHEN is_tick THEN last_tick <= tick_before OR worker IS DISTINCT FROM worker_before OR version <> version_before
      ELSE version <= version_before OR last_tick <> tick_before OR worker IS NOT DISTINCT FROM worker_before END`);
  assert.deepEqual(misplaced, []);
  const recorded = await column<string>(
    "SELECT concat_ws(' ', slot, version, worker, last_tick) FROM history WHERE NOT is_tick",
  );
  assert.deepEqual(claims.sort(), recorded.sort());
  assert.deepEqual(await column<number>('SELECT count(*)::int FROM history WHERE is_tick'), [sums.stamped]);
  const wrong = await column(`SELECT w.id FROM work_items w WHERE value <> (SELECT count(*) FROM history h
    WHERE is_tick AND h.slot = (uuid_hash_extended(w.id, 0) & ${SLOTS - 1}))`);
  assert.deepEqual(wrong, []);
  assert.deepEqual(await column<number>('SELECT sum(value)::int FROM work_items'), [sums.rows]);
});

test('warming opens connections and prepares statements, and stamps nothing', async () => {
  await addRows(link, WORK_ITEMS, 20);
  const other = await connect();
  try {
    const warmed = new Fence(other, WORK_ITEMS, { slots: SLOTS });
    await warmed.warm({ worker: 'w', incarnation: 1 });
    await warmed.warm({ worker: 'w', incarnation: 1 });
    assert.deepEqual(await column('SELECT DISTINCT worker FROM scaler.slot'), [null]);
    assert.deepEqual(await column('SELECT DISTINCT value FROM work_items'), [0]);
    assert.equal(
      (await warmed.claim({ worker: 'w', incarnation: 1, epoch: 1, version: 1, slots: ALL })).claimed.length,
      SLOTS,
    );
  } finally {
    await other.close();
  }
});
