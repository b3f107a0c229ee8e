import { uptime } from 'node:os';

/** Time since the host's start, in ms, to hundredths of a second. Counts suspensions, and does not change when a clock is set. */
export function hostUptimeMs(): number {
  return uptime() * 1000;
}
