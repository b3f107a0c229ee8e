import type { CoordinatorEffect } from './protocol.ts';

/**
 * Missed ticks that belong to no disruption: of rows that stayed with their worker, or of a takeover that was summed up
 * already. After a Postgres outage every worker reports some, so they are collected for a few seconds and logged once.
 */
export interface StrayMisses {
  readonly sinceMs: number;
  /** In row-seconds. */
  readonly missed: number;
  readonly workers: ReadonlySet<string>;
}

/** Workers find Postgres again up to a second and a half apart. */
const COLLECTED_FOR_MS = 3_000;

export function addMisses(
  before: StrayMisses | null,
  { worker, missed }: { readonly worker: string; readonly missed: number },
  nowMs: number,
): StrayMisses | null {
  if (missed === 0) return before;
  const { sinceMs, missed: sum, workers } = before ?? { sinceMs: nowMs, missed: 0, workers: new Set<string>() };
  return { sinceMs, missed: sum + missed, workers: new Set(workers).add(worker) };
}

export function reportAtMs({ sinceMs }: StrayMisses): number {
  return sinceMs + COLLECTED_FOR_MS;
}

export function describeMisses({ missed, workers }: StrayMisses): CoordinatorEffect {
  return { kind: 'report', report: { kind: 'ticks-missed', missed, workers: [...workers].sort() } };
}
