import type { Logger } from 'pino';
import type { WorkerMetrics } from './metrics.ts';

/** One look at both clocks: the database's, somewhere within the round trip, and this host's at the end of it. */
export interface ClockComparison {
  /** Epoch ms. */
  readonly serverMs: number;
  readonly wallMs: number;
  readonly roundTripMs: number;
}

const TOLERATED_MS = 500;

/**
 * Tells how far this host's wall clock is from the database's: always by a metric, and by one warning each time that it goes
 * beyond half a second. Nothing is decided by it, since ticks go by the database's clock alone; but log times are off.
 */
export function makeClockSkewReport(options: {
  readonly log: Logger;
  readonly metrics: Pick<WorkerMetrics, 'clockSkew'>;
}): (comparison: ClockComparison) => void {
  const { log, metrics } = options;
  let isBeyond = false;
  return ({ serverMs, wallMs, roundTripMs }) => {
    const errorMs = roundTripMs / 2;
    const skewMs = wallMs - errorMs - serverMs;
    metrics.clockSkew.set(skewMs / 1000);
    const wasBeyond = isBeyond;
    // What a slow answer may explain is no skew.
    isBeyond = Math.abs(skewMs) - errorMs > TOLERATED_MS;
    if (!isBeyond || wasBeyond) return;
    const way = skewMs > 0 ? 'ahead of' : 'behind';
    log.warn(
      { skewMs: Math.round(skewMs) },
      `this host's clock is ${way} the database's; rows are ticked by the database's, but log times are off: check NTP`,
    );
  };
}
