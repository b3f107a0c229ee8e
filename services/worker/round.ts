import { earliest } from '../../shared/machine/machine.ts';
import type { TickResult } from '../../shared/postgres/tick-result.ts';
import { type Chunk, makeChunks, timeRow } from './chunks.ts';
import { type DatabaseClock, databaseMs, isMeasured, monotonicMs } from './database-clock.ts';
import type { Ids, TickLane, WorkerEffect, WorkerReport } from './protocol.ts';
import {
  dropHeld,
  failHeld,
  finishHeldTick,
  flushHeldSlots,
  formsFor,
  mannerOf,
  NO_ROW_TROUBLE,
  noteTick,
  type RowTrouble,
  retryHeldSlots,
  settleRound,
  type TickDone,
  troubleWakeAtMs,
} from './row-trouble.ts';

/**
 * The second's work: one round of tick statements over the worker's slots, one statement at a time, all carrying the
 * number the round began with, however long it takes. Numbers that nobody began are missed ticks: never caught up, and counted by
 * the statement that ends the gap (`missed-ticks.ts`).
 *
 * What becomes of rows that are locked, or cannot be written, `RowTrouble` knows: they cost the round at most a slower statement.
 *
 * After the last statement the row count and checksum tell whether the list of ids still stands; only then is it read anew.
 *
 * States: idle (`round` null) → ticking → (failed: waits for `retryAtMs`) → idle, with `listing` set while ids are read.
 */
export interface RoundState {
  /** The last tick done, over the whole slice; 0: none yet. */
  readonly lastTick: number;
  /** Rows of the last whole round, ticked or not. */
  readonly rows: number;
  readonly round: Round | null;
  readonly list: IdList | null;
  readonly listing: Listing | null;
  /** How long a row of a tick statement takes of late; null: not measured yet. */
  readonly msPerRow: number | null;
  /** Since when slots of mine have lain ahead of the database's clock, ms; null: none. */
  readonly aheadSinceMs: number | null;
  readonly trouble: RowTrouble;
}

interface Round {
  readonly tick: number;
  readonly startedMs: number;
  /** When the statement under way was sent. */
  readonly sentMs: number;
  readonly chunks: readonly Chunk[];
  readonly next: number;
  readonly retryAtMs: number | null;
  readonly failures: number;
  /** Statements that gave up waiting for a locked row. */
  readonly heldUp: number;
  /** Some slots may have missed ticks: each statement says what they stood at. */
  readonly withBefore: boolean;
  /** Slots to be tried again. */
  readonly held: readonly number[];
  readonly undecided: readonly number[];
  readonly rows: number;
  readonly checksum: bigint;
  readonly ahead: readonly number[];
}

interface IdList {
  readonly key: string;
  readonly ids: Ids;
}

interface Listing {
  readonly key: string;
  readonly tick: number;
  readonly startedMs: number;
}

export interface RoundStep {
  readonly state: RoundState;
  readonly effects: readonly WorkerEffect[];
}

export interface RoundContext {
  readonly clock: DatabaseClock;
  readonly phaseMs: number;
  readonly chunkRows: number;
  readonly slots: readonly number[];
  readonly lingering: readonly number[];
  /** Rows to expect in `slots`, for the choice of the chunks. */
  readonly expectedRows: number;
  readonly ring: number;
  /** Some slots were taken over, and their first tick is not done. @default false */
  readonly hasUncounted?: boolean;
  /** When the newest measurement of the database's clock was begun, ms. */
  readonly measuredMs: number;
  readonly nowMs: number;
}

export const NO_ROUND: RoundState = {
  lastTick: 0,
  rows: 0,
  round: null,
  list: null,
  listing: null,
  msPerRow: null,
  aheadSinceMs: null,
  trouble: NO_ROW_TROUBLE,
};

/** After so many the rest of the round waits for no row. */
const HELD_UP_MOST = 2;
const RETRY_FIRST_MS = 50;
const RETRY_LONGEST_MS = 1000;
/** The fence tells of slots that lie this far ahead; less is the ordinary difference of two workers' phases and clocks. */
export const STEP_BACK_TICKS = 2;
const REBASE_AFTER_MS = 2000;

/** Starts the round whose time has come, or the statement whose retry is due. */
export function advanceRound(state: RoundState, context: RoundContext): RoundStep {
  const due = dueTick(context);
  if (due === null) return { state: { ...state, trouble: dropHeld(state.trouble) }, effects: [] };
  const { round } = state;
  if (round !== null) {
    if (round.retryAtMs === null || context.nowMs < round.retryAtMs) return { state, effects: [] };
    if (due <= round.tick) return sendNext(state, { ...round, retryAtMs: null }, context);
    // The failed round's second is over: what it did not reach is missed.
    return beginRound(due);
  }
  const isSteppedBack = due < state.lastTick - STEP_BACK_TICKS;
  if (due <= state.lastTick && !isSteppedBack)
    return take(state, retryHeldSlots(state.trouble, troubleContext(context)));
  return beginRound(due);

  function beginRound(tick: number): RoundStep {
    const flushed = take(state, flushHeldSlots(state.trouble, troubleContext(context)));
    const began = sendNext(flushed.state, makeRound(tick, flushed.state, context), context);
    return { state: began.state, effects: [...flushed.effects, ...began.effects] };
  }
}

