import type { RingApplied } from '../../shared/nats/ring-applied.ts';
import type { TickResult } from '../../shared/postgres/tick-result.ts';
import type { Order } from '../../shared/ring/snapshot.ts';
import type { AppliedSlice } from './slice.ts';

/**
 * How soon were the slots that a snapshot gave me claimed, and first ticked? Reported once for each snapshot that gave any,
 * when their first tick is done, or at once if no slot was behind.
 *
 * Nothing waits for it. After a claim refused in part, a failed first tick or a newer snapshot before it, nothing is reported, and
 * the leader notes that. Missed ticks are reported all the same (`describeMissed`).
 */
export interface Takeover {
  readonly order: Order;
  /** Slots gained. */
  readonly slots: number;
  /** When the snapshot came to hand. */
  readonly sinceMs: number;
  readonly claimedMs: number;
  /** The slots that the first tick was begun for; it is known again by them. */
  readonly behind: readonly number[];
}

export function beginTakeover(
  applied: AppliedSlice,
  claim: { readonly behind: readonly number[]; readonly nowMs: number },
): Takeover {
  const { snapshot, gained, tookMs } = applied;
  return {
    order: { epoch: snapshot.epoch, version: snapshot.version },
    slots: gained.length,
    sinceMs: claim.nowMs - tookMs,
    claimedMs: tookMs,
    behind: claim.behind,
  };
}

/** Is this the answer to the takeover's first tick? Slots claimed again after a dispute are ticked in the same lane. */
export function isFirstTick(takeover: Takeover, slots: readonly number[]): boolean {
  const { behind } = takeover;
  return behind.length === slots.length && behind.every((slot, index) => slot === slots[index]);
}

/** `first` null: no gained slot was behind. */
export function describeTakeover(
  takeover: Takeover,
  worker: string,
  first: { readonly result: TickResult; readonly nowMs: number } | null,
  missed: number,
): RingApplied {
  const { order, slots, claimedMs, sinceMs } = takeover;
  const rows = first?.result.rows ?? 0;
  return {
    worker,
    ...order,
    claimedMs: roundMs(claimedMs),
    firstTickMs: first === null || rows === 0 ? null : roundMs(first.nowMs - sinceMs),
    slots,
    rows,
    missed,
  };
}

/** Missed ticks that no takeover reports: of rows that stayed, or whose takeover went wrong. */
export function describeMissed({ epoch, version }: Order, worker: string, missed: number): RingApplied {
  return { worker, epoch, version, claimedMs: 0, firstTickMs: null, slots: 0, rows: 0, missed };
}

/** Hundredths: finer than a message takes. */
function roundMs(ms: number): number {
  return Math.round(ms * 100) / 100;
}
