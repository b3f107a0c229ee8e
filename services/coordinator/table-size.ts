import { addDeltas, possibleCount } from '../../shared/ring/row-count.ts';
import type { CoordinatorEffect, CountDoubt, TableChange, TableSize } from './protocol.ts';
import { demandRecount, failRecount, finishRecount, NO_RECOUNT, type Recount, recountAtMs } from './recount.ts';

/**
 * How many rows has each slot? Counted once, then kept by what the table's triggers report; one read under way at most,
 * and a notification during it asks for another. Polled too, since notifications may be lost.
 *
 * Where the reports contradict the count, or cannot tell (a TRUNCATE), the table is counted again. While that has to wait,
 * the reports are added up as well as they go: an estimate, but a possible count.
 * Invariant: `size` is always possible, see shared/ring/row-count.ts.
 */
export interface TableState {
  readonly size: TableSize;
  /** Null: no read is under way. */
  readonly readingSinceMs: number | null;
  /** Something came after the read under way began. */
  readonly isStale: boolean;
  readonly recount: Recount;
  readonly nextReadAtMs: number;
}

export interface TableStep {
  readonly state: TableState;
  readonly effects: readonly CoordinatorEffect[];
  readonly isChanged: boolean;
}

const POLL_EVERY_MS = 5_000;
const RETRY_MS = 500;
/** A storm of single inserts becomes at most this many reads a second times ten. */
const PAUSE_MS = 10;

export function startTable(size: TableSize, nowMs: number): TableState {
  const nextReadAtMs = nowMs + POLL_EVERY_MS;
  return { size: toSize(size), readingSinceMs: null, isStale: false, recount: NO_RECOUNT, nextReadAtMs };
}

export function notifyTable(state: TableState, nowMs: number): TableState {
  if (state.readingSinceMs !== null) return { ...state, isStale: true };
  return { ...state, nextReadAtMs: nowMs };
}

/** The listening connection was lost: notifications may have been missed, the count may be another server's. */
export function distrustTable(state: TableState, nowMs: number): TableState {
  return { ...notifyTable(state, nowMs), recount: demandRecount(state.recount, nowMs) };
}

export function advanceTable(state: TableState, nowMs: number): TableStep {
  if (state.readingSinceMs !== null) return unchanged(state);
  const countAtMs = recountAtMs(state.recount);
  const mustCount = countAtMs !== null && nowMs >= countAtMs;
  if (!mustCount && nowMs < state.nextReadAtMs) return unchanged(state);
  const effect: CoordinatorEffect = mustCount
    ? { kind: 'count-table' }
    : { kind: 'read-changes', since: state.size.at };
  return { state: { ...state, readingSinceMs: nowMs, isStale: false }, effects: [effect], isChanged: false };
}

export function receiveCount(state: TableState, counted: TableSize | null, nowMs: number): TableStep {
  if (state.readingSinceMs === null) return unchanged(state);
  const tookMs = nowMs - state.readingSinceMs;
  if (counted === null) {
    const recount = failRecount(state.recount, tookMs, nowMs);
    return unchanged(readAgain({ ...state, recount }, nowMs + RETRY_MS));
  }
  const finished = finishRecount(state.recount, tookMs, nowMs);
  // What came during the count may have been a further loss.
  const recount = state.isStale ? demandRecount(finished, nowMs) : finished;
  const size = toSize(counted);
  // As many rows as before may lie in other slots.
  return { ...settle({ ...state, size, recount }, differenceOf(state.size, size), nowMs), isChanged: true };
}

export function receiveChange(state: TableState, change: TableChange | null, nowMs: number): TableStep {
  if (state.readingSinceMs === null) return unchanged(state);
  if (change === null) return unchanged(readAgain(state, nowMs + RETRY_MS));
  const { isPossible, ...count } = addDeltas(state.size, change.deltas);
  const size = { ...count, at: change.at };
  const doubt = findDoubt(change, isPossible);
  const recount = doubt === null ? state.recount : demandRecount(state.recount, nowMs);
  const reports: CoordinatorEffect[] =
    doubt === null || state.recount.dueSinceMs !== null
      ? []
      : [{ kind: 'report', report: { kind: 'count-doubted', reason: doubt } }];
  const countAtMs = recountAtMs(recount);
  // The count that starts now has the changes in it.
  if (countAtMs !== null && countAtMs <= nowMs) {
    return { state: { ...readAgain(state, nowMs), recount }, effects: reports, isChanged: false };
  }
  const by = doubt === null ? change : differenceOf(state.size, size);
  const settled = settle({ ...state, size, recount }, by, nowMs);
  return { ...settled, effects: [...reports, ...settled.effects] };
}

function findDoubt(change: TableChange, isPossible: boolean): CountDoubt | null {
  if (change.recount) return 'truncated';
  return isPossible ? null : 'contradicted';
}

export function tableWakeAtMs({ readingSinceMs, recount, nextReadAtMs }: TableState): number | null {
  if (readingSinceMs !== null) return null;
  return Math.min(nextReadAtMs, recountAtMs(recount) ?? nextReadAtMs);
}

function toSize({ weights, at }: TableSize): TableSize {
  return { ...possibleCount(weights), at };
}

interface Difference {
  readonly added: number;
  readonly removed: number;
}

function differenceOf(before: TableSize, after: TableSize): Difference {
  const difference = after.rows - before.rows;
  return { added: Math.max(0, difference), removed: Math.max(0, -difference) };
}

function settle(state: TableState, { added, removed }: Difference, nowMs: number): TableStep {
  const settled = readAgain(state, state.isStale ? nowMs + PAUSE_MS : nowMs + POLL_EVERY_MS);
  const isChanged = added > 0 || removed > 0;
  const effects: CoordinatorEffect[] = isChanged
    ? [
        { kind: 'publish-size', rows: state.size.rows, added, removed },
        { kind: 'report', report: { kind: 'table-resized', rows: state.size.rows, added, removed } },
      ]
    : [];
  return { state: settled, effects, isChanged };
}

function readAgain(state: TableState, atMs: number): TableState {
  return { ...state, readingSinceMs: null, isStale: false, nextReadAtMs: atMs };
}

function unchanged(state: TableState): TableStep {
  return { state, effects: [], isChanged: false };
}
