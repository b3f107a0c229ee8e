import type { TickResult } from '../../shared/postgres/tick-result.ts';
import {
  type BlockedChange,
  type BlockedRows,
  countBlocked,
  endBlockedSecond,
  leavingOut,
  NO_BLOCKED_ROWS,
  noteBlocked,
  totalOf,
} from './blocked-rows.ts';
import { cutSlots } from './chunks.ts';
import {
  awaitAnswers,
  finishHeld,
  flushHeld,
  type HeldAttempt,
  type HeldSlots,
  holdSlots,
  retryHeld,
} from './held-slots.ts';
import type { TickForm, TickManner, WorkerEffect } from './protocol.ts';
import { mergeSlots } from './slice.ts';
import { endTroubledRound, formsOf, NO_TROUBLED_SLOTS, noteTrouble, type TroubledSlots } from './troubled-slots.ts';

/**
 * All that a round must know of rows that are locked or cannot be written: slots to be tried again within the second
 * (`HeldSlots`), rows to leave out (`BlockedRows`), and slots that go by a slower form of the statement (`TroubledSlots`).
 */
export interface RowTrouble {
  readonly held: HeldSlots | null;
  readonly blocked: BlockedRows;
  readonly troubled: TroubledSlots;
  /** Blocked rows that were reported last. */
  readonly reported: number;
}

export interface TroubleContext {
  readonly slots: readonly number[];
  readonly lingering: readonly number[];
  /** Rows to expect in `slots`. */
  readonly rows: number;
  readonly chunkRows: number;
  readonly nowMs: number;
  /** When the round after this tick's begins. */
  readonly nextRoundMs: (tick: number) => number;
}

export interface TickDone {
  readonly tick: number;
  readonly slots: readonly number[];
  /** @default false */
  readonly isLast?: boolean;
  readonly result: TickResult;
}

export interface TroubleStep {
  readonly trouble: RowTrouble;
  readonly effects: readonly WorkerEffect[];
}

export const NO_ROW_TROUBLE: RowTrouble = {
  held: null,
  blocked: NO_BLOCKED_ROWS,
  troubled: NO_TROUBLED_SLOTS,
  reported: 0,
};

/** Rows that are blocked now: for the liveness value. */
export function blockedRowsOf({ blocked }: RowTrouble): number {
  return totalOf(countBlocked(blocked));
}

export function formsFor(trouble: RowTrouble, context: TroubleContext) {
  return formsOf(trouble.troubled, trouble.blocked, ownSlots(context), context.nowMs);
}

/** Known bad rows are left out, except those on trial, which only the careful form keeps apart from the others. */
export function mannerOf(trouble: RowTrouble, form: TickForm, slots: readonly number[], nowMs: number): TickManner {
  if (form === 'fast') return {};
  const { leftOut, leftOutSlots, onTrial } = leavingOut(trouble.blocked, slots, nowMs);
  const isCareful = form === 'careful';
  const out = isCareful ? leftOut : [...leftOut, ...onTrial];
  return {
    form,
    ...(out.length > 0 && { leftOut: out }),
    ...(leftOutSlots.length > 0 && { leftOutSlots }),
    ...(isCareful && onTrial.length > 0 && { onTrial }),
  };
}

/** Whatever the statement was for: rows that it found blocked, or missed, and slots that go apart from now on. */
export function noteTick(
  trouble: RowTrouble,
  { tick, slots, isLast = false, result }: TickDone,
  nowMs: number,
): TroubleStep {
  const noted = noteBlocked(trouble.blocked, result, { slots, isLast, nowMs });
  const { held, undecided } = result;
  let troubled = noteTrouble(trouble.troubled, held, { form: 'over', tick });
  // What the careful form alone can do: unfinished slots, rows that are withheld, a table with rules.
  const isUnclear = result.withheld > 0 || (result.gaveWay === 'rows' && result.blocked.length === 0);
  troubled = noteTrouble(troubled, isUnclear ? slots : undecided, { form: 'careful', tick });
  const effects = reportBlocked(noted.change);
  if (result.missed > 0) {
    const report = { kind: 'rows-missed', count: result.missed, skipped: result.skipped } as const;
    effects.push({ kind: 'report', report });
  }
  return { trouble: { ...trouble, blocked: noted.state, troubled }, effects };
}

