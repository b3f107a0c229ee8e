import { mergeSlots, within } from './slice.ts';

/**
 * Slots that a round left unstamped, because rows of theirs were locked or not all could be tried in time. They are tried again
 * within the same second, outside the round: the round ends, and is reported, without them. Before the second ends they
 * get their last chance, which stamps them whatever becomes of their rows.
 *
 * An unstamped slot has not had the tick, so it may be tried as often as wanted.
 *
 * States: nothing held → waits for `retryAtMs` → answers are awaited → (still held) waits again, or nothing held.
 */
export interface HeldSlots {
  readonly tick: number;
  /** Ascending. */
  readonly slots: readonly number[];
  /** Some of them have rows that were not tried for want of time. */
  readonly isCareful: boolean;
  readonly attempts: number;
  readonly retryAtMs: number | null;
  readonly awaited: number;
  /** Of the answers so far: still held. */
  readonly still: readonly number[];
}

export interface HeldAttempt {
  readonly slots: readonly number[];
  readonly isLast: boolean;
  readonly form: 'over' | 'careful';
}

/** Most transactions are over by then. */
const RETRY_AFTER_MS = [100, 200, 400];
/** The last chance comes so long before the next round. */
const MARGIN_MS = 120;
/** An attempt so shortly before the last chance is left out. */
const SHORTEST_GAP_MS = 60;

/** `nextRoundMs`: when the next round begins. */
export function holdSlots(
  held: { readonly tick: number; readonly slots: readonly number[]; readonly isCareful: boolean },
  time: { readonly nowMs: number; readonly nextRoundMs: number },
): HeldSlots | null {
  if (held.slots.length === 0) return null;
  const { tick, slots, isCareful } = held;
  return { tick, slots, isCareful, attempts: 0, retryAtMs: scheduleRetry(0, time), awaited: 0, still: [] };
}

/** The attempt whose time has come, for those of the slots that are the worker's still. */
export function retryHeld(
  state: HeldSlots | null,
  own: readonly number[],
  time: { readonly nowMs: number; readonly nextRoundMs: number },
): { readonly state: HeldSlots | null; readonly attempt: HeldAttempt | null } {
  if (state === null || state.retryAtMs === null || time.nowMs < state.retryAtMs) return { state, attempt: null };
  const slots = within(state.slots, own);
  if (slots.length === 0) return { state: null, attempt: null };
  const isLast = time.nowMs >= time.nextRoundMs - MARGIN_MS;
  const attempt: HeldAttempt = { slots, isLast, form: state.isCareful ? 'careful' : 'over' };
  if (isLast) return { state: null, attempt };
  const asked = { ...state, slots, attempts: state.attempts + 1, retryAtMs: null, awaited: 1, still: [] };
  return { state: asked, attempt };
}

/** The next round begins: whatever is held gets its last chance now, even where an answer is still awaited. */
export function flushHeld(state: HeldSlots | null, own: readonly number[]): HeldAttempt | null {
  const slots = state === null ? [] : within(state.slots, own);
  if (state === null || slots.length === 0) return null;
  return { slots, isLast: true, form: state.isCareful ? 'careful' : 'over' };
}

/** The attempt was cut into so many statements. */
export function awaitAnswers(state: HeldSlots, awaited: number): HeldSlots {
  return { ...state, awaited };
}

/** `still` null: the statement failed, and with it nothing changed. */
export function finishHeld(
  state: HeldSlots | null,
  answer: {
    readonly tick: number;
    readonly slots: readonly number[];
    readonly still: readonly number[] | null;
    readonly isCareful: boolean;
  },
  time: { readonly nowMs: number; readonly nextRoundMs: number },
): HeldSlots | null {
  if (state === null || answer.tick !== state.tick || state.awaited === 0) return state;
  const still = mergeSlots(state.still, answer.still ?? answer.slots);
  const isCareful = state.isCareful || answer.isCareful;
  const awaited = state.awaited - 1;
  if (awaited > 0) return { ...state, still, isCareful, awaited };
  if (still.length === 0) return null;
  const retryAtMs = scheduleRetry(state.attempts, time);
  return { ...state, slots: still, isCareful, awaited, still: [], retryAtMs };
}

function scheduleRetry(attempts: number, time: { readonly nowMs: number; readonly nextRoundMs: number }): number {
  const lastMs = Math.max(time.nowMs, time.nextRoundMs - MARGIN_MS);
  const pauseMs = RETRY_AFTER_MS[attempts];
  if (pauseMs === undefined || time.nowMs + pauseMs > lastMs - SHORTEST_GAP_MS) return lastMs;
  return time.nowMs + pauseMs;
}
