import { type Snapshot, sliceOf } from '../../shared/ring/snapshot.ts';

/** How far a drain, or its undoing, has come: what the newest snapshot says, and what the fence does. */
export interface DrainProgress {
  /** Version of the newest snapshot; 0: there is none. */
  readonly ring: number;
  /** Slots that it gives the worker. */
  readonly given: number;
  /** Slots that the fence names the worker for. */
  readonly owned: number;
  readonly isDone: boolean;
}

/** Drained: done when the ring is without the worker and others own all. Undrained: when it owns all that the ring gives it. */
export function measureDrain(seen: {
  readonly worker: string;
  readonly isDrained: boolean;
  readonly snapshot: Snapshot | null;
  /** Slots of the worker, by the fence. */
  readonly owned: readonly number[];
}): DrainProgress {
  const { worker, snapshot } = seen;
  const given = snapshot === null ? [] : sliceOf(snapshot, worker);
  const owned = new Set(seen.owned);
  const isInRing = snapshot?.workers.some(({ id }) => id === worker) ?? false;
  const isMoved = seen.isDrained ? owned.size === 0 : given.every((slot) => owned.has(slot));
  const isDone = snapshot !== null && isInRing !== seen.isDrained && isMoved;
  return { ring: snapshot?.version ?? 0, given: given.length, owned: owned.size, isDone };
}
