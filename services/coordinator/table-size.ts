import { earliest } from '../../shared/machine/machine.ts';
import { addDeltas, possibleCount } from '../../shared/ring/row-count.ts';
import type { CoordinatorEffect, CountDoubt, PruneOutcome, TableChange, TableSize } from './protocol.ts';
import { demandRecount, failRecount, finishRecount, NO_RECOUNT, type Recount, recountAtMs } from './recount.ts';
import { noteChanged, type RowCensus, startCensus, takeCensus } from './row-census.ts';

/**
 * How many rows has each slot? Counted once, then kept by what the table's triggers report, which a poll waits for: writers
 * notify nobody, since that would serialize their commits and forbid two-phase commit.
 *
 * States: idle → polling, counting or pruning → idle. One of them at a time, so no poll overlaps another.
 *
 * Where the reports contradict the count, or cannot tell (a TRUNCATE, another connection), the table is counted again.
 * While that has to wait, the reports are added up as well as they go: an estimate, but a possible count.
 * Invariant: `size` is always possible, see shared/ring/row-count.ts.
 */
export interface TableState {
  readonly epoch: number;
  readonly size: TableSize;
  /** Null: idle. */
  readonly work: { readonly kind: 'poll' | 'count' | 'prune'; readonly sinceMs: number } | null;
  readonly pollAtMs: number;
  /** How many polls in a row failed. */
  readonly failures: number;
  readonly recount: Recount;
  /** The connection is another one: nothing can be added to `size` before it is counted again. */
  readonly isBlind: boolean;
  /** All that this Postgres snapshot sees is pruned; null: not known, all is to be pruned. */
  readonly prunedAt: string | null;
  /** Null: there is nothing to prune. */
  readonly pruneAtMs: number | null;
  readonly census: RowCensus;
}

export interface TableStep {
  readonly state: TableState;
  readonly effects: readonly CoordinatorEffect[];
  readonly isChanged: boolean;
  /** When the evidence for the change came: the poll that found it was sent, or a recount was found to be needed. */
  readonly evidenceMs: number | null;
}

/** From the beginning of one poll to the next, where there are changes all the time. Without, a poll waits for them itself. */
const POLL_EVERY_MS = 20;
/** Between polls, in times what the last one took to read: a slow Postgres is polled a quarter of the time at most. Prunes likewise. */
const PAUSE_SHARE = 3;
const POLL_LONGEST_PAUSE_MS = 5_000;
const FAILURE_PAUSE_MS = 250;
/** Of them doubled, one after the other. */
const FAILURE_DOUBLINGS = 4;
/** What is pruned is no more than disk space: polls find their rows by an index. */
const PRUNE_EVERY_MS = 1_000;
const PRUNE_RETRY_MS = 5_000;

/** A term begins: the table has just been counted. */
export function startTable(counted: TableSize, epoch: number, nowMs: number): TableState {
  return {
    epoch,
    size: toSize(counted),
    work: null,
    pollAtMs: nowMs + POLL_EVERY_MS,
    failures: 0,
    recount: NO_RECOUNT,
    isBlind: false,
    prunedAt: null,
    pruneAtMs: nowMs + PRUNE_EVERY_MS,
    census: startCensus(nowMs),
  };
}

/** Changes went unreported, as while the table had no triggers. */
export function recountTable(state: TableState, nowMs: number): TableState {
  return { ...state, recount: demandRecount(state.recount, nowMs) };
}

/** `told`: how many rows the workers see, as in `takeCensus`. */
export function advanceTable(state: TableState, nowMs: number, told: () => number | null = () => null): TableStep {
  const compared = compare(state, told, nowMs);
  const advanced = advance(compared.state, nowMs);
  return { ...advanced, effects: [...compared.effects, ...advanced.effects] };
}

function compare(state: TableState, told: () => number | null, nowMs: number): TableStep {
  if (nowMs < state.census.nextAtMs) return unchanged(state);
  const { census, isDoubtful } = takeCensus(state.census, { told: told(), counted: state.size.rows }, nowMs);
  if (!isDoubtful || state.recount.dueSinceMs !== null) return unchanged({ ...state, census });
  const report: CoordinatorEffect = { kind: 'report', report: { kind: 'count-doubted', reason: 'workers-differ' } };
  return { ...unchanged({ ...state, census, recount: demandRecount(state.recount, nowMs) }), effects: [report] };
}

function advance(state: TableState, nowMs: number): TableStep {
  if (state.work !== null) return unchanged(state);
  const { size, epoch, prunedAt } = state;
  const countAtMs = recountAtMs(state.recount);
  if (countAtMs !== null && nowMs >= countAtMs) return begin(state, 'count', { kind: 'count-table' }, nowMs);
  if (!state.isBlind && nowMs >= state.pollAtMs) {
    return begin(state, 'poll', { kind: 'read-changes', since: size.at }, nowMs);
  }
  if (!state.isBlind && state.pruneAtMs !== null && nowMs >= state.pruneAtMs) {
    const { at, connection } = size;
    return begin(state, 'prune', { kind: 'prune-changes', after: prunedAt, at, epoch, connection }, nowMs);
  }
  return unchanged(state);
}

export function receiveCount(state: TableState, counted: TableSize | null, nowMs: number): TableStep {
  if (state.work?.kind !== 'count') return unchanged(state);
  const tookMs = nowMs - state.work.sinceMs;
  if (counted === null) {
    const recount = failRecount(state.recount, tookMs, nowMs);
    return unchanged({ ...state, recount, work: null, pollAtMs: nowMs + FAILURE_PAUSE_MS });
  }
  const size = toSize(counted);
  const next: TableState = {
    ...state,
    size,
    work: null,
    pollAtMs: nowMs + POLL_EVERY_MS,
    failures: 0,
    recount: finishRecount(state.recount, tookMs, nowMs),
    isBlind: false,
    // Another server's changes are not those that were pruned.
    prunedAt: null,
    pruneAtMs: nowMs + PRUNE_EVERY_MS,
  };
  // As many rows as before may lie in other slots.
  return { ...settle(next, differenceOf(state.size, size)), isChanged: true, evidenceMs: state.recount.dueSinceMs };
}

