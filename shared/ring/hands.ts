import type { Plan, SlotClass } from './quota.ts';

/**
 * The slots that each worker could give away, heaviest first, while they change hands.
 *
 * A worker's hand is only laid out when it is asked for: of thousands of workers few exchange anything.
 */
export class Hands {
  readonly #part: SlotClass;
  readonly #owners: Int32Array;
  readonly #hands: (number[] | undefined)[];
  /** All slots by owner, as they were at the start; `#starts` says where each owner's begin. */
  readonly #dealt: Int32Array;
  readonly #starts: Int32Array;
  readonly #singles: Int32Array;
  #richest = -1;
  #looked = 0;

  /** `owners` changes with every move. Giants are in no hand. */
  constructor({ part, plan, owners }: { part: SlotClass; plan: Plan; owners: Int32Array }) {
    const workers = part.precedence.length;
    this.#part = part;
    this.#owners = owners;
    this.#hands = new Array<number[] | undefined>(workers);
    this.#singles = new Int32Array(workers);
    this.#starts = new Int32Array(workers + 1);
    const small = part.heaviestFirst.subarray(plan.giants);
    for (let index = 0; index < small.length; index += 1) this.#starts[owners[small[index]!]! + 1]! += 1;
    for (let worker = 0; worker < workers; worker += 1) this.#starts[worker + 1]! += this.#starts[worker]!;
    const ends = this.#starts.slice(0, workers);
    this.#dealt = new Int32Array(small.length);
    for (let index = 0; index < small.length; index += 1) {
      const slot = small[index]!;
      const owner = owners[slot]!;
      const end = ends[owner]!;
      this.#dealt[end] = slot;
      ends[owner] = end + 1;
      if (part.weights[slot] === 1) this.#singles[owner]! += 1;
    }
  }

  /** Read only; changes with every move. */
  of(worker: number): readonly number[] {
    const hand = this.#open(worker);
    this.#looked += hand.length;
    return hand;
  }

  /** How many slots all hands had that were asked for: a measure of the work done with them. */
  get looked(): number {
    return this.#looked;
  }

  /** How many slots of weight one the worker has; they are the last of its hand. */
  singlesOf(worker: number): number {
    return this.#singles[worker]!;
  }

  /** The worker with the most slots of weight one. */
  richestInSingles(): number {
    if (this.#richest < 0) {
      this.#richest = 0;
      for (let worker = 1; worker < this.#singles.length; worker += 1) {
        if (this.#singles[worker]! > this.#singles[this.#richest]!) this.#richest = worker;
      }
    }
    return this.#richest;
  }

  move(slot: number, from: number, to: number): void {
    const source = this.#open(from);
    const target = this.#open(to);
    source.splice(this.#find(source, slot), 1);
    target.splice(this.#find(target, slot), 0, slot);
    this.#owners[slot] = to;
    if (this.#part.weights[slot] !== 1) return;
    this.#singles[from]! -= 1;
    this.#singles[to]! += 1;
    this.#richest = -1;
  }

  #open(worker: number): number[] {
    let hand = this.#hands[worker];
    if (hand === undefined) {
      hand = [];
      const end = this.#starts[worker + 1]!;
      for (let index = this.#starts[worker]!; index < end; index += 1) hand.push(this.#dealt[index]!);
      this.#hands[worker] = hand;
    }
    return hand;
  }

  /** Where a slot is in a hand, or belongs. */
  #find(hand: readonly number[], slot: number): number {
    const { weights } = this.#part;
    const weight = weights[slot]!;
    let low = 0;
    let high = hand.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = hand[middle]!;
      const difference = weight - weights[other]! || other - slot;
      if (difference < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
