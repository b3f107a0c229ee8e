import { quoteName, quoteTable, slotExpression, type TableNames } from './table.ts';

/**
 * The fence's SQL. Pure.
 *
 * Why it is shaped so:
 * - Slots come as they are, not as ranges: after some changes of workers a slice is nearly as many ranges as slots, and one
 *   scan of the index for all of them costs half as much as one for each range.
 * - Rows and slots are reached by `column = ANY (ARRAY(SELECT …))`, never by a join. A join leaves the planner a choice that it
 *   makes from statistics, which are stale whenever the table grows fast; this form has one sensible plan, the index.
 *   `EXISTS (… OFFSET 0)` is not turned into a join either: one probe of the index per slot.
 * - Slots are locked in slot order by `ORDER BY slot FOR UPDATE` before anything is written, in claims and ticks alike, so
 *   they cannot deadlock; what `locked` returns is the newest version of each, checked again after any wait.
 * - The table belongs to an application, which locks rows in any order and for any time. A tick waits for a row only briefly,
 *   then the statement fails, lets everything go, and the form that passes over locked rows takes its place.
 */

/**
 * The one sensible plan, said plainly. Without it a table that had ten rows when the statement was prepared would be read
 * whole, once per chunk, until autovacuum looks at it again; with it the plan is the same for ten rows and for ten million.
 * Prefetching only costs here: a table that is updated in full each second is in memory.
 */
export const FENCE_SETTINGS = [
  'SET enable_seqscan = off',
  'SET plan_cache_mode = force_generic_plan',
  'SET effective_io_concurrency = 0',
].join('; ');

export const IDS_LISTED = 100;
/**
 * How long a tick waits for one row, ms. Most transactions are over by then. It is far below `deadlock_timeout`, so where a tick
 * and an application wait for each other the tick gives way, and the application's transaction is not aborted.
 */
export const ROW_PATIENCE_MS = 150;
const LARGEST_INTEGER = 2_147_483_647;
/**
 * How far a tick number may lie ahead of the database's second: workers estimate that clock. A tick further ahead stamps
 * nothing, and only a slot further ahead is set back. So a slot is set back only if the database's clock showed its number
 * before, and stepped back since; otherwise a row would get a number twice.
 */
const AHEAD_TICKS = 2;
/** The second that the database's clock shows. Evaluated anew wherever it stands, also after a wait for a lock. */
const SECOND = 'floor(extract(epoch FROM pg_catalog.clock_timestamp()))::bigint';

const IS_ASKED = 's.slot = ANY ($1::int[])';

export interface TickForm {
  /** Adds what the stamped slots' last ticks were, at the cost of a hash for each row. @default false */
  readonly withBefore?: boolean;
  /**
   * Rows that others have locked are left out, named and counted, and never waited for. Costs about twice as much.
   * @default false
   */
  readonly passOver?: boolean;
}

/**
 * slots[], worker, tick → one row: stamped, rows, checksum, exhausted, exhaustedCount, lost, ahead, isEarly; with `withBefore`
 * also before, with `passOver` also skipped, skippedIds, skippedSlots.
 *
 * `patience` is of the transaction, so it ends with the statement, and it begins when the slots are locked: a wait for another
 * worker's slots, and a claim by the same connection, are not cut short.
 *
 * The checksum covers all rows of the stamped slots, the skipped ones too: they are watched, and no other worker's.
 *
 * `filled` are the slots to stamp as the statement's snapshot sees them. Who is no longer the owner after the wait for a
 * lock is missing from `locked`, and so lost; whoever stamped this tick meanwhile is in it, with the newer tick.
 *
 * RETURNING sees new values only. A row is reported as exhausted when its new value is NULL or the largest integer: also in
 * the very tick that brings it there, which is the last it can count.
 */
