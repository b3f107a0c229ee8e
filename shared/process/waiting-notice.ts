import type { Logger } from 'pino';

const REPEAT_EVERY_MS = 5_000;

/** Hears what a starting service waits for, each time that it tries; `/readyz` passes it on. */
export type OnWait = (what: string) => void;

/** Logs what is being waited for: at once, and then every five seconds. */
export class WaitingNotice {
  readonly #log: Logger;
  readonly #onWait: OnWait | undefined;
  #saidAtMs = Number.NEGATIVE_INFINITY;

  constructor(log: Logger, onWait?: OnWait) {
    this.#log = log;
    this.#onWait = onWait;
  }

  /** Was there anything to wait for? */
  get hasSpoken(): boolean {
    return this.#saidAtMs !== Number.NEGATIVE_INFINITY;
  }

  say(fields: { readonly reason: string; readonly [name: string]: unknown }, message: string): void {
    const { reason } = fields;
    this.#onWait?.(message.includes(reason) ? message : `${message}: ${reason}`);
    const nowMs = performance.now();
    if (nowMs - this.#saidAtMs < REPEAT_EVERY_MS) return;
    this.#saidAtMs = nowMs;
    this.#log.warn(fields, message);
  }
}
