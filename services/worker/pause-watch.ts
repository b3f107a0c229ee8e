import { hostUptimeMs } from '../../shared/process/host-uptime.ts';

/** Clocks of the host that go on while its monotonic clock stands: by the time of day, and since its start. */
export interface HostClocks {
  readonly wallMs: number;
  readonly uptimeMs: number;
}

/** Less may be a slow look, or a clock that is being slewed. */
const TOLERATED_MS = 1_000;

function readHostClocks(): HostClocks {
  return { wallMs: Date.now(), uptimeMs: hostUptimeMs() };
}

/**
 * Notices that the monotonic clock, by which a worker knows the database's, did not count some time: its machine was suspended.
 * Also true where the time of day was set: that costs one needless measurement of the database's clock.
 */
export class PauseWatch {
  readonly #read: () => HostClocks;
  #seen: { readonly nowMs: number; readonly clocks: HostClocks } | null = null;

  constructor(read: () => HostClocks = readHostClocks) {
    this.#read = read;
  }

  /** Has a clock of the host gone on by another time than the monotonic one since the last look? */
  look(nowMs: number): boolean {
    const clocks = this.#read();
    const seen = this.#seen;
    this.#seen = { nowMs, clocks };
    if (seen === null) return false;
    const passedMs = nowMs - seen.nowMs;
    const wallMs = clocks.wallMs - seen.clocks.wallMs;
    const uptimeMs = clocks.uptimeMs - seen.clocks.uptimeMs;
    return Math.abs(wallMs - passedMs) > TOLERATED_MS || Math.abs(uptimeMs - passedMs) > TOLERATED_MS;
  }
}
