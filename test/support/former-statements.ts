/**
 * How workers of commit 769ecbc claim and tick `public.work_items` with 16 slots: by their id alone, whatever incarnation a slot
 * names. Shortened to what they write. Never changed: tests run them beside the workers of this version.
 */

/** slots[], worker, epoch, version → the slots claimed. */
export const FORMER_CLAIM_TEXT = `
WITH locked AS MATERIALIZED (
  SELECT s.slot, s.epoch, s.version FROM scaler.slot s
  WHERE s.slot = ANY ($1::int[]) AND s.worker IS DISTINCT FROM $2::text ORDER BY s.slot FOR UPDATE
)
UPDATE scaler.slot s SET worker = $2, epoch = $3::bigint, version = $4::bigint
WHERE s.slot = ANY (ARRAY(SELECT slot FROM locked WHERE (epoch, version) < ($3, $4))) RETURNING s.slot`;

/** slots[], worker, tick → the rows incremented. */
export const FORMER_TICK_TEXT = `
WITH asked AS MATERIALIZED (
  SELECT s.slot, s.worker IS NOT DISTINCT FROM $2::text AS mine, s.last_tick FROM scaler.slot s WHERE s.slot = ANY ($1::int[])
), locked AS MATERIALIZED (
  SELECT s.slot, s.last_tick FROM scaler.slot s
  WHERE s.slot = ANY (ARRAY(SELECT slot FROM asked WHERE mine AND last_tick < $3::bigint)) AND s.worker = $2
  ORDER BY s.slot FOR UPDATE
), stamped AS (
  UPDATE scaler.slot s SET last_tick = $3
  WHERE s.slot = ANY (ARRAY(SELECT slot FROM locked WHERE last_tick < $3)) RETURNING s.slot
)
UPDATE public.work_items w SET value = value + 1, currentworker = $2
WHERE (uuid_hash_extended(w.id, 0::bigint) & 15) = ANY (ARRAY(SELECT slot::bigint FROM stamped)) RETURNING w.id`;
