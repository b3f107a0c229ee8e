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

export const IDS_LISTED = 100;
/**
 * How long a tick waits for one row, ms. During the wait it holds slots that a claim may need. It is far below
 * `deadlock_timeout`, so where a tick and an application wait for each other the tick gives way, and the application's
 * transaction is not aborted.
 */
export const ROW_PATIENCE_MS = 25;
/** How long a tick waits for a lock on the whole table, ms. It holds no slots then. */
export const TABLE_PATIENCE_MS = 100;

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

/** Also of the connections that both ticks and claims go by. */
export const TICK_SETTINGS = `${FENCE_SETTINGS}; SET lock_timeout = ${TABLE_PATIENCE_MS}`;

export const LARGEST_INTEGER = 2_147_483_647;
/**
 * How far a tick number may lie ahead of the database's second: workers estimate that clock. A tick further ahead stamps
 * nothing, and only a slot further ahead is set back. So a slot is set back only if the database's clock showed its number
 * before, and stepped back since; otherwise a row would get a number twice.
 */
export const AHEAD_TICKS = 2;
/** The second that the database's clock shows. Evaluated anew wherever it stands, also after a wait for a lock. */
export const SECOND = 'floor(extract(epoch FROM pg_catalog.clock_timestamp()))::bigint';

const IS_ASKED = 's.slot = ANY ($1::int[])';
/**
 * The slot `s` belongs to that very process. An id is not enough: a process that is cut off from NATS lives on beside its
 * successor of the same id. Every statement that writes a slot asks for it.
 */
export const isOf = (worker: string, incarnation: string) =>
  `s.worker = ${worker}::text AND s.incarnation = ${incarnation}::bigint`;
/** The slot `s` belongs to a later process of that worker. */
export const isOfLater = (worker: string, incarnation: string) =>
  `s.worker = ${worker}::text AND s.incarnation > ${incarnation}::bigint`;
const IS_MINE = isOf('$2', '$3');
const IS_SUCCESSORS = isOfLater('$2', '$3');
/** Of the transaction, so it ends with the statement: slots are waited for as long as it takes, by claims and ticks alike. */
const UNHURRIED = "SELECT set_config('lock_timeout', '0', true)";

/**
 * - `fast` waits for a row briefly; a row that stays locked, or that cannot be written, makes the statement fail.
 * - `over` waits for no row, at about twice the cost: slots that have a locked row are left unstamped, to be tried again.
 */
export type TickForm = 'fast' | 'over';

/**
 * slots[], worker, incarnation, tick → one row: stamped, rows, visible, missed, checksum, exhausted, exhaustedCount, nullCount,
 * lost, ahead, isEarly, isSuperseded; with `withBefore` also rowsBySlot and lastTicks, at the cost of a hash for each row. The form `over` takes leftOut (ids), leftOutSlots and
 * isLast (skip locked rows, and stamp their slots) as well, and adds held, skipped, skippedIds, withheld.
 *
 * `patience` begins when the slots are locked: a wait for another worker's slots is not cut short.
 *
 * `visible` and the checksum cover all rows of the slots that had not had the tick, whatever became of them: they are
 * watched, and no other worker's.
 *
 * `filled` are the slots to stamp as the statement's snapshot sees them. Who is no longer the owner after the wait for a
 * lock is missing from `locked`, and so lost; whoever stamped this tick meanwhile is in it, with the newer tick.
 *
 * RETURNING sees new values only. A row is reported as exhausted when its new value is NULL or the largest integer: also in
 * the very tick that brings it there, which is the last it can count. A NULL's id is marked by a hyphen.
 */
