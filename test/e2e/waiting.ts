import { setTimeout as delay } from 'node:timers/promises';
import type { Cluster } from './cluster.ts';

/** Each question starts programs on a machine that may be small, and must not disturb what it asks about. */
const ASK_EVERY_MS = 1_000;

/**
 * Asks until there is an answer.
 * @returns null when there was none within the limit: what that means is the caller's to say.
 * @throws the signal's reason when the cluster's signal ends it.
 */
export function eventually<Value>(
  cluster: Cluster,
  what: string,
  limitMs: number,
  ask: () => Promise<Value | null>,
): Promise<Value | null> {
  return cluster.progress.during(`waiting for ${what}`, poll());

  async function poll(): Promise<Value | null> {
    const endMs = performance.now() + limitMs;
    for (;;) {
      const value = await ask();
      if (value !== null || performance.now() > endMs) return value;
      await delay(ASK_EVERY_MS, undefined, { signal: cluster.signal });
    }
  }
}

/** As `eventually`, where nothing can go on without an answer. @throws {Error} naming what was waited for. */
export async function expectSoon<Value>(
  cluster: Cluster,
  what: string,
  limitMs: number,
  ask: () => Promise<Value | null>,
): Promise<Value> {
  const value = await eventually(cluster, what, limitMs, ask);
  if (value === null) throw new Error(`waited ${limitMs / 1000} s in vain for ${what}`);
  return value;
}
