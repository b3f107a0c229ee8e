import type { Timeline } from './timeline.ts';

/** The longest outage of Postgres, and a new leader after it. */
const AFTERMATH_MS = 20_000;

/**
 * Only the ring's stream knows an epoch that Postgres has lost. An epoch that both lose is issued again, which the design does not
 * survive: so they never lose their newest data together.
 */
export class Losses {
  readonly #timeline: Timeline;
  #ringLostMs = Number.NEGATIVE_INFINITY;
  /** From the state that Postgres goes back to, to when a new leader has been elected after that. */
  #postgresMs = { from: Number.POSITIVE_INFINITY, to: Number.NEGATIVE_INFINITY };

  constructor(timeline: Timeline) {
    this.#timeline = timeline;
  }

  /** @returns whether the stream may lose its newest message now, or have it hidden by a forged one. */
  loseRing(): boolean {
    const { nowMs } = this.#timeline;
    const { from, to } = this.#postgresMs;
    if (nowMs >= from && nowMs <= to) return false;
    this.#ringLostMs = nowMs;
    return true;
  }

  /** @returns whether Postgres may lose what it committed since then. */
  losePostgres(sinceMs: number): boolean {
    if (this.#ringLostMs >= sinceMs) return false;
    const from = Math.min(sinceMs, this.#postgresMs.from);
    this.#postgresMs = { from, to: this.#timeline.nowMs + AFTERMATH_MS };
    return true;
  }
}