export function tickText(
  names: TableNames,
  slots: number,
  { form = 'fast', withBefore = false }: { readonly form?: TickForm; readonly withBefore?: boolean } = {},
): string {
  const id = `w.${quoteName(names.id)}`;
  const value = `w.${quoteName(names.value)}`;
  const slot = slotExpression(names.id, slots, 'w');
  const before = withBefore ? BEFORE : { returned: () => '', query: '', column: '' };
  const over = form === 'over' ? overParts(names, slot) : FAST_PARTS(slot);
  return `
WITH clock AS MATERIALIZED (
  SELECT $4::bigint > ${SECOND} + ${AHEAD_TICKS} AS "isEarly"
), asked AS MATERIALIZED (
  SELECT s.slot, coalesce(${IS_MINE}, false) AS mine, ${IS_SUCCESSORS} AS later, s.last_tick
  FROM scaler.slot s WHERE ${IS_ASKED}
), filled AS MATERIALIZED (
  SELECT a.slot FROM asked a WHERE a.mine AND a.last_tick < $4 AND NOT (SELECT "isEarly" FROM clock)
    AND EXISTS (SELECT 1 FROM ${quoteTable(names)} w WHERE ${slot} = a.slot OFFSET 0)
), unhurried AS MATERIALIZED (
  ${UNHURRIED}
), locked AS MATERIALIZED (
  SELECT s.slot, s.last_tick FROM scaler.slot s
  WHERE s.slot = ANY (ARRAY(SELECT slot FROM filled, unhurried)) AND ${IS_MINE} ORDER BY s.slot FOR UPDATE
), open AS MATERIALIZED (
  SELECT slot::bigint FROM locked WHERE last_tick < $4
), patience AS MATERIALIZED (
  SELECT set_config('lock_timeout', '${ROW_PATIENCE_MS}', true) FROM (SELECT count(*) FROM locked) l
)${over.found}, stamped AS (
  UPDATE scaler.slot s SET last_tick = $4
  WHERE s.slot = ANY (ARRAY(${over.toStamp})) RETURNING s.slot
), ticked AS (
  UPDATE ${quoteTable(names)} w
  SET ${quoteName(names.value)} = CASE WHEN ${value} < ${LARGEST_INTEGER} THEN ${value} + 1 ELSE ${value} END,
    ${quoteName(names.worker)} = $2
  WHERE ${over.toTick}
  RETURNING uuid_hash_extended(${id}, 1::bigint) AS hash, CASE WHEN ${value} < ${LARGEST_INTEGER} THEN NULL
    WHEN ${value} IS NULL THEN '-' || ${id}::text ELSE ${id}::text END AS exhausted${before.returned(slot)}
)${before.query}
SELECT (SELECT count(*)::int FROM stamped) AS stamped, t.rows, ${over.visible}, t.exhausted, t."exhaustedCount", t."nullCount",
  coalesce(a.lost, '{}') || ARRAY(SELECT slot FROM filled WHERE slot NOT IN (SELECT slot FROM locked)) AS lost,
  coalesce(a.ahead, '{}') AS ahead, (SELECT "isEarly" FROM clock) AS "isEarly",
  coalesce(a.later, false) AS "isSuperseded"${over.column}${before.column}
FROM (
  SELECT count(*)::int AS rows, coalesce(bit_xor(hash), 0)::text AS checksum, count(exhausted)::int AS "exhaustedCount",
    count(*) FILTER (WHERE exhausted LIKE '-%')::int AS "nullCount",
    coalesce((array_agg(exhausted) FILTER (WHERE exhausted IS NOT NULL))[1:${IDS_LISTED}], '{}') AS exhausted
  FROM ticked
) t, (
  SELECT array_agg(slot) FILTER (WHERE NOT mine) AS lost, bool_or(later) AS later,
    array_agg(slot) FILTER (WHERE mine AND last_tick > $4 + ${AHEAD_TICKS}) AS ahead
  FROM asked
) a`;
}

/** How a form finds its rows: CTEs, the slots to stamp, the rows to tick, and its additional columns. */
interface TickParts {
  readonly found: string;
  readonly toStamp: string;
  readonly toTick: string;
  readonly visible: string;
  readonly column: string;
}

const FAST_PARTS = (slot: string): TickParts => ({
  found: '',
  toStamp: 'SELECT slot::int FROM open',
  toTick: `${slot} = ANY (ARRAY(SELECT slot::bigint FROM stamped, patience))`,
  visible: 't.rows AS visible, 0 AS missed, t.checksum',
  column: '',
});

