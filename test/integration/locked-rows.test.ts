import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { adoptTable } from '../../shared/postgres/adoption.ts';
import { connectPostgres, type PostgresLink } from '../../shared/postgres/connection.ts';
import { CLAIM_LANE, Fence } from '../../shared/postgres/fence.ts';
import { CLAIM_TEXT, ROW_PATIENCE_MS, tickText } from '../../shared/postgres/fence-statements.ts';
import { addRows } from '../../shared/postgres/rows.ts';
import type { TickRequest, TickResult } from '../../shared/postgres/tick-result.ts';
import { freshDatabase, recordingLog, sharedPostgres, type TestDatabase } from '../support/postgres-server.ts';
import { WORK_ITEMS } from '../support/work-items.ts';

const SLOTS = 64;
const ROWS = 200;
const ALL = Array.from({ length: SLOTS }, (_, slot) => slot);
const TICK_TEXT = tickText(WORK_ITEMS, SLOTS);
const { log } = recordingLog();

/** An application's transactions lock rows; claims and other ticks lock slots. Only the first are given up on. */
describe('ticks and the locks of others', () => {
  let database: TestDatabase;
  let link: PostgresLink;
  let fence: Fence;
  let admin: pg.Client;
  let other: pg.Client;
  let checksum = '';

  before(async () => {
    database = await freshDatabase((await sharedPostgres()).url);
    link = await connectPostgres({ connectionString: database.url, applicationName: 'test' }, { log });
    admin = new pg.Client({ connectionString: database.url });
    await admin.connect();
    fence = new Fence(link, WORK_ITEMS, await adoptTable(link, { names: WORK_ITEMS, slots: SLOTS, log }));
    await fence.drawEpoch(9);
  });

  after(async () => {
    await link.close();
    await admin.end();
    await database.drop();
  });

  beforeEach(async () => {
    await admin.query(
      'TRUNCATE work_items; UPDATE scaler.slot SET epoch = 0, version = 0, worker = NULL, last_tick = 0',
    );
    other = new pg.Client({ connectionString: database.url });
    await other.connect();
    await addRows(link, WORK_ITEMS, ROWS);
    await fence.claim({ worker: 'a', incarnation: 1, epoch: 1, version: 1, slots: ALL });
    ({ checksum } = await tick(10));
  });

  afterEach(() => other.end());

  const tick = (at: number, more: Partial<TickRequest> = {}) =>
    fence.tick({ worker: 'a', incarnation: 1, tick: at, slots: ALL, ...more });
  const values = (worker: string, ...rest: number[]) => [`{${ALL}}`, worker, 1, ...rest];

  async function column<Value>(text: string, args: unknown[] = []): Promise<Value[]> {
    return (await admin.query({ text, values: args, rowMode: 'array' })).rows.map(([value]) => value as Value);
  }

  /** Locks the first or the last row, as ticks come by them: another one each time, though an update may move a row to the end. */
  async function lockRow(end: 'first' | 'last'): Promise<{ readonly id: string; readonly slot: number }> {
    const { rows } = await other.query(`UPDATE work_items SET value = value WHERE id =
        (SELECT id FROM work_items WHERE xmin::text IS DISTINCT FROM pg_current_xact_id_if_assigned()::text
          ORDER BY ctid ${end === 'first' ? 'ASC' : 'DESC'} LIMIT 1)
      RETURNING id::text, (uuid_hash_extended(id, 0) & ${SLOTS - 1})::int AS slot`);
    return rows[0];
  }

  /** Resolves once somebody has waited for a lock of `other` for that long. */
  async function untilBlocked(forMs = 0): Promise<void> {
    const text = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND $1 = ANY (pg_blocking_pids(pid))
      AND query_start < clock_timestamp() - make_interval(secs => $2)`;
    const { rows } = await other.query('SELECT pg_backend_pid() AS pid');
    for (let attempt = 0; attempt < 500; attempt += 1) {
      if ((await column(text, [rows[0].pid, forMs / 1_000])).length > 0) return;
      await delay(10);
    }
    throw new Error('nobody came to wait');
  }

  test('a row that stays locked holds its slot back, and all other slots are ticked', async () => {
    await other.query('BEGIN');
    const { id, slot } = await lockRow('first');
    const beside = await column<number>(
      `SELECT count(*)::int FROM work_items WHERE (uuid_hash_extended(id, 0) & ${SLOTS - 1})::int = $1`,
      [slot],
    );
    const result = await tick(11);
    assert.deepEqual([result.rows, result.missed, result.gaveWay], [ROWS - beside[0]!, 0, 'locks']);
    assert.deepEqual([result.held, result.visible, result.checksum], [[slot], ROWS, checksum]);
    const again = await tick(11, { form: 'over' });
    assert.deepEqual([again.rows, again.held], [0, [slot]]);
    await other.query('COMMIT');
    assert.equal((await tick(11, { form: 'over' })).rows, beside[0], 'within the same second it gets its tick');
    assert.deepEqual(await column('SELECT DISTINCT value FROM work_items'), [2]);
    assert.equal(id.length, 36);
  });

  test('at the last chance only the rows that are still locked miss the tick, and they are named', async () => {
    await other.query('BEGIN');
    const { id } = await lockRow('first');
    const result = await tick(11, { form: 'over', isLast: true });
    assert.deepEqual([result.rows, result.missed, result.skipped, result.skippedIds], [ROWS - 1, 1, 1, [id]]);
    assert.deepEqual([result.held, result.visible, result.checksum], [[], ROWS, checksum]);
    await other.query('COMMIT');
    assert.equal((await tick(11)).rows, 0, 'what was skipped never gets that tick');
    assert.deepEqual(await column('SELECT value FROM work_items WHERE id = $1', [id]), [1]);
    assert.deepEqual(await tick(12).then(summary), [ROWS, 0, 0]);
  });

  test('passing over waits for no row, and ticks every row where none is locked', async () => {
    const over = { form: 'over', isLast: true } as const;
    assert.deepEqual(await tick(11, over).then(summary), [ROWS, 0, 0]);
    await other.query('BEGIN');
    await lockRow('first');
    await lockRow('last');
    assert.deepEqual(await tick(12, over).then(summary), [ROWS - 2, 2, 0]);
    await other.query('ROLLBACK; BEGIN; LOCK TABLE work_items IN ROW EXCLUSIVE MODE; SELECT FROM work_items FOR SHARE');
    assert.deepEqual(await tick(13, over).then(summary), [0, ROWS, 0]);
    await other.query('ROLLBACK; BEGIN; SELECT FROM work_items FOR KEY SHARE');
    assert.deepEqual(await tick(14, over).then(summary), [ROWS, 0, 0], 'a foreign key check is no lock');
    await other.query('ROLLBACK');
  });

  test('first ticks skip locked rows as well, and say what the ticked ones stood at', async () => {
    await other.query('BEGIN');
    const { slot } = await lockRow('first');
    const result = await tick(15, { lane: CLAIM_LANE, withBefore: true, isLast: true });
    await other.query('ROLLBACK');
    assert.deepEqual([result.rows, result.skipped], [ROWS - 1, 1]);
    const rows = await column<number>(`SELECT (uuid_hash_extended(id, 0) & ${SLOTS - 1})::int FROM work_items`);
    const before = result.before ?? [];
    assert.equal(before.find((entry) => entry.slot === slot)?.rows ?? 0, rows.filter((own) => own === slot).length - 1);
    assert.deepEqual(new Set(before.map(({ lastTick }) => lastTick)), new Set([10]));
  });

  test('a claim waits for the slots of a tick as long as it takes, also by the connection of first ticks', async () => {
    await tick(11, { lane: CLAIM_LANE });
    await other.query('BEGIN');
    await other.query(TICK_TEXT, values('a', 12));
    const claiming = fence.claim({ worker: 'b', incarnation: 1, epoch: 1, version: 2, slots: ALL });
    await untilBlocked(3 * ROW_PATIENCE_MS);
    await other.query('COMMIT');
    assert.equal((await claiming).claimed.length, SLOTS);
  });

  test('a tick waits for slots that a claim holds as long as it takes', async () => {
    await other.query('BEGIN');
    await other.query(CLAIM_TEXT, values('b', 1, 2));
    const ticking = tick(11);
    await untilBlocked(3 * ROW_PATIENCE_MS);
    await other.query('ROLLBACK');
    assert.deepEqual(await ticking.then(summary), [ROWS, 0, 0]);
  });

  test('a transaction that locks rows in another order is not killed: the tick gives way', async () => {
    await other.query('BEGIN');
    await lockRow('last');
    const ticking = tick(11);
    await lockRow('first');
    const { held, missed, gaveWay } = await ticking;
    await other.query('COMMIT');
    assert.deepEqual([missed, gaveWay], [0, 'locks']);
    assert.ok(held.length === 1 || held.length === 2, `slots ${held} were held`);
    await tick(11);
    assert.deepEqual(await column('SELECT DISTINCT value FROM work_items'), [2]);
  });

  /** A trigger that takes this advisory lock for the rows that fit. */
  async function waitInTrigger(condition: string): Promise<void> {
    await admin.query(`CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF ${condition} THEN PERFORM pg_advisory_xact_lock_shared(7); END IF; RETURN NEW; END $$;
      CREATE TRIGGER wait BEFORE UPDATE ON work_items FOR EACH ROW EXECUTE FUNCTION wait()`);
  }

  const dropTrigger = () => admin.query('DROP TRIGGER wait ON work_items; DROP FUNCTION wait');

  test('a row whose trigger waits for a lock holds its slot back, and at the last chance costs itself alone', async () => {
    const [id] = await column<string>('SELECT id::text FROM work_items ORDER BY random() LIMIT 1');
    await waitInTrigger(`NEW.id = '${id}'`);
    try {
      await other.query('BEGIN; SELECT pg_advisory_xact_lock(7)');
      let result = await tick(11);
      for (let calls = 0; result.undecided.length > 0 && calls < 50; calls += 1) {
        result = await tick(11, { form: 'careful' });
      }
      assert.deepEqual([result.held.length, result.blocked], [1, []]);
      let missed: string[] = [];
      for (let calls = 0; calls < 50; calls += 1) {
        const last = await tick(12 + calls, { form: 'careful', isLast: true });
        missed = last.blocked.map((row) => `${row.id} ${row.state}`);
        if (last.rows === ROWS - 1) break;
      }
      assert.deepEqual(missed, [`${id} 55P03`]);
      await other.query('COMMIT');
      assert.equal((await tick(100)).rows, ROWS);
    } finally {
      await dropTrigger();
    }
  });

  test('triggers that all wait for one lock: the tick gives up soon, blames no row, and holds no slot', async () => {
    await waitInTrigger('true');
    try {
      await other.query('BEGIN; SELECT pg_advisory_xact_lock(7)');
      const { rows, blocked, held, undecided } = await tick(11);
      assert.deepEqual([rows, blocked], [0, []]);
      const filled = await column<number>(
        `SELECT count(DISTINCT uuid_hash_extended(id, 0) & ${SLOTS - 1})::int FROM work_items`,
      );
      assert.equal(held.length + undecided.length, filled[0]);
      await other.query('COMMIT');
      assert.equal((await tick(11)).rows, ROWS);
    } finally {
      await dropTrigger();
    }
  });

  for (const mode of ['ACCESS EXCLUSIVE', 'EXCLUSIVE', 'SHARE ROW EXCLUSIVE', 'SHARE'] as const) {
    test(`a table locked in ${mode} mode: the tick gives up with the lock's own error, and stamps nothing`, async () => {
      await other.query(`BEGIN; LOCK TABLE work_items IN ${mode} MODE`);
      for (const form of ['fast', 'over', 'careful'] as const) {
        await assert.rejects(tick(11, { form }), { code: '55P03' });
      }
      await other.query('ROLLBACK');
      assert.equal((await tick(11)).rows, ROWS);
    });
  }

  test('what waits behind a long reader, as an ALTER TABLE does, stops ticks only until it gives up', async () => {
    const third = new pg.Client({ connectionString: database.url });
    await third.connect();
    try {
      await other.query('BEGIN; SELECT FROM work_items LIMIT 1');
      await third.query("SET lock_timeout = '2s'");
      const altering = third.query('ALTER TABLE work_items ADD COLUMN more int');
      altering.catch(() => {});
      await untilBlocked();
      await assert.rejects(tick(11), { code: '55P03' });
      await assert.rejects(altering, { code: '55P03' });
      assert.equal((await tick(11)).rows, ROWS);
      await other.query('ROLLBACK');
    } finally {
      await third.end();
    }
  });

  test('passing over needs no more than the rights that a worker is asked for: two columns to update', async () => {
    const role = `ticker_${new URL(database.url).pathname.slice(1)}`;
    await admin.query(`CREATE ROLE ${role}; GRANT USAGE ON SCHEMA scaler TO ${role}; GRANT SELECT, UPDATE ON scaler.slot TO ${role};
      GRANT SELECT ON work_items TO ${role}; GRANT UPDATE (value, currentworker) ON work_items TO ${role}`);
    try {
      await other.query(`SET ROLE ${role}`);
      const { rows } = await other.query(tickText(WORK_ITEMS, SLOTS, { form: 'over' }), [
        ...values('a', 11),
        '{}',
        '{}',
        true,
      ]);
      assert.equal(rows[0].rows, ROWS);
    } finally {
      await other.query('RESET ROLE');
      await admin.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
    }
  });

  test('a deadlock that Postgres ends at the expense of the tick is no failure of it', async () => {
    // A sequence is not rolled back: the first statement fails as a deadlock's victim does, the next one does not.
    await admin.query(`CREATE SEQUENCE updates; CREATE FUNCTION fail_first() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('updates') = 1 THEN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END IF;
        RETURN NULL; END $$;
      CREATE TRIGGER fail_first BEFORE UPDATE ON work_items FOR EACH STATEMENT EXECUTE FUNCTION fail_first()`);
    try {
      const { rows, gaveWay } = await tick(11);
      assert.deepEqual([rows, gaveWay], [ROWS, 'locks']);
    } finally {
      await admin.query('DROP TRIGGER fail_first ON work_items; DROP FUNCTION fail_first; DROP SEQUENCE updates');
    }
  });
});

function summary({ rows, skipped, held }: TickResult): unknown[] {
  return [rows, skipped, held.length];
}
