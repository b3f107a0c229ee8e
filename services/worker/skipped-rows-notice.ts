import type { Logger } from 'pino';

const REPEAT_EVERY_MS = 10_000;
const IDS_NAMED = 10;

/** Logs skipped rows at once, then at most every ten seconds with their number since the last line: locks may stay for hours. */
export class SkippedRowsNotice {
  readonly #log: Logger;
  readonly #nowMs: () => number;
  #saidAtMs = Number.NEGATIVE_INFINITY;
  #count = 0;

  constructor(log: Logger, nowMs: () => number = () => performance.now()) {
    this.#log = log;
    this.#nowMs = nowMs;
  }

  say(skipped: { readonly count: number; readonly ids: readonly string[] }): void {
    this.#count += skipped.count;
    const nowMs = this.#nowMs();
    if (nowMs - this.#saidAtMs < REPEAT_EVERY_MS) return;
    this.#log.warn(
      { count: this.#count, ids: skipped.ids.slice(0, IDS_NAMED) },
      'rows skipped: other transactions hold their locks; look for long transactions in pg_stat_activity',
    );
    this.#saidAtMs = nowMs;
    this.#count = 0;
  }
}
