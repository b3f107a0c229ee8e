/**
 * What time is it in the database? Ticks are numbered by the seconds of the database's clock, so that all workers agree
 * without trusting their own. A worker keeps the offset from its monotonic clock to the database's, taken from the probe
 * with the shortest round trip of the last few: its error is at most half of that round trip.
 */
export interface ClockSample {
  /** The same against the host's clock that counts suspensions; missing: not known. */
  readonly hostOffsetMs?: number;
  /** Database epoch ms minus monotonic ms. */
  readonly offsetMs: number;
  readonly roundTripMs: number;
}

export interface DatabaseClock {
  /** The newest last; empty: not measured yet. */
  readonly samples: readonly ClockSample[];
}

export const UNMEASURED: DatabaseClock = { samples: [] };

const SAMPLES_KEPT = 6;
/** A difference beyond what the round trips explain, and this, is a clock that was set, not a slow reply. */
const STEP_TOLERANCE_MS = 50;

export function addSample(
  clock: DatabaseClock,
  probe: {
    readonly serverMs: number;
    readonly sentMs: number;
    readonly receivedMs: number;
    /** By the host's clock that counts suspensions, when the answer was there. */
    readonly hostMs?: number;
  },
): DatabaseClock {
  const roundTripMs = probe.receivedMs - probe.sentMs;
  const sample: ClockSample = {
    offsetMs: probe.serverMs - (probe.sentMs + probe.receivedMs) / 2,
    roundTripMs,
    ...(probe.hostMs === undefined ? {} : { hostOffsetMs: probe.serverMs - (probe.hostMs - roundTripMs / 2) }),
  };
  const best = bestSample(clock);
  if (best === null) return { samples: [sample] };
  const explainedMs = (sample.roundTripMs + best.roundTripMs) / 2 + STEP_TOLERANCE_MS;
  const isStep = Math.abs(sample.offsetMs - best.offsetMs) > explainedMs;
  return { samples: isStep ? [sample] : [...clock.samples, sample].slice(-SAMPLES_KEPT) };
}

/**
 * By how many whole seconds was the database's clock set forward between two states of it? Null: it was not. After a pause of this
 * machine the clock also shows more than its estimate, but no more than the host's clock that counted the pause.
 */
export function stepBetween(before: DatabaseClock, after: DatabaseClock): number | null {
  const [old, now] = [bestSample(before), bestSample(after)];
  if (old === null || now === null || after.samples.length > 1) return null;
  const isPauseKnown = old.hostOffsetMs !== undefined && now.hostOffsetMs !== undefined;
  const stepMs = isPauseKnown ? now.hostOffsetMs - old.hostOffsetMs : now.offsetMs - old.offsetMs;
  const seconds = Math.round(stepMs / 1000);
  return seconds > 0 ? seconds : null;
}

export function isMeasured(clock: DatabaseClock): boolean {
  return clock.samples.length > 0;
}

/** The database's epoch ms at a monotonic time; NaN while unmeasured. */
export function databaseMs(clock: DatabaseClock, nowMs: number): number {
  return nowMs + (bestSample(clock)?.offsetMs ?? Number.NaN);
}

/** The monotonic time at which the database's clock shows `epochMs`. */
export function monotonicMs(clock: DatabaseClock, epochMs: number): number {
  return epochMs - (bestSample(clock)?.offsetMs ?? Number.NaN);
}

function bestSample(clock: DatabaseClock): ClockSample | null {
  let best: ClockSample | null = null;
  for (const sample of clock.samples) if (best === null || sample.roundTripMs <= best.roundTripMs) best = sample;
  return best;
}
