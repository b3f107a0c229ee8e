import type { Logger } from 'pino';
import type { BlockedChange } from './blocked-rows.ts';

/** So many lines in so many ms; what goes beyond is counted in one more line. */
const LINES_MOST = 5;
const WINDOW_MS = 1_000;
/** Locks come and go with an application's transactions. */
const LOCKS_WINDOW_MS = 10_000;
const NAMED_MOST = 1_000;

/**
 * Logs each blocked row once when it begins and once when it ends. If there are many, some stand for all: only rows with a
 * first line get a last one.
 */
export class BlockedRowsNotice {
  readonly #log: Logger;
  readonly #nowMs: () => number;
  readonly #rows: Window;
  readonly #locks: Window;
  readonly #named = new Set<string>();

  constructor(log: Logger, nowMs: () => number = () => performance.now()) {
    this.#log = log;
    this.#nowMs = nowMs;
    this.#rows = { lengthMs: WINDOW_MS, startedMs: Number.NEGATIVE_INFINITY, lines: 0, unsaid: 0 };
    this.#locks = { ...this.#rows, lengthMs: LOCKS_WINDOW_MS };
  }

  say({ begun, ended }: BlockedChange): void {
    this.#open(this.#rows, 'rows');
    this.#open(this.#locks, 'locked rows');
    for (const { id, reason, message } of begun) {
      const window = reason === 'locked' ? this.#locks : this.#rows;
      if (!takeLine(window, this.#named.size < NAMED_MOST)) continue;
      this.#named.add(id);
      this.#log.warn({ id, reason, message }, 'row blocked: it gets no ticks');
    }
    for (const id of ended) {
      if (this.#named.delete(id)) this.#log.info({ id }, 'row no longer blocked');
    }
  }

  #open(window: Window, what: string): void {
    const nowMs = this.#nowMs();
    if (nowMs - window.startedMs < window.lengthMs) return;
    if (window.unsaid > 0) this.#log.warn({ count: window.unsaid }, `further ${what} blocked`);
    Object.assign(window, { startedMs: nowMs, lines: 0, unsaid: 0 });
  }
}

interface Window {
  readonly lengthMs: number;
  startedMs: number;
  lines: number;
  /** Rows without a line. */
  unsaid: number;
}

function takeLine(window: Window, hasRoom: boolean): boolean {
  if (!hasRoom || window.lines >= LINES_MOST) {
    window.unsaid += 1;
    return false;
  }
  window.lines += 1;
  return true;
}
