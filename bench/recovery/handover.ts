/**
 * Handover as seen from outside: from the fault to the moment that the last orphaned row's slot was seen claimed by
 * another worker, and all its rows seen with that worker's name. Pure; what was seen comes from `FenceWatch`.
 */
export interface FenceSample {
  /** This process's monotonic clock, when the answer had come. */
  readonly atMs: number;
  /** By slot: what was claimed since the watch began. */
  readonly claims: ReadonlyMap<number, SeenClaim>;
}

export interface SeenClaim {
  readonly worker: string;
  /** Each of its rows has been ticked by this worker. */
  readonly isTicked: boolean;
}

export interface FenceSeen {
  /** Each watched slot's owner when the watch began. */
  readonly before: ReadonlyMap<number, string | null>;
  /** In time. */
  readonly samples: readonly FenceSample[];
}

export interface Handover {
  /** Watched slots that changed owner. */
  readonly slots: number;
  /** From the fault to the last claim seen. */
  readonly claimedMs: number;
  /** From the fault to the last first tick seen; null: not all were ticked yet. */
  readonly firstTickMs: number | null;
}

/**
 * `gone`: whose slots are orphaned; null: whatever slot changes owner counts. `counts`: a slot without rows is never ticked.
 * Null: a slot of the gone has not been claimed, or none has moved.
 */
export function measureHandover(
  { before, samples }: FenceSeen,
  fault: { readonly atMs: number; readonly gone: ReadonlySet<string> | null },
  counts: (slot: number) => boolean = () => true,
): Handover | null {
  const { gone } = fault;
  let slots = 0;
  let claimedAtMs = Number.NEGATIVE_INFINITY;
  let tickedAtMs: number | null = Number.NEGATIVE_INFINITY;
  for (const [slot, owner] of before) {
    if (!counts(slot) || (gone !== null && (owner === null || !gone.has(owner)))) continue;
    const claimed = samples.find(({ claims }) => claims.has(slot) && claims.get(slot)?.worker !== owner);
    if (claimed === undefined && gone === null) continue;
    if (claimed === undefined) return null;
    slots += 1;
    claimedAtMs = Math.max(claimedAtMs, claimed.atMs);
    const ticked = samples.find(({ atMs, claims }) => atMs >= claimed.atMs && claims.get(slot)?.isTicked === true);
    if (ticked === undefined || tickedAtMs === null) tickedAtMs = null;
    else tickedAtMs = Math.max(tickedAtMs, ticked.atMs);
  }
  if (slots === 0) return null;
  const firstTickMs = tickedAtMs === null ? null : tickedAtMs - fault.atMs;
  return { slots, claimedMs: claimedAtMs - fault.atMs, firstTickMs };
}
