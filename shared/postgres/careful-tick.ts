import type { FunctionDefinition } from './change-triggers.ts';
import { AHEAD_TICKS, IDS_LISTED, isOf, isOfLater, LARGEST_INTEGER, SECOND } from './fence-statements.ts';
import { quoteName, quoteTable, slotExpression, type TableNames } from './table.ts';

/**
 * The tick of slots that have rows which cannot be written. One statement updates all rows or none, so here the rows are
 * updated in parts, each undone by itself: a part that fails is halved, by slots and then by rows, until the bad rows
 * stand alone. Everything else is ticked in the same transaction.
 *
 * - A failure that concerns no row in particular (a rule or a trigger of the statement, a missing right, a locked table)
 *   also fails an update of no rows. It is raised, as are errors of the connection and the server.
 * - Rows that a trigger or a rule withholds without an error are found by their number, and are bad rows as well.
 * - Slots and rows are locked here, so the time is limited. What is undecided then stays unstamped, to be tried again; at
 *   the last chance it is stamped all the same, and misses the tick: a slot that is never stamped looks like a dead worker's.
 * - Deferred constraints are checked at once, since nothing could be isolated at the commit.
 * - Triggers run on the caller's search path and with the caller's rights, as in any other tick.
 *
 * It needs no lock to be installed and no right but those of a tick.
 */
const FUNCTION_NAME = 'tick_carefully';
/** A claim may wait for so long, once. */
const BUDGET_MS = 120;
/** A slot that is begun is brought to its end within so much more: what is left of its rows would miss the tick. */
const FINISH_MS = 60;
/** In a trigger, for instance. Longer than most short transactions' last moments, and short enough to try several parts. */
const WAIT_MS = 3;
/** Enough to find one waiting row among thousands by halving. */
const WAITS_MOST = 20;
const BAD_MOST = 500;
/** Connection, transaction state, resources, operator's intervention, system. */
const RAISED = "'08', '25', '53', '57', '58'";
const MESSAGE_LENGTH = 200;
/** Not an SQL state of Postgres: rows were withheld without an error. */
export const WITHHELD_STATE = 'NSW01';

/** slots[], worker, incarnation, tick, leftOut[], leftOutSlots[], onTrial[], isLast. */
export const CAREFUL_TEXT = `SELECT scaler.${FUNCTION_NAME}($1::int[], $2::text, $3::bigint, $4::bigint, $5::uuid[], $6::int[], $7::uuid[], $8::boolean) AS result`;

export function carefulFunction(names: TableNames, slots: number): FunctionDefinition {
  return {
    name: FUNCTION_NAME,
    parameters:
      'asked integer[], me text, life bigint, tick bigint, left_out uuid[], left_out_slots integer[], on_trial uuid[], is_last boolean',
    returns: 'json',
    isDefiner: false,
    body: carefulBody(names, slots),
  };
}

