const MOST_PER_MS = 1_000;

/** World time and what is to happen in it. Things due at one time happen in the order they were planned. */
export class Timeline {
  nowMs = 0;
  #order = 0;
  #happenedThisMs = 0;
  /** A binary heap by (time, order). */
  readonly #heap: Planned[] = [];

  at(timeMs: number, act: () => void): void {
    this.#order += 1;
    this.#heap.push({ timeMs: Math.max(timeMs, this.nowMs), order: this.#order, act });
    this.#siftUp(this.#heap.length - 1);
  }

  after(delayMs: number, act: () => void): void {
    this.at(this.nowMs + delayMs, act);
  }

  /** Lets everything planned up to then happen, calling `check` after each. */
  runUntil(endMs: number, check: () => void): void {
    for (let first = this.#heap[0]; first !== undefined && first.timeMs <= endMs; first = this.#heap[0]) {
      this.#removeFirst();
      this.#noteProgress(first.timeMs);
      this.nowMs = first.timeMs;
      first.act();
      check();
    }
    this.nowMs = endMs;
  }

  /** A machine that wakes itself for nothing would stop the world's time. */
  #noteProgress(timeMs: number): void {
    if (Math.floor(timeMs) > Math.floor(this.nowMs)) this.#happenedThisMs = 0;
    this.#happenedThisMs += 1;
    if (this.#happenedThisMs > MOST_PER_MS)
      throw new Error(`more than ${MOST_PER_MS} things happened within one millisecond`);
  }

  #removeFirst(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    this.#heap[0] = last;
    let index = 0;
    for (;;) {
      const left = 2 * index + 1;
      const child = this.#isBefore(left + 1, left) ? left + 1 : left;
      if (!this.#isBefore(child, index)) return;
      this.#swap(child, index);
      index = child;
    }
  }

  #siftUp(start: number): void {
    let index = start;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!this.#isBefore(index, parent)) return;
      this.#swap(index, parent);
      index = parent;
    }
  }

  #isBefore(a: number, b: number): boolean {
    const left = this.#heap[a];
    const right = this.#heap[b];
    if (left === undefined || right === undefined) return left !== undefined;
    return left.timeMs < right.timeMs || (left.timeMs === right.timeMs && left.order < right.order);
  }

  #swap(a: number, b: number): void {
    const held = this.#heap[a] as Planned;
    this.#heap[a] = this.#heap[b] as Planned;
    this.#heap[b] = held;
  }
}

interface Planned {
  readonly timeMs: number;
  readonly order: number;
  readonly act: () => void;
}
