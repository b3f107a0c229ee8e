import { setTimeout as wait } from 'node:timers/promises';

/** Resolves after so many ms, or as soon as the run is to end: what it was a part of is then brought to its end in order. */
export type Pause = (ms: number) => Promise<void>;

export function makePause(signal: AbortSignal): Pause {
  return async (ms) => {
    await wait(Math.max(0, ms), undefined, { signal }).catch(() => {});
  };
}