/** `since`: what was asked for. The answer to a former term's question would be counted twice. */
export function receiveChange(state: TableState, since: string, change: TableChange | null, nowMs: number): TableStep {
  if (state.work?.kind !== 'poll' || since !== state.size.at) return unchanged(state);
  if (change === null) return unchanged(failPoll(state, nowMs));
  const { isPossible, ...count } = addDeltas(state.size, change.deltas);
  const doubt = findDoubt(state.size, change, isPossible);
  const recount = doubt === null ? state.recount : demandRecount(state.recount, nowMs);
  const isNews = doubt !== null && state.recount.dueSinceMs === null;
  const reports: CoordinatorEffect[] = isNews
    ? [{ kind: 'report', report: { kind: 'count-doubted', reason: doubt } }]
    : [];
  const isBlind = doubt === 'reconnected';
  const idle: TableState = { ...rest({ ...state, failures: 0 }, change.readMs, nowMs), recount, isBlind };
  const countAtMs = recountAtMs(recount);
  // The count that starts now has the changes in it.
  if (isBlind || (countAtMs !== null && countAtMs <= nowMs)) return { ...unchanged(idle), effects: reports };
  const census = noteChanged(state.census, change.added + change.removed);
  const size: TableSize = { ...state.size, ...count, at: change.at };
  const hasChanges = change.added > 0 || change.removed > 0 || change.recount;
  const pruneAtMs = state.pruneAtMs ?? (hasChanges ? nowMs + PRUNE_EVERY_MS : null);
  const by = doubt === null ? change : differenceOf(state.size, size);
  const settled = settle({ ...idle, size, pruneAtMs, census }, by);
  return { ...settled, effects: [...reports, ...settled.effects], evidenceMs: nowMs - change.readMs };
}

/** `at`: the Postgres snapshot up to which was pruned. */
export function receivePrune(state: TableState, at: string, outcome: PruneOutcome, nowMs: number): TableStep {
  if (state.work?.kind !== 'prune') return unchanged(state);
  const tookMs = nowMs - state.work.sinceMs;
  // Polls go on at their own pace: a prune says nothing about how long they take.
  const idle: TableState = { ...state, work: null };
  switch (outcome) {
    case 'all':
      return unchanged({ ...idle, prunedAt: at, pruneAtMs: null });
    case 'some':
      return unchanged({ ...idle, pruneAtMs: nowMs + PAUSE_SHARE * tookMs });
    case 'failed':
      return unchanged({ ...idle, pruneAtMs: nowMs + PRUNE_RETRY_MS });
  }
}

export function tableWakeAtMs(state: TableState): number | null {
  const { work, recount, isBlind, pollAtMs, pruneAtMs, census } = state;
  // Its answer comes within half a second, but for a count's.
  if (work !== null) return null;
  const countAtMs = recountAtMs(recount);
  return isBlind ? earliest(countAtMs, census.nextAtMs) : earliest(countAtMs, pollAtMs, pruneAtMs, census.nextAtMs);
}

function findDoubt(size: TableSize, change: TableChange, isPossible: boolean): CountDoubt | null {
  if (change.connection !== size.connection) return 'reconnected';
  if (change.recount) return 'truncated';
  return isPossible ? null : 'contradicted';
}

function toSize({ weights, at, connection }: TableSize): TableSize {
  return { ...possibleCount(weights), at, connection };
}

function begin(
  state: TableState,
  kind: 'poll' | 'count' | 'prune',
  effect: CoordinatorEffect,
  nowMs: number,
): TableStep {
  return { ...unchanged({ ...state, work: { kind, sinceMs: nowMs } }), effects: [effect] };
}

/** Idle again; the longer it took, the longer until the next poll. */
function rest(state: TableState, tookMs: number, nowMs: number): TableState {
  const sinceMs = state.work?.sinceMs ?? nowMs;
  const pauseMs = Math.min(POLL_LONGEST_PAUSE_MS, PAUSE_SHARE * tookMs);
  return { ...state, work: null, pollAtMs: Math.max(sinceMs + POLL_EVERY_MS, nowMs + pauseMs) };
}

function failPoll(state: TableState, nowMs: number): TableState {
  const idle = rest(state, nowMs - (state.work?.sinceMs ?? nowMs), nowMs);
  const pauseMs = FAILURE_PAUSE_MS * 2 ** Math.min(FAILURE_DOUBLINGS, state.failures);
  return { ...idle, failures: state.failures + 1, pollAtMs: Math.max(idle.pollAtMs, nowMs + pauseMs) };
}

interface Difference {
  readonly added: number;
  readonly removed: number;
}

function differenceOf(before: TableSize, after: TableSize): Difference {
  const difference = after.rows - before.rows;
  return { added: Math.max(0, difference), removed: Math.max(0, -difference) };
}

function settle(state: TableState, { added, removed }: Difference): TableStep {
  const isChanged = added > 0 || removed > 0;
  if (!isChanged) return unchanged(state);
  const { rows } = state.size;
  const effects: CoordinatorEffect[] = [
    { kind: 'publish-size', rows, added, removed },
    { kind: 'report', report: { kind: 'table-resized', rows, added, removed } },
  ];
  return { ...unchanged(state), effects, isChanged };
}

function unchanged(state: TableState): TableStep {
  return { state, effects: [], isChanged: false, evidenceMs: null };
}
