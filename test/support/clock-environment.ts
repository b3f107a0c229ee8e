import { fileURLToPath } from 'node:url';

const PRELOAD = fileURLToPath(new URL('./stepped-clock.ts', import.meta.url));

/** What gives a service's process a wall clock that is off by the first of these, and with each SIGUSR2 by the next, ms. */
export function clockEnvironment(...offsetsMs: readonly number[]): Readonly<Record<string, string>> {
  return { CLOCK_OFFSETS_MS: JSON.stringify(offsetsMs), NODE_OPTIONS: `--import tsx --import ${PRELOAD}` };
}

const PAUSED = fileURLToPath(new URL('./paused-clock.ts', import.meta.url));

/** What makes SIGSTOP and SIGCONT a pause of the whole machine: the process's monotonic clock stands still with it. */
export function pausedClockEnvironment(): Readonly<Record<string, string>> {
  return { NODE_OPTIONS: `--import tsx --import ${PAUSED}` };
}