export function finishTick(state: RoundState, done: TickDone, lane: TickLane, context: RoundContext): RoundStep {
  const noted = take(state, noteTick(state.trouble, done, context.nowMs));
  if (lane === 'gained') return noted;
  if (lane === 'held') {
    const trouble = finishHeldTick(noted.state.trouble, done, troubleContext(context));
    return { ...noted, state: { ...noted.state, trouble } };
  }
  const { round } = noted.state;
  if (round === null || done.tick !== round.tick) return noted;
  const next = countChunk(noted.state, round, done.result, lane, context);
  return { state: next.state, effects: [...noted.effects, ...next.effects] };
}

/** Adds one statement's part, and sends the next one or ends the round. */
function countChunk(
  state: RoundState,
  round: Round,
  result: TickResult,
  lane: TickLane,
  context: RoundContext,
): RoundStep {
  const form = round.chunks[round.next]?.form;
  const noted: Round = {
    ...round,
    next: round.next + 1,
    failures: 0,
    heldUp: round.heldUp + (form === 'fast' && result.gaveWay === 'locks' ? 1 : 0),
    held: [...round.held, ...result.held],
    undecided: [...round.undecided, ...result.undecided],
  };
  const counted: Round =
    lane === 'lingering'
      ? noted
      : {
          ...noted,
          rows: round.rows + result.visible,
          checksum: round.checksum ^ BigInt(result.checksum),
          ahead: [...round.ahead, ...result.ahead],
        };
  // The slower forms, and a wait for a lock, say nothing of how long a row takes.
  const isPlain = form === 'fast' && result.gaveWay === null && round.heldUp < HELD_UP_MOST;
  const msPerRow = isPlain
    ? timeRow(state.msPerRow, { rows: result.rows, ms: context.nowMs - round.sentMs })
    : state.msPerRow;
  const timed = { ...state, msPerRow };
  if (counted.next < counted.chunks.length) return sendNext(timed, counted, context);
  return endRound({ ...timed, round: null, lastTick: counted.tick, rows: counted.rows }, counted, context);
}

export function failTick(
  state: RoundState,
  failed: { readonly lane: TickLane; readonly tick: number; readonly slots: readonly number[] },
  context: RoundContext,
): RoundState {
  const { lane, tick, slots } = failed;
  if (lane === 'held') return { ...state, trouble: failHeld(state.trouble, { tick, slots }, troubleContext(context)) };
  const { round } = state;
  if (lane === 'gained' || round === null || tick !== round.tick) return state;
  const delayMs = Math.min(RETRY_LONGEST_MS, RETRY_FIRST_MS * 2 ** round.failures);
  return { ...state, round: { ...round, failures: round.failures + 1, retryAtMs: context.nowMs + delayMs } };
}

/** The round's number was refused as ahead of the database's clock. Whatever of it is done keeps its number. */
export function abandonRound(state: RoundState, tick: number): RoundState {
  return state.round?.tick === tick ? { ...state, round: null } : state;
}

/** The database's clock shows `due`, perhaps less than before: its rounds come again. The fence still holds each slot to its last tick. */
export function stepBack(state: RoundState, due: number): RoundState {
  return state.lastTick >= due ? { ...state, lastTick: due - 1 } : state;
}

/** The answer to an earlier round's question, or to one about the slice before this, is dropped. */
export function receiveIds(
  state: RoundState,
  answer: { readonly tick: number; readonly ids: Ids },
  context: RoundContext,
): RoundStep {
  const { listing } = state;
  if (listing === null || listing.tick !== answer.tick) return { state, effects: [] };
  const { ids } = answer;
  const report = watching(listing, ids, { ring: context.ring, isChanged: true, nowMs: context.nowMs });
  return { state: { ...state, listing: null, list: { key: listing.key, ids } }, effects: [report] };
}

export function failIds(state: RoundState, tick: number): RoundState {
  return state.listing?.tick === tick ? { ...state, listing: null, list: null } : state;
}

/** The slice changed: the list that was, or is being, read for the old one says nothing of the new one. */
export function forgetList(state: RoundState): RoundState {
  return { ...state, list: null, listing: null };
}

export function roundWakeAtMs(state: RoundState, context: Pick<RoundContext, 'clock' | 'phaseMs'>): number | null {
  if (!isMeasured(context.clock)) return null;
  if (state.round !== null) return state.round.retryAtMs;
  const nextMs = monotonicMs(context.clock, (state.lastTick + 1) * 1000 + context.phaseMs);
  return earliest(nextMs, troubleWakeAtMs(state.trouble));
}

