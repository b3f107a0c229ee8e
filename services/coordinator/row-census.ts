import type { Snapshot } from '../../shared/ring/snapshot.ts';
import type { MembershipState } from './member.ts';

/**
 * Do the workers see as many rows as the leader counted? Workers also tick rows that no trigger reported (logical replication, a
 * load with triggers off, a partition), so their liveness values include them.
 *
 * Liveness values are a round old. So only a difference that exceeds the recent changes, and lasts, makes the count doubtful. While
 * the difference stays, the pause until the next doubt doubles: if workers cannot see all rows, counting again does not help.
 */
export interface RowCensus {
  readonly nextAtMs: number;
  /** Rows that were reported added or removed since it was taken last. */
  readonly changed: number;
  /** The same of the times before, newest first. */
  readonly changedBefore: readonly number[];
  readonly differsSinceMs: number | null;
  readonly notBeforeMs: number;
  readonly pauseMs: number;
}

const EVERY_MS = 1_000;
/** A round, its heartbeat and a second's delay. */
const REMEMBERED = 3;
const LASTS_FOR_MS = 5_000;
const FIRST_PAUSE_MS = 10_000;
const LONGEST_PAUSE_MS = 600_000;

export function startCensus(nowMs: number): RowCensus {
  const nothing = { changed: 0, changedBefore: [], differsSinceMs: null, pauseMs: 0 };
  return { ...nothing, nextAtMs: nowMs + EVERY_MS, notBeforeMs: nowMs };
}

export function noteChanged(census: RowCensus, rows: number): RowCensus {
  return rows === 0 ? census : { ...census, changed: census.changed + rows };
}

/** `told` null: the workers' rows cannot be added up at the moment. */
export function takeCensus(
  census: RowCensus,
  rows: { readonly told: number | null; readonly counted: number },
  nowMs: number,
): { readonly census: RowCensus; readonly isDoubtful: boolean } {
  const changedBefore = [census.changed, ...census.changedBefore].slice(0, REMEMBERED);
  const taken = { ...census, changed: 0, changedBefore, nextAtMs: nowMs + EVERY_MS };
  const difference = rows.told === null ? 0 : Math.abs(rows.told - rows.counted);
  if (difference <= changedBefore.reduce((sum, changed) => sum + changed, 0)) {
    const pauseMs = rows.told !== null && difference === 0 ? 0 : taken.pauseMs;
    return { census: { ...taken, pauseMs, differsSinceMs: null }, isDoubtful: false };
  }
  const differsSinceMs = taken.differsSinceMs ?? nowMs;
  if (nowMs - differsSinceMs < LASTS_FOR_MS || nowMs < taken.notBeforeMs) {
    return { census: { ...taken, differsSinceMs }, isDoubtful: false };
  }
  const pauseMs = Math.min(LONGEST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, 2 * taken.pauseMs));
  return { census: { ...taken, differsSinceMs: null, pauseMs, notBeforeMs: nowMs + pauseMs }, isDoubtful: true };
}

/** The rows of all workers; null while one of them has not applied the newest ring, or is missing. */
export function rowsTold({ members }: MembershipState, published: Snapshot | null): number | null {
  if (published === null || published.workers.some(({ id }) => !members.has(id))) return null;
  let sum = 0;
  for (const { ring, rows } of members.values()) {
    if (ring !== published.version) return null;
    sum += rows;
  }
  return sum;
}