/**
 * Rows are locked before they are written, so the update waits for none of them. It reaches them by id: where an application's
 * update came between the statement's snapshot and the lock, the row stands elsewhere, and is found as the update finds it.
 *
 * A row deleted after the snapshot counts as locked; the next attempt does not see it.
 */
function overParts(names: TableNames, slot: string): TickParts {
  const id = `w.${quoteName(names.id)}`;
  const of = (slots: string) => `FROM ${quoteTable(names)} w WHERE ${slot} = ANY (ARRAY(${slots}))`;
  const isIn = `${id} NOT IN (SELECT unnest($5::uuid[])) AND ${slot} NOT IN (SELECT unnest($6::int[]))`;
  const ofOpen = of('SELECT slot FROM open, patience');
  return {
    found: `, free AS MATERIALIZED (
  SELECT ${id} AS id, ${slot} AS slot ${ofOpen} AND ${isIn} FOR NO KEY UPDATE SKIP LOCKED
), seen AS MATERIALIZED (
  SELECT ${slot} AS slot, count(*) AS rows, count(*) FILTER (WHERE ${isIn}) AS wanted,
    bit_xor(uuid_hash_extended(${id}, 1::bigint)) AS hash ${ofOpen} GROUP BY 1
), got AS MATERIALIZED (
  SELECT slot, count(*) AS rows FROM free GROUP BY 1
), blocked AS MATERIALIZED (
  SELECT s.slot FROM seen s LEFT JOIN got g USING (slot) WHERE s.wanted > coalesce(g.rows, 0)
), held AS MATERIALIZED (
  SELECT slot FROM blocked WHERE NOT $7::boolean
), skipped AS MATERIALIZED (
  SELECT ${id} AS id ${of('SELECT slot FROM blocked WHERE $7')} AND ${isIn} EXCEPT SELECT id FROM free
)`,
    toStamp: 'SELECT slot::int FROM seen EXCEPT SELECT slot::int FROM held',
    toTick: `${id} = ANY (ARRAY(SELECT id FROM free WHERE slot NOT IN (SELECT slot FROM held)))`,
    visible: `(SELECT coalesce(sum(rows), 0)::int FROM seen) AS visible,
  (SELECT coalesce(sum(rows), 0)::int FROM seen WHERE slot NOT IN (SELECT slot FROM held)) - t.rows AS missed,
  (SELECT coalesce(bit_xor(hash), 0)::text FROM seen) AS checksum`,
    column: `, ARRAY(SELECT slot::int FROM held ORDER BY 1) AS held, (SELECT count(*)::int FROM skipped) AS skipped,
  ARRAY(SELECT id::text FROM skipped ORDER BY id LIMIT ${IDS_LISTED}) AS "skippedIds",
  (SELECT count(*)::int FROM free WHERE slot NOT IN (SELECT slot FROM held)) - t.rows AS withheld`,
  };
}

/** Not joined here: for two CTEs the planner guesses a few rows, and would compare each with each. */
const BEFORE = {
  returned: (slot: string) => `, ${slot} AS slot`,
  query: `, counted AS (
  SELECT slot, count(*)::int AS rows FROM ticked WHERE exhausted IS NULL GROUP BY slot
)`,
  column: `,
  (SELECT coalesce(json_agg(json_build_array(slot, rows)), '[]') FROM counted) AS "rowsBySlot",
  (SELECT coalesce(json_agg(json_build_array(slot, last_tick)), '[]') FROM locked) AS "lastTicks"`,
};

/**
 * slots[], worker, incarnation, epoch, version → one row: slots, lastTicks and formers (of the claimed; a former owner is known by
 * a number, 0 is nobody), refused, isSuperseded, lastEpoch. `locked` waits for the former owner's tick under way, so the last tick
 * returned includes it. Its order is that of all that is read from it.
 *
 * A slot passes from worker to worker by a newer order. From process to process of one worker it passes by incarnation alone: a
 * restarted worker gets its slots back at once, also where the stream has lost the newest snapshot, and the slot keeps the newer
 * of both orders. A former process gets nothing back, even if it hears newer snapshots: else both would tick in turn.
 *
 * An epoch that Postgres never issued claims nothing: this is the last line against forged snapshots, wherever they came
 * from (`shared/ring/issued-order.ts`). The subquery reads one row once; a leader's draw is committed before it publishes.
 */