/** What the round left undone is tried again after it; what the second before left undone is known by now. */
export function settleRound(
  trouble: RowTrouble,
  round: {
    readonly tick: number;
    readonly held: readonly number[];
    readonly undecided: readonly number[];
    readonly fastChunks: number;
    readonly heldUp: number;
    readonly isWithheld: boolean;
  },
  context: TroubleContext,
): TroubleStep {
  const { tick, undecided } = round;
  const slots = mergeSlots(round.held, undecided);
  const held = holdSlots({ tick, slots, isCareful: undecided.length > 0 }, timeOf(context, tick));
  const second = endBlockedSecond(trouble.blocked, { slots: ownSlots(context), isWhole: slots.length === 0 });
  const troubled = endTroubledRound(trouble.troubled, round);
  const effects = reportBlocked(second.change);
  const counts = countBlocked(second.state);
  const reported = totalOf(counts);
  if (reported > 0 || trouble.reported > 0) {
    effects.push({ kind: 'report', report: { kind: 'blocked-counted', counts } });
  }
  return { trouble: { held, blocked: second.state, troubled, reported }, effects };
}

export function retryHeldSlots(trouble: RowTrouble, context: TroubleContext): TroubleStep {
  const { held } = trouble;
  if (held === null) return { trouble, effects: [] };
  const next = retryHeld(held, ownSlots(context), timeOf(context, held.tick));
  if (next.attempt === null) {
    return { trouble: next.state === held ? trouble : { ...trouble, held: next.state }, effects: [] };
  }
  const effects = attempt(trouble, held.tick, next.attempt, context);
  const awaiting = next.state === null ? null : awaitAnswers(next.state, effects.length);
  return { trouble: { ...trouble, held: awaiting }, effects };
}

/** The next round begins: what is held gets its last chance before it, by the same connection. */
export function flushHeldSlots(trouble: RowTrouble, context: TroubleContext): TroubleStep {
  const { held } = trouble;
  if (held === null) return { trouble, effects: [] };
  const last = flushHeld(held, ownSlots(context));
  const effects = last === null ? [] : attempt(trouble, held.tick, last, context);
  return { trouble: { ...trouble, held: null }, effects };
}

export function finishHeldTick(
  trouble: RowTrouble,
  { tick, slots, result }: TickDone,
  context: TroubleContext,
): RowTrouble {
  const { held } = trouble;
  if (held === null || held.tick !== tick) return trouble;
  const still = mergeSlots(result.held, result.undecided);
  const answer = { tick, slots, still, isCareful: result.undecided.length > 0 };
  return { ...trouble, held: finishHeld(held, answer, timeOf(context, tick)) };
}

export function failHeld(
  trouble: RowTrouble,
  { tick, slots }: { readonly tick: number; readonly slots: readonly number[] },
  context: TroubleContext,
): RowTrouble {
  const { held } = trouble;
  if (held === null || held.tick !== tick) return trouble;
  const answer = { tick, slots, still: null, isCareful: false };
  return { ...trouble, held: finishHeld(held, answer, timeOf(context, tick)) };
}

/** Without a clock nobody knows when the second ends. */
export function dropHeld(trouble: RowTrouble): RowTrouble {
  return trouble.held === null ? trouble : { ...trouble, held: null };
}

export function troubleWakeAtMs({ held }: RowTrouble): number | null {
  return held?.retryAtMs ?? null;
}

function attempt(
  trouble: RowTrouble,
  tick: number,
  { slots, isLast, form }: HeldAttempt,
  context: TroubleContext,
): WorkerEffect[] {
  const rows = (context.rows * slots.length) / Math.max(1, context.slots.length);
  return cutSlots(slots, { rows, chunkRows: context.chunkRows, msPerRow: null }).map((part) => ({
    kind: 'tick',
    lane: 'held',
    tick,
    slots: part,
    ...mannerOf(trouble, form, part, context.nowMs),
    ...(isLast && { isLast }),
  }));
}

function ownSlots({ slots, lingering }: TroubleContext): readonly number[] {
  return mergeSlots(slots, lingering);
}

function timeOf({ nowMs, nextRoundMs }: TroubleContext, tick: number) {
  return { nowMs, nextRoundMs: nextRoundMs(tick) };
}

function reportBlocked(change: BlockedChange): WorkerEffect[] {
  if (change.begun.length === 0 && change.ended.length === 0) return [];
  return [{ kind: 'report', report: { kind: 'blocked-rows', ...change } }];
}
