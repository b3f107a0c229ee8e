/**
 * Workers kept in order of their load, for finding the least and the most loaded while loads change. Ties: the lower
 * index first.
 */
export class Ranking {
  readonly #loads: Float64Array;
  readonly #order: Int32Array;
  #first = 0;
  #end: number;

  /** Ranks `workers` by `loads`, which only `set` may change from then on. */
  constructor(workers: Int32Array, loads: Float64Array) {
    this.#loads = loads;
    this.#order = workers.slice().sort((a, b) => loads[a]! - loads[b]! || a - b);
    this.#end = workers.length;
  }

  get size(): number {
    return this.#end - this.#first;
  }

  /** The worker at a rank from the least loaded, 0 being it. */
  fromLeast(rank: number): number {
    return this.#order[this.#first + rank]!;
  }

  /** The worker at a rank from the most loaded, 0 being it. */
  fromMost(rank: number): number {
    return this.#order[this.#end - 1 - rank]!;
  }

  dropLeast(): void {
    this.#first += 1;
  }

  dropMost(): void {
    this.#end -= 1;
  }

  /** Changes a worker's load, and its place where it still has one. */
  set(worker: number, load: number): void {
    const at = this.#find(worker);
    const isRanked = at < this.#end && this.#order[at] === worker;
    if (isRanked) this.#order.copyWithin(at, at + 1, this.#end);
    this.#loads[worker] = load;
    if (!isRanked) return;
    this.#end -= 1;
    const next = this.#find(worker);
    this.#order.copyWithin(next + 1, next, this.#end);
    this.#order[next] = worker;
    this.#end += 1;
  }

  /** Where the worker is, or would be. */
  #find(worker: number): number {
    const load = this.#loads[worker]!;
    let low = this.#first;
    let high = this.#end;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = this.#order[middle]!;
      const difference = this.#loads[other]! - load || other - worker;
      if (difference < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