export function tickText(
  names: TableNames,
  slots: number,
  { withBefore = false, passOver = false }: TickForm = {},
): string {
  const id = `w.${quoteName(names.id)}`;
  const value = `w.${quoteName(names.value)}`;
  const slot = slotExpression(names.id, slots, 'w');
  const before = withBefore ? BEFORE : { returned: '', query: '', column: '' };
  const ofStamped = `${slot} = ANY (ARRAY(SELECT slot::bigint FROM stamped, patience))`;
  const over = passOver
    ? passOverText(names, { slot, ofStamped })
    : { query: '', rows: ofStamped, hashes: '', column: '' };
  return `
WITH clock AS MATERIALIZED (
  SELECT $3::bigint > ${SECOND} + ${AHEAD_TICKS} AS "isEarly"
), asked AS MATERIALIZED (
  SELECT s.slot, s.worker IS NOT DISTINCT FROM $2::text AS mine, s.last_tick FROM scaler.slot s WHERE ${IS_ASKED}
), filled AS MATERIALIZED (
  SELECT a.slot FROM asked a WHERE a.mine AND a.last_tick < $3 AND NOT (SELECT "isEarly" FROM clock)
    AND EXISTS (SELECT 1 FROM ${quoteTable(names)} w WHERE ${slot} = a.slot OFFSET 0)
), locked AS MATERIALIZED (
  SELECT s.slot, s.last_tick FROM scaler.slot s
  WHERE s.slot = ANY (ARRAY(SELECT slot FROM filled)) AND s.worker = $2 ORDER BY s.slot FOR UPDATE
), stamped AS (
  UPDATE scaler.slot s SET last_tick = $3
  WHERE s.slot = ANY (ARRAY(SELECT slot FROM locked WHERE last_tick < $3)) RETURNING s.slot
), patience AS MATERIALIZED (
  SELECT set_config('lock_timeout', '${ROW_PATIENCE_MS}', true) FROM (SELECT count(*) FROM locked) l
)${over.query}, ticked AS (
  UPDATE ${quoteTable(names)} w
  SET ${quoteName(names.value)} = CASE WHEN ${value} < ${LARGEST_INTEGER} THEN ${value} + 1 ELSE ${value} END,
    ${quoteName(names.worker)} = $2
  WHERE ${over.rows}
  RETURNING uuid_hash_extended(${id}, 1::bigint) AS hash,
    CASE WHEN ${value} < ${LARGEST_INTEGER} THEN NULL ELSE ${id} END AS exhausted${before.returned.replace('$slot', slot)}
)${before.query}
SELECT (SELECT count(*)::int FROM stamped) AS stamped, t.rows, t.checksum, t.exhausted, t."exhaustedCount",
  coalesce(a.lost, '{}') || ARRAY(SELECT slot FROM filled WHERE slot NOT IN (SELECT slot FROM locked)) AS lost,
  coalesce(a.ahead, '{}') AS ahead, (SELECT "isEarly" FROM clock) AS "isEarly"${over.column}${before.column}
FROM (
  SELECT count(*)::int AS rows, (coalesce(bit_xor(hash), 0)${over.hashes})::text AS checksum, count(exhausted)::int AS "exhaustedCount",
    coalesce((array_agg(exhausted::text) FILTER (WHERE exhausted IS NOT NULL))[1:${IDS_LISTED}], '{}') AS exhausted
  FROM ticked
) t, (
  SELECT array_agg(slot) FILTER (WHERE NOT mine) AS lost,
    array_agg(slot) FILTER (WHERE mine AND last_tick > $3 + ${AHEAD_TICKS}) AS ahead
  FROM asked
) a`;
}

/**
 * Rows are locked before they are written, so the update waits for none of them. It reaches them by id: where an application's
 * update came between the statement's snapshot and the lock, the row stands elsewhere, and is found as the update finds it.
 */