/** The number of the latest tick whose time has come, in the worker's own phase; null while the clock is unmeasured. */
export function dueTick(context: Pick<RoundContext, 'clock' | 'phaseMs' | 'nowMs'>): number | null {
  if (!isMeasured(context.clock)) return null;
  return Math.floor((databaseMs(context.clock, context.nowMs) - context.phaseMs) / 1000);
}

function makeRound(tick: number, state: RoundState, context: RoundContext): Round {
  const { slots, lingering, chunkRows } = context;
  const rows = Math.max(state.rows, context.expectedRows);
  const forms = formsFor(state.trouble, troubleContext(context));
  return {
    tick,
    startedMs: context.nowMs,
    sentMs: context.nowMs,
    chunks: makeChunks({ slots, lingering, ...forms }, { rows, chunkRows, msPerRow: state.msPerRow }),
    next: 0,
    retryAtMs: null,
    failures: 0,
    heldUp: 0,
    withBefore: context.hasUncounted === true || (state.lastTick > 0 && tick > state.lastTick + 1),
    held: [],
    undecided: [],
    rows: 0,
    checksum: 0n,
    ahead: [],
  };
}

function sendNext(state: RoundState, round: Round, { nowMs }: RoundContext): RoundStep {
  const chunk = round.chunks[round.next];
  if (chunk === undefined) throw new Error(`round ${round.tick} has no chunk ${round.next}`);
  const { lane, slots } = chunk;
  const form = chunk.form === 'fast' && round.heldUp >= HELD_UP_MOST ? 'over' : chunk.form;
  return {
    state: { ...state, round: { ...round, sentMs: nowMs } },
    effects: [
      {
        kind: 'tick',
        lane,
        tick: round.tick,
        slots,
        ...mannerOf(state.trouble, form, slots, nowMs),
        ...(round.withBefore && { withBefore: true }),
      },
    ],
  };
}

function endRound(state: RoundState, round: Round, context: RoundContext): RoundStep {
  const key = `${round.rows}:${round.checksum}`;
  // The list that stands has rows that no statement returned: a trigger withholds them.
  const isWithheld = state.list?.key === key && state.list.ids.length > round.rows;
  const fastChunks = round.chunks.filter(({ form }) => form === 'fast').length;
  const settled = take(
    state,
    settleRound(
      state.trouble,
      { ...round, fastChunks, isWithheld },
      troubleContext({ ...context, expectedRows: round.rows }),
    ),
  );
  const rebased = rebaseWhenAhead(settled.state, round, context);
  const effects = [...settled.effects, ...rebased.effects];
  const listing: Listing = { key, tick: round.tick, startedMs: round.startedMs };
  if (state.list !== null && state.list.key === key) {
    effects.push(watching(listing, state.list.ids, { ring: context.ring, isChanged: false, nowMs: context.nowMs }));
    return { state: rebased.state, effects };
  }
  // A listing still under way is asked for again: what it reads may be older than this round.
  effects.push({ kind: 'read-ids', tick: round.tick, slots: context.slots });
  return { state: { ...rebased.state, listing }, effects };
}

/**
 * Slots ahead of the database's clock would stay silent until it caught up. But they may be ahead only of this worker's own
 * estimate, as after a pause of its machine: so the clock is measured again first. Postgres decides by its own clock.
 */
function rebaseWhenAhead(state: RoundState, round: Round, context: RoundContext): RoundStep {
  const { nowMs, measuredMs } = context;
  if (round.ahead.length === 0) return { state: { ...state, aheadSinceMs: null }, effects: [] };
  if (state.aheadSinceMs === null) return { state: { ...state, aheadSinceMs: nowMs }, effects: [] };
  const isMeasuredSince = measuredMs >= state.aheadSinceMs;
  if (nowMs - state.aheadSinceMs < REBASE_AFTER_MS || !isMeasuredSince) return { state, effects: [] };
  return { state: { ...state, aheadSinceMs: null }, effects: [{ kind: 'rebase', slots: round.ahead }] };
}

function watching(
  listing: Listing,
  ids: Ids,
  now: { readonly ring: number; readonly isChanged: boolean; readonly nowMs: number },
): WorkerEffect {
  const tookMs = now.nowMs - listing.startedMs;
  return reportEffect({ kind: 'watching', tick: listing.tick, ring: now.ring, ids, isChanged: now.isChanged, tookMs });
}

function take(state: RoundState, step: { readonly trouble: RowTrouble; readonly effects: readonly WorkerEffect[] }) {
  return { state: { ...state, trouble: step.trouble }, effects: step.effects };
}

function troubleContext(context: RoundContext) {
  const { slots, lingering, nowMs, chunkRows, expectedRows } = context;
  const nextRoundMs = (tick: number) => monotonicMs(context.clock, (tick + 1) * 1000 + context.phaseMs);
  return { slots, lingering, nowMs, chunkRows, rows: expectedRows, nextRoundMs };
}

function reportEffect(report: WorkerReport): WorkerEffect {
  return { kind: 'report', report };
}
