import type { ClaimedSlot } from '../../shared/postgres/fence.ts';
import { ROUND_SPREAD_TICKS, type SlotBefore } from '../../shared/postgres/tick-result.ts';

/**
 * Ticks that nobody did, counted once: by the worker whose tick ends the gap, from the slot's last tick as the fence had it.
 *
 * The fence does not know how long a slot has had rows: an empty slot is not stamped, so its last tick is old although nothing
 * was missed. A slot counts only where that is certain: it stood where the other slots of its last owner stood.
 * Tick numbers that the database's clock skipped, because it was set forward, are no seconds and were not missed.
 */

/** Slots that have not been ticked since they were taken over, or since a gap, by what makes their gap certain. */
export type Uncounted = ReadonlyMap<number, CertainFrom>;

/**
 * A last tick from which on a gap is certain: any for a slot that stands where its former owner's last round left it, none for one
 * that was empty then. `unknown`: the claim's answer was lost, or the slot is an earlier process's of this id; such slots are
 * compared with each other.
 */
type CertainFrom = number | 'unknown';

const ANY_TICK = 1;

/** The database's clock was set forward. */
export interface ClockStep {
  /** The tick number that was due when that was noticed, by the clock as it was before. */
  readonly tick: number;
  /** Numbers skipped. */
  readonly ticks: number;
}

/** In row-seconds, with the rows concerned and the longest gap of one of them. */
export interface Missed {
  readonly missed: number;
  readonly rows: number;
  readonly seconds: number;
}

export const NONE_MISSED: Missed = { missed: 0, rows: 0, seconds: 0 };

/** After so long it is likelier that the former owner had no rows at all, and that these came while nobody was there. */
const LONGEST_GAP_TICKS = 3_600;
const STEPS_KEPT = 8;

/** Adds slots taken over that are behind; `claimed` says more of some of them. */
export function noteTaken(uncounted: Uncounted, taken: readonly number[], claimed: readonly ClaimedSlot[]): Uncounted {
  if (taken.length === 0) return uncounted;
  const known = new Map(claimed.map(({ slot, isStanding }) => [slot, isStanding]));
  const all = new Map(uncounted);
  for (const slot of taken) {
    const isStanding = known.get(slot);
    if (isStanding !== undefined) all.set(slot, isStanding ? ANY_TICK : Number.POSITIVE_INFINITY);
    else if (!all.has(slot)) all.set(slot, 'unknown');
  }
  return all;
}

/** Adds own slots that a round after a gap left unstamped, because of locked or bad rows. */
export function noteLeft(uncounted: Uncounted, left: readonly number[], ownTick: number): Uncounted {
  const added = left.filter((slot) => !uncounted.has(slot));
  if (added.length === 0) return uncounted;
  return new Map([...uncounted, ...added.map((slot) => [slot, ownTick] as const)]);
}

/** They were ticked, or asked and found empty or another's. */
export function settle(uncounted: Uncounted, slots: readonly number[]): Uncounted {
  if (uncounted.size === 0) return uncounted;
  const left = new Map(uncounted);
  for (const slot of slots) left.delete(slot);
  return left.size === uncounted.size ? uncounted : left;
}

export function keepOnly(uncounted: Uncounted, slots: readonly number[]): Uncounted {
  if (uncounted.size === 0) return uncounted;
  const kept = new Set(slots);
  return new Map([...uncounted].filter(([slot]) => kept.has(slot)));
}

/** What the slots that a tick stamped had missed before it. */
export function countMissed(
  before: readonly SlotBefore[],
  context: {
    readonly tick: number;
    readonly uncounted: Uncounted;
    /** The last whole round of this worker: all its other slots with rows had that tick. */
    readonly ownTick: number;
    readonly steps: readonly ClockStep[];
  },
): Missed {
  const { tick, uncounted, ownTick, steps } = context;
  const unknown = before.filter(({ slot }) => uncounted.get(slot) === 'unknown');
  const newest = unknown.reduce((most, { lastTick }) => Math.max(most, lastTick), 0);
  const isCertain = ({ slot, lastTick }: SlotBefore): boolean => {
    if (lastTick <= 0 || tick - lastTick > LONGEST_GAP_TICKS + skippedSince(lastTick, steps)) return false;
    const certainFrom = uncounted.get(slot) ?? ownTick;
    return lastTick >= (certainFrom === 'unknown' ? newest - ROUND_SPREAD_TICKS : certainFrom);
  };
  return before.filter(isCertain).reduce((sum: Missed, { lastTick, rows }) => {
    const seconds = tick - lastTick - 1 - skippedSince(lastTick, steps);
    return seconds <= 0 ? sum : addMissed(sum, { missed: seconds * rows, rows, seconds });
  }, NONE_MISSED);
}

export function addMissed(a: Missed, b: Missed): Missed {
  return { missed: a.missed + b.missed, rows: a.rows + b.rows, seconds: Math.max(a.seconds, b.seconds) };
}

export function noteStep(steps: readonly ClockStep[], step: ClockStep): readonly ClockStep[] {
  return [...steps, step].slice(-STEPS_KEPT);
}

/** Workers notice a step at different times, seconds apart: a number counts as an old one if it is nearer to the old clock's. */
function skippedSince(lastTick: number, steps: readonly ClockStep[]): number {
  return steps.reduce((sum, { tick, ticks }) => (lastTick <= tick + ticks / 2 ? sum + ticks : sum), 0);
}