function carefulBody(names: TableNames, slotCount: number): string {
  const table = quoteTable(names);
  const id = `w.${quoteName(names.id)}`;
  const value = `w.${quoteName(names.value)}`;
  const slot = slotExpression(names.id, slotCount, 'w');
  const isMine = isOf('me', 'life');
  const columns = `${quoteName(names.value)} = CASE WHEN ${value} < ${LARGEST_INTEGER} THEN ${value} + 1 ELSE ${value} END,
            ${quoteName(names.worker)} = me`;
  return `
    #variable_conflict use_variable
    DECLARE
      mine int[]; last_ticks bigint[]; lost int[]; ahead int[]; is_early boolean; is_superseded boolean;
      visible int; checksum text; locked_slots int[]; held int[] := '{}'; skipped uuid[] := '{}';
      ids uuid[]; slots int[]; trials int := 0; last_normal int;
      lows int[]; highs int[]; top int := 0; low int; high int; middle int; done int;
      decided int := 0; waits int := 0; was_probed boolean := false;
      ticked int := 0; partial int := -1; missed int; undecided int[]; undecided_rows int[]; kept int[]; cleared uuid[] := '{}';
      bad_ids uuid[] := '{}'; bad_slots int[] := '{}'; bad_states text[] := '{}'; bad_messages text[] := '{}';
      state text; message text; deadline timestamptz; stamped int[]; result json;
    BEGIN
      is_early := tick > ${SECOND} + ${AHEAD_TICKS};
      SELECT coalesce(array_agg(s.slot) FILTER (WHERE (${isMine}) IS NOT TRUE), '{}'),
        coalesce(array_agg(s.slot) FILTER (WHERE ${isMine} AND s.last_tick > tick + ${AHEAD_TICKS}), '{}'),
        coalesce(bool_or(${isOfLater('me', 'life')}), false)
        INTO lost, ahead, is_superseded FROM scaler.slot s WHERE s.slot = ANY (asked);
      PERFORM set_config('lock_timeout', '0', true);
      SELECT coalesce(array_agg(l.slot), '{}'), coalesce(array_agg(l.last_tick), '{}') INTO mine, last_ticks FROM (
        SELECT s.slot, s.last_tick FROM scaler.slot s
        WHERE s.slot = ANY (asked) AND ${isMine} AND s.last_tick < tick AND NOT is_early ORDER BY s.slot FOR UPDATE) l;
      PERFORM set_config('lock_timeout', '${WAIT_MS}', true);
      deadline := clock_timestamp() + interval '${BUDGET_MS} ms';
      SET CONSTRAINTS ALL IMMEDIATE;

      WITH free AS MATERIALIZED (
        SELECT ${id} AS id, ${slot}::int AS slot FROM ${table} w
        WHERE ${slot} = ANY (mine::bigint[]) AND ${id} NOT IN (SELECT unnest(left_out))
          AND ${slot} NOT IN (SELECT unnest(left_out_slots)) FOR NO KEY UPDATE SKIP LOCKED
      ), seen AS MATERIALIZED (
        SELECT ${id} AS id, ${slot}::int AS slot FROM ${table} w WHERE ${slot} = ANY (mine::bigint[])
      ), locked AS MATERIALIZED (
        SELECT s.id, s.slot FROM seen s WHERE s.id NOT IN (SELECT f.id FROM free f)
          AND s.id NOT IN (SELECT unnest(left_out)) AND s.slot NOT IN (SELECT unnest(left_out_slots))
      ), tried AS (
        SELECT f.id, f.slot, f.id IN (SELECT unnest(on_trial)) AS is_trial FROM free f
        WHERE is_last OR f.slot NOT IN (SELECT l.slot FROM locked l)
      )
      SELECT (SELECT count(*) FROM seen), (SELECT coalesce(bit_xor(uuid_hash_extended(s.id, 1::bigint)), 0) FROM seen s)::text,
        ARRAY(SELECT DISTINCT l.slot FROM locked l ORDER BY 1), ARRAY(SELECT l.id FROM locked l WHERE is_last),
        coalesce((SELECT array_agg(t.id ORDER BY t.is_trial, t.slot) FROM tried t), '{}'),
        coalesce((SELECT array_agg(t.slot ORDER BY t.is_trial, t.slot) FROM tried t), '{}'),
        (SELECT count(*) FROM tried t WHERE t.is_trial),
        ARRAY(SELECT unnest(on_trial) EXCEPT SELECT s.id FROM seen s)
      INTO visible, checksum, locked_slots, skipped, ids, slots, trials, cleared;
      IF NOT is_last THEN held := locked_slots; END IF;

      last_normal := cardinality(ids) - trials;
      IF trials > 0 THEN top := top + 1; lows[top] := last_normal + 1; highs[top] := cardinality(ids); END IF;
      IF last_normal > 0 THEN top := top + 1; lows[top] := 1; highs[top] := last_normal; END IF;
      WHILE top > 0 LOOP
        low := lows[top]; high := highs[top];
        EXIT WHEN waits >= ${WAITS_MOST} OR cardinality(bad_ids) >= ${BAD_MOST};
        EXIT WHEN decided > 0 AND clock_timestamp() > deadline AND slots[low] <> partial;
        EXIT WHEN decided > 0 AND clock_timestamp() > deadline + interval '${FINISH_MS} ms';
        top := top - 1;
        BEGIN
          UPDATE ${table} w SET ${columns} WHERE ${id} = ANY (ids[low:high]);
          GET DIAGNOSTICS done = ROW_COUNT;
          IF done <= high - low THEN
            RAISE EXCEPTION USING ERRCODE = '${WITHHELD_STATE}', MESSAGE = 'a trigger or a rule withholds the row from the update';
          END IF;
          ticked := ticked + done;
          IF low > last_normal THEN cleared := cleared || ids[low:high]; ELSE partial := slots[high]; END IF;
          decided := high;
        EXCEPTION WHEN OTHERS OR assert_failure THEN
          GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
          IF left(state, 2) IN (${RAISED}) THEN RAISE; END IF;
          IF NOT was_probed THEN
            was_probed := true;
            UPDATE ${table} w SET ${columns} WHERE false;
          END IF;
          IF state IN ('55P03', '40P01') THEN waits := waits + 1; END IF;
          IF state IN ('55P03', '40P01') AND NOT is_last AND low <= last_normal AND slots[low] = slots[high] AND partial <> slots[low] THEN
            held := held || slots[low];
            decided := high;
          ELSIF low = high THEN
            bad_ids := bad_ids || ids[low]; bad_slots := bad_slots || slots[low];
            bad_states := bad_states || state; bad_messages := bad_messages || left(message, ${MESSAGE_LENGTH});
            IF low <= last_normal THEN partial := slots[low]; END IF;
            decided := high;
          ELSE
            middle := (low + high) / 2;
            IF low <= last_normal AND slots[low] <> slots[high] THEN
              WHILE middle > low AND slots[middle] = slots[middle + 1] LOOP middle := middle - 1; END LOOP;
              IF slots[middle] = slots[middle + 1] THEN
                WHILE slots[middle] = slots[middle + 1] LOOP middle := middle + 1; END LOOP;
              END IF;
            END IF;
            lows[top + 1] := middle + 1; highs[top + 1] := high;
            lows[top + 2] := low; highs[top + 2] := middle;
            top := top + 2;
          END IF;
        END;
      END LOOP;

      -- Rows stand in slot order, and are decided in their order.
      decided := least(decided, last_normal);
      SELECT coalesce(array_agg(u.slot), '{}'), coalesce(array_agg(u.rows), '{}') INTO undecided, undecided_rows FROM (
        SELECT r.slot, count(*)::int AS rows FROM unnest(slots[decided + 1:last_normal]) r(slot)
        WHERE r.slot <> partial GROUP BY r.slot ORDER BY r.slot) u;
      kept := CASE WHEN is_last THEN '{}' ELSE held || undecided END;
      SELECT coalesce(array_agg(r.slot), '{}'), coalesce(sum(r.rows), 0) - ticked INTO stamped, missed FROM (
        SELECT ${slot}::int AS slot, count(*) AS rows FROM ${table} w WHERE ${slot} = ANY (mine::bigint[]) GROUP BY 1) r
      WHERE NOT r.slot = ANY (kept);
      UPDATE scaler.slot s SET last_tick = tick WHERE s.slot = ANY (stamped);
      SELECT json_build_object('stamped', cardinality(stamped), 'rows', ticked, 'visible', visible, 'checksum', checksum,
        'lost', lost, 'ahead', ahead, 'isEarly', is_early, 'isSuperseded', is_superseded,
        'held', held, 'undecided', undecided, 'undecidedRows', undecided_rows, 'missed', missed, 'withheld', 0,
        'skipped', cardinality(skipped), 'skippedIds', skipped[1:${IDS_LISTED}], 'cleared', cleared,
        'blocked', (SELECT coalesce(json_agg(json_build_object('id', b.id, 'slot', b.slot, 'state', b.state, 'message', b.message)), '[]')
          FROM unnest(bad_ids, bad_slots, bad_states, bad_messages) b(id, slot, state, message)),
        'before', (SELECT coalesce(json_agg(json_build_object('slot', m.slot, 'lastTick', m.last_tick, 'rows', u.rows)), '[]')
          FROM (SELECT t.slot, count(*) AS rows FROM unnest(slots) t(slot) GROUP BY t.slot) u
          JOIN unnest(mine, last_ticks) m(slot, last_tick) ON m.slot = u.slot WHERE m.slot = ANY (stamped)),
        'exhausted', coalesce(x.ids, '{}'), 'exhaustedCount', x.total, 'nullCount', x.nulls) INTO result
      FROM (SELECT (array_agg(CASE WHEN ${value} IS NULL THEN '-' ELSE '' END || ${id}::text))[1:${IDS_LISTED}] AS ids,
          count(*) AS total, count(*) FILTER (WHERE ${value} IS NULL) AS nulls
        FROM ${table} w WHERE ${slot} = ANY (stamped::bigint[]) AND (${value} < ${LARGEST_INTEGER}) IS NOT TRUE) x;
      RETURN result;
    END `;
}
