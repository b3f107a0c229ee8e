import { setTimeout as wait } from 'node:timers/promises';

/** Bounds several steps together. */
export class Deadline {
  readonly #atMs: number;

  constructor(limitMs: number) {
    this.#atMs = performance.now() + limitMs;
  }

  leftMs(): number {
    return Math.max(0, this.#atMs - performance.now());
  }

  /** @throws when the deadline passes before the promise is settled; what it stands for goes on. */
  async within<Value>(promise: Promise<Value>): Promise<Value> {
    const settled = new AbortController();
    const late = wait(this.leftMs(), undefined, { signal: settled.signal }).then(
      () => {
        throw new Error('no answer in time');
      },
      // Settled first: this outcome is not used any more.
      () => promise,
    );
    try {
      return await Promise.race([promise, late]);
    } finally {
      settled.abort();
    }
  }
}
