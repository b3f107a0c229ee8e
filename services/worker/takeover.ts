import type { RingApplied } from '../../shared/nats/ring-applied.ts';
import type { SlotBefore, TickResult } from '../../shared/postgres/fence.ts';
import { type Order, type Snapshot, sliceOf } from '../../shared/ring/snapshot.ts';
import type { AppliedSlice } from './slice.ts';

/**
 * How soon were the slots that a snapshot gave me claimed, and first ticked? Told once for each snapshot that gave any,
 * when their first tick is done, or at once where nothing was behind.
 *
 * Nothing waits for it. A claim refused in part, a first tick that failed, a newer snapshot that came before it: then
 * nothing is told, and the leader notes that it was not.
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
  /** The gained slots whose former owner is gone from the ring, with its id. */
  readonly orphans: ReadonlyMap<number, string>;
}

/**
 * An owner's filled slots stand at its last tick, or one before where it died amidst its round. A slot further back
 * was empty then: its last tick tells of a time when it had rows.
 */
const ROUND_SPREAD_TICKS = 1;
/**
 * The lease, the five seconds of standing still and a change of leader all end within this. Further back, it is likelier
 * that all of an owner's slots were empty than that nobody missed it for so long.
 */
const LONGEST_MISS_TICKS = 60;

export function beginTakeover(
  applied: AppliedSlice,
  before: Snapshot | null,
  claim: { readonly behind: readonly number[]; readonly nowMs: number },
): Takeover {
  const { snapshot, gained, tookMs } = applied;
  return {
    order: { epoch: snapshot.epoch, version: snapshot.version },
    slots: gained.length,
    sinceMs: claim.nowMs - tookMs,
    claimedMs: tookMs,
    behind: claim.behind,
    orphans: before === null ? new Map() : findOrphans(before, snapshot, gained),
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
  first: { readonly tick: number; readonly result: TickResult; readonly nowMs: number } | null,
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
    missed: first === null ? 0 : countMissed(first.result.before ?? [], first.tick, takeover.orphans),
  };
}

/** Counts only what is certain: rows of orphans that stand where their owner's other slots stand. */
export function countMissed(before: readonly SlotBefore[], tick: number, orphans: ReadonlyMap<number, string>): number {
  const lastTicks = new Map<string, number>();
  for (const { slot, lastTick } of before) {
    const owner = orphans.get(slot);
    if (owner !== undefined) lastTicks.set(owner, Math.max(lastTick, lastTicks.get(owner) ?? 0));
  }
  let missed = 0;
  for (const { slot, lastTick, rows } of before) {
    const owner = orphans.get(slot);
    if (owner === undefined) continue;
    const ownersLastTick = lastTicks.get(owner) ?? 0;
    const isCertain = lastTick >= ownersLastTick - ROUND_SPREAD_TICKS && tick - lastTick <= LONGEST_MISS_TICKS;
    if (isCertain) missed += Math.max(0, tick - lastTick - 1) * rows;
  }
  return missed;
}

/** While the former owner lives it ticks what it gave away until it is claimed: what is missed then, it counts itself. */
function findOrphans(before: Snapshot, after: Snapshot, gained: readonly number[]): ReadonlyMap<number, string> {
  const present = new Set(after.workers.map(({ id }) => id));
  const wanted = new Set(gained);
  const orphans = new Map<number, string>();
  for (const { id } of before.workers) {
    if (present.has(id)) continue;
    for (const slot of sliceOf(before, id)) if (wanted.has(slot)) orphans.set(slot, id);
  }
  return orphans;
}

/** Hundredths: finer than a message takes. */
function roundMs(ms: number): number {
  return Math.round(ms * 100) / 100;
}
