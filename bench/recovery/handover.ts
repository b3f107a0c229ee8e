/**
 * Handover as seen from outside: from the fault to the moment that the last orphaned row's slot was seen claimed by
 * another worker, and first ticked by it. Pure; the samples come from `FenceWatch`.
 */
export interface FenceSample {
  /** This process's monotonic clock, when the answer had come. */
  readonly atMs: number;
  /** Of each watched slot, in the order of the watch. */
  readonly owners: readonly (string | null)[];
  readonly lastTicks: readonly number[];
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
 * `gone`: whose slots are orphaned; null: whatever slot changes owner counts. `isCounted`: by the slot's place in the
 * watch; a slot without rows is never ticked. The first sample is taken as the state before the fault. Null: a slot of the
 * gone has not been claimed, or none has moved.
 */
export function measureHandover(
  samples: readonly FenceSample[],
  fault: { readonly atMs: number; readonly gone: ReadonlySet<string> | null },
  isCounted: (index: number) => boolean = () => true,
): Handover | null {
  const [before] = samples;
  if (before === undefined) return null;
  const { gone } = fault;
  let slots = 0;
  let claimedAtMs = Number.NEGATIVE_INFINITY;
  let tickedAtMs: number | null = Number.NEGATIVE_INFINITY;
  for (const [index, owner] of before.owners.entries()) {
    if (!isCounted(index) || (gone !== null && (owner === null || !gone.has(owner)))) continue;
    const claim = samples.findIndex(({ owners }) => owners[index] !== owner);
    if (claim < 0 && gone === null) continue;
    if (claim < 0) return null;
    slots += 1;
    claimedAtMs = Math.max(claimedAtMs, samples[claim]!.atMs);
    // What it stood at when it was last seen with its former owner.
    const lastTick = samples[claim - 1]!.lastTicks[index]!;
    const tick = samples.slice(claim).find(({ lastTicks }) => lastTicks[index]! > lastTick);
    if (tick === undefined || tickedAtMs === null) tickedAtMs = null;
    else tickedAtMs = Math.max(tickedAtMs, tick.atMs);
  }
  if (slots === 0) return null;
  const firstTickMs = tickedAtMs === null ? null : tickedAtMs - fault.atMs;
  return { slots, claimedMs: claimedAtMs - fault.atMs, firstTickMs };
}
