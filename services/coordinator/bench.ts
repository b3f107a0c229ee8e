import type { Liveness } from '../../shared/nats/liveness.ts';
import type { Evidence } from '../../shared/ring/snapshot.ts';

/**
 * A worker that was evicted, and when it may come back. Its key may go on: of a live worker that recovers, or renewed by
 * somebody else. So a value alone readmits nobody: the worker itself must answer a probe (`membership-return.ts`).
 *
 * A worker that did not tick must also say another tick than it stood at. One that does not tick again soon after it was
 * readmitted waits before the next time, longer each time: else it would take rows into each of its standstills.
 */
export interface Bench {
  readonly evidence: Evidence;
  /** What its value said when it was evicted. */
  readonly tick: number;
  /** 0: it may come back at once. */
  readonly pauseMs: number;
  readonly untilMs: number;
  /** When a value of it was seen last, or the pause ends. */
  readonly seenAtMs: number;
  readonly isProbing: boolean;
  /** When it may be probed next. */
  readonly probeAtMs: number;
}

/** Of a worker that was readmitted after it had not ticked. It ends when the fence shows that the worker ticks. */
export interface Probation {
  readonly pauseMs: number;
  readonly untilMs: number;
  /** How often its newest tick in the fence has moved since. */
  readonly moves: number;
}

const FIRST_PAUSE_MS = 10_000;
const LONGEST_PAUSE_MS = 300_000;
const PAUSE_GROWTH = 2;
/** A worker that was not evicted for so long, or for as long as its last pause, is as good as any other. */
const PROBATION_MS = 60_000;
/** A first move may only be slots that it gained and another ticked. */
const MOVES_OF_PROOF = 3;
/** Longer than the longest pause: nobody comes back by being forgotten. */
const KEPT_MS = 600_000;

/** @returns null where the worker may come back as it likes: it went by itself. */
export function makeBench(
  evicted: { readonly evidence: Evidence; readonly tick: number; readonly probation: Probation | null },
  nowMs: number,
): Bench | null {
  const { evidence, tick, probation } = evicted;
  if (evidence === 'left' || evidence === 'drained') return null;
  const isRepeated = evidence === 'not-ticking' && probation !== null && nowMs < probation.untilMs;
  const pauseMs = isRepeated
    ? Math.min(LONGEST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, probation.pauseMs * PAUSE_GROWTH))
    : 0;
  const untilMs = nowMs + pauseMs;
  return { evidence, tick, pauseMs, untilMs, seenAtMs: untilMs, isProbing: false, probeAtMs: nowMs };
}

export function probationAfter({ evidence, pauseMs }: Bench, nowMs: number): Probation | null {
  if (evidence !== 'not-ticking') return null;
  return { pauseMs, untilMs: nowMs + Math.max(PROBATION_MS, pauseMs), moves: 0 };
}

/** Its tick in the fence moved. @returns null: it has proven that it ticks, which nobody can forge. */
export function proveTicking(probation: Probation | null): Probation | null {
  if (probation === null || probation.moves + 1 >= MOVES_OF_PROOF) return null;
  return { ...probation, moves: probation.moves + 1 };
}

/** Any other tick is movement, also a lower one: the database's clock may have been set back. */
export function hasMoved({ evidence, tick }: Bench, value: Liveness): boolean {
  return evidence !== 'not-ticking' || value.tick !== tick;
}

export function forgetOldBenches(benched: ReadonlyMap<string, Bench>, nowMs: number): ReadonlyMap<string, Bench> {
  return new Map([...benched].filter(([, { seenAtMs }]) => nowMs - seenAtMs < KEPT_MS));
}