function passOverText(names: TableNames, { slot, ofStamped }: { readonly slot: string; readonly ofStamped: string }) {
  const id = `w.${quoteName(names.id)}`;
  const ofSlots = `SELECT ${id} AS id, ${slot} AS slot FROM ${quoteTable(names)} w WHERE ${ofStamped}`;
  return {
    query: `, free AS MATERIALIZED (
  ${ofSlots} FOR NO KEY UPDATE SKIP LOCKED
), skipped AS MATERIALIZED (
  ${ofSlots} EXCEPT SELECT id, slot FROM free
)`,
    rows: `${id} = ANY (ARRAY(SELECT id FROM free))`,
    hashes: ' # (SELECT coalesce(bit_xor(uuid_hash_extended(id, 1::bigint)), 0) FROM skipped)',
    column: `, (SELECT count(*)::int FROM skipped) AS skipped,
  ARRAY(SELECT DISTINCT slot::int FROM skipped ORDER BY 1) AS "skippedSlots",
  ARRAY(SELECT id::text FROM skipped ORDER BY id LIMIT ${IDS_LISTED}) AS "skippedIds"`,
  };
}

const BEFORE = {
  returned: ', $slot AS slot',
  query: `, before AS (
  SELECT l.slot, l.last_tick, count(*)::int AS rows FROM ticked t JOIN locked l ON l.slot = t.slot GROUP BY l.slot, l.last_tick
)`,
  column: `,
  (SELECT coalesce(json_agg(json_build_object('slot', slot, 'lastTick', last_tick, 'rows', rows) ORDER BY slot), '[]')
    FROM before) AS before`,
};

/**
 * slots[], worker, epoch, version → one row: slots, lastTicks (of the claimed), refused, lastEpoch.
 * `locked` waits for the former owner's tick under way, so the last tick returned includes it.
 *
 * An epoch that Postgres never issued claims nothing: this is the last line against forged snapshots, wherever they came
 * from (`shared/ring/issued-order.ts`). The subquery reads one row once; a leader's draw is committed before it publishes.
 */
export const CLAIM_TEXT = `
WITH issued AS MATERIALIZED (
  SELECT epoch FROM scaler.adoption
), locked AS MATERIALIZED (
  SELECT s.slot, s.epoch, s.version FROM scaler.slot s
  WHERE ${IS_ASKED} AND s.worker IS DISTINCT FROM $2::text AND $3::bigint <= (SELECT epoch FROM issued)
  ORDER BY s.slot FOR UPDATE
), stamped AS (
  UPDATE scaler.slot s SET worker = $2, epoch = $3::bigint, version = $4::bigint
  WHERE s.slot = ANY (ARRAY(SELECT slot FROM locked WHERE (epoch, version) < ($3, $4))) RETURNING s.slot, s.last_tick
)
SELECT coalesce(c.slots, '{}') AS slots, coalesce(c."lastTicks", '{}') AS "lastTicks",
  ARRAY(SELECT slot FROM locked WHERE (epoch, version) >= ($3, $4) ORDER BY slot) AS refused,
  (SELECT epoch FROM issued) AS "lastEpoch"
FROM (SELECT array_agg(slot ORDER BY slot) AS slots, array_agg(last_tick ORDER BY slot) AS "lastTicks" FROM stamped) c`;

/**
 * slots[], worker → one row per slot set back, to the second that the database's clock shows. No number of the worker's takes
 * part: its clock may be the wrong one. The condition stands twice, because the clock goes on while slots are waited for.
 */
export const REBASE_TEXT = `
WITH locked AS MATERIALIZED (
  SELECT s.slot FROM scaler.slot s
  WHERE ${IS_ASKED} AND s.worker = $2::text AND s.last_tick > ${SECOND} + ${AHEAD_TICKS} ORDER BY s.slot FOR UPDATE
)
UPDATE scaler.slot s SET last_tick = least(s.last_tick, ${SECOND})
WHERE s.slot = ANY (ARRAY(SELECT slot FROM locked)) AND s.last_tick > ${SECOND} + ${AHEAD_TICKS} RETURNING s.slot`;

/** slots[] → one row: ids, in order, sixteen bytes each. A row for each id would cost the worker ten times as much. */
export function readIdsText(names: TableNames, slots: number): string {
  const id = `w.${quoteName(names.id)}`;
  const slot = slotExpression(names.id, slots, 'w');
  return `SELECT coalesce(string_agg(uuid_send(${id}), ''::bytea ORDER BY ${id}), ''::bytea) AS ids
    FROM ${quoteTable(names)} w WHERE ${slot} = ANY ($1::bigint[])`;
}
