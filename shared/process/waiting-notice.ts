import type { Logger } from 'pino';

const REPEAT_EVERY_MS = 5_000;

/** Says what is being waited for: at once, and then every five seconds for as long as it is told. */
export class WaitingNotice {
  readonly #log: Logger;
  #saidAtMs = Number.NEGATIVE_INFINITY;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Was there anything to wait for? */
  get hasSpoken(): boolean {
    return this.#saidAtMs !== Number.NEGATIVE_INFINITY;
  }

  say(fields: object, message: string): void {
    const nowMs = performance.now();
    if (nowMs - this.#saidAtMs < REPEAT_EVERY_MS) return;
    this.#saidAtMs = nowMs;
    this.#log.warn(fields, message);
  }
}