export const CLAIM_TEXT = `
WITH issued AS MATERIALIZED (
  SELECT epoch FROM scaler.adoption
), unhurried AS MATERIALIZED (
  ${UNHURRIED}
), locked AS MATERIALIZED (
  SELECT s.slot, s.last_tick, coalesce(hashtext(s.worker), 0) AS former, ${IS_SUCCESSORS} AS later,
    CASE WHEN s.worker = $2::text THEN (${IS_SUCCESSORS}) IS NOT TRUE ELSE (s.epoch, s.version) < ($4, $5) END AS open
  FROM scaler.slot s, unhurried
  WHERE ${IS_ASKED} AND (${IS_MINE}) IS NOT TRUE AND $4::bigint <= (SELECT epoch FROM issued)
  ORDER BY s.slot FOR UPDATE OF s
), stamped AS (
  UPDATE scaler.slot s SET worker = $2, incarnation = $3,
    epoch = CASE WHEN (s.epoch, s.version) < ($4, $5) THEN $4::bigint ELSE s.epoch END,
    version = CASE WHEN (s.epoch, s.version) < ($4, $5) THEN $5::bigint ELSE s.version END
  WHERE s.slot = ANY (ARRAY(SELECT slot FROM locked WHERE open))
)
SELECT coalesce(c.slots, '{}') AS slots, coalesce(c."lastTicks", '{}') AS "lastTicks", coalesce(c.formers, '{}') AS formers,
  ARRAY(SELECT slot FROM locked WHERE NOT open) AS refused,
  EXISTS (SELECT FROM locked WHERE later) AS "isSuperseded", (SELECT epoch FROM issued) AS "lastEpoch"
FROM (
  SELECT array_agg(slot) AS slots, array_agg(last_tick) AS "lastTicks", array_agg(former) AS formers FROM locked WHERE open
) c`;

/**
 * slots[], worker, incarnation → one row per slot set back, to the second that the database's clock shows. No number of the worker's takes
 * part: its clock may be the wrong one. The condition stands twice, because the clock goes on while slots are waited for.
 */
export const REBASE_TEXT = `
WITH locked AS MATERIALIZED (
  SELECT s.slot FROM scaler.slot s
  WHERE ${IS_ASKED} AND ${IS_MINE} AND s.last_tick > ${SECOND} + ${AHEAD_TICKS} ORDER BY s.slot FOR UPDATE
)
UPDATE scaler.slot s SET last_tick = least(s.last_tick, ${SECOND})
WHERE s.slot = ANY (ARRAY(SELECT slot FROM locked)) AND s.last_tick > ${SECOND} + ${AHEAD_TICKS} RETURNING s.slot`;

/** worker, incarnation → the slots of this very process, ascending. */
export const OWNED_TEXT = `SELECT s.slot FROM scaler.slot s WHERE ${isOf('$1', '$2')} ORDER BY s.slot`;

/**
 * worker → the incarnation of its next process: above the incarnations of all former ones that a slot still names, whatever
 * became of the database's clock since.
 */
export const DRAW_INCARNATION_TEXT = `
SELECT greatest(
  floor(extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint,
  (SELECT max(incarnation) + 1 FROM scaler.slot WHERE worker = $1)
) AS incarnation`;

/** slots[] → one row: ids, in order, sixteen bytes each. A row for each id would cost the worker ten times as much. */
export function readIdsText(names: TableNames, slots: number): string {
  const id = `w.${quoteName(names.id)}`;
  const slot = slotExpression(names.id, slots, 'w');
  return `SELECT coalesce(string_agg(uuid_send(${id}), ''::bytea ORDER BY ${id}), ''::bytea) AS ids
    FROM ${quoteTable(names)} w WHERE ${slot} = ANY ($1::bigint[])`;
}
