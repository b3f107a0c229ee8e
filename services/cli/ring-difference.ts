import { type Snapshot, sliceOf } from '../../shared/ring/snapshot.ts';

export interface RingDifference {
  /** Slots whose owner is another in the second ring. */
  readonly movedSlots: number;
  /** Every worker of either ring, sorted by id; counts are slots. */
  readonly workers: readonly {
    readonly id: string;
    readonly before: number;
    readonly after: number;
    readonly gained: number;
    readonly lost: number;
  }[];
}

export function compareRings(from: Snapshot, to: Snapshot): RingDifference {
  const ids = [...new Set([...from.workers, ...to.workers].map(({ id }) => id))].sort();
  const workers = ids.map((id) => {
    const before = new Set(sliceOf(from, id));
    const after = sliceOf(to, id);
    const kept = after.filter((slot) => before.has(slot)).length;
    return { id, before: before.size, after: after.length, gained: after.length - kept, lost: before.size - kept };
  });
  // Counted by gains; where the second ring has no workers nobody gains, and all that was held is gone.
  const gained = workers.reduce((sum, worker) => sum + worker.gained, 0);
  const lost = workers.reduce((sum, worker) => sum + worker.lost, 0);
  return { movedSlots: Math.max(gained, lost), workers };
}
