import type { CoordinatorEffect, TableChange, TableSize } from './protocol.ts';

/**
 * How many rows has each slot? Counted once, then kept by what the table's triggers report; one read under way at most,
 * and a notification during it asks for another. Polled too, since notifications may be lost.
 */
export interface TableState {
  readonly size: TableSize;
  readonly isReading: boolean;
  /** Something came after the read under way began. */
  readonly isStale: boolean;
  readonly mustCount: boolean;
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
  return { size, isReading: false, isStale: false, mustCount: false, nextReadAtMs: nowMs + POLL_EVERY_MS };
}

export function notifyTable(state: TableState, nowMs: number): TableState {
  if (state.isReading) return { ...state, isStale: true };
  return { ...state, nextReadAtMs: nowMs };
}

/** The listening connection was lost: notifications may have been missed, the count may be another server's. */
export function distrustTable(state: TableState, nowMs: number): TableState {
  return { ...notifyTable(state, nowMs), mustCount: true };
}

export function advanceTable(state: TableState, nowMs: number): TableStep {
  if (state.isReading || nowMs < state.nextReadAtMs) return { state, effects: [], isChanged: false };
  const effect: CoordinatorEffect = state.mustCount
    ? { kind: 'count-table' }
    : { kind: 'read-changes', since: state.size.at };
  return { state: { ...state, isReading: true, isStale: false }, effects: [effect], isChanged: false };
}

export function receiveCount(state: TableState, size: TableSize | null, nowMs: number): TableStep {
  if (!state.isReading) return { state, effects: [], isChanged: false };
  if (size === null) return { state: readAgain(state, nowMs + RETRY_MS), effects: [], isChanged: false };
  // What came during the count may have been a further loss.
  const counted = { ...state, size, mustCount: state.isStale };
  const difference = size.rows - state.size.rows;
  const settled = settle(counted, { added: Math.max(0, difference), removed: Math.max(0, -difference) }, nowMs);
  // As many rows as before may lie in other slots.
  return { ...settled, isChanged: true };
}

export function receiveChange(state: TableState, change: TableChange | null, nowMs: number): TableStep {
  if (!state.isReading) return { state, effects: [], isChanged: false };
  if (change === null) return { state: readAgain(state, nowMs + RETRY_MS), effects: [], isChanged: false };
  if (change.recount) {
    return { state: { ...readAgain(state, nowMs), mustCount: true }, effects: [], isChanged: false };
  }
  if (change.deltas.length === 0) {
    return settle({ ...state, size: { ...state.size, at: change.at } }, { added: 0, removed: 0 }, nowMs);
  }
  const weights = state.size.weights.slice();
  for (const { slot, delta } of change.deltas) weights[slot] = (weights[slot] ?? 0) + delta;
  const size: TableSize = { weights, rows: state.size.rows + change.added - change.removed, at: change.at };
  return settle({ ...state, size }, change, nowMs);
}

export function tableWakeAtMs(state: TableState): number | null {
  return state.isReading ? null : state.nextReadAtMs;
}

function settle(state: TableState, by: { readonly added: number; readonly removed: number }, nowMs: number): TableStep {
  const { added, removed } = by;
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
  return { ...state, isReading: false, isStale: false, nextReadAtMs: atMs };
}
