import type { HashRing } from './hash-ring.ts';
import type { Plan, SlotClass } from './quota.ts';

/** How many virtual nodes a slot is offered to before it goes to whoever has the most room. */
const WALK = 16;

/** Gives every slot without an owner one, the heaviest first, since light ones fill the gaps that heavy ones leave. */
export function placeSlots(
  part: SlotClass,
  plan: Plan,
  scene: { owners: Int32Array; loads: Float64Array; ring: HashRing },
): void {
  const { owners, loads, ring } = scene;
  const { heaviestFirst, weights } = part;
  const room = loads.map((load, worker) => (plan.giantWeights[worker]! > 0 ? -Infinity : plan.quotas[worker]! - load));
  let heap: RoomHeap | null = null;
  for (let index = plan.giants; index < heaviestFirst.length; index += 1) {
    const slot = heaviestFirst[index]!;
    if (owners[slot]! >= 0) continue;
    const weight = weights[slot]!;
    let worker = walk(ring, slot, (candidate) => room[candidate]! >= weight);
    if (worker < 0) {
      heap ??= new RoomHeap(room);
      worker = heap.most();
    }
    owners[slot] = worker;
    room[worker]! -= weight;
    loads[worker]! += weight;
  }
}

/** The first worker clockwise that suits, -1 if none does on the first few virtual nodes. */
function walk(ring: HashRing, slot: number, suits: (worker: number) => boolean): number {
  let node = ring.starts[slot]!;
  for (let steps = 0; steps < WALK; steps += 1) {
    const worker = ring.workers[node]!;
    if (suits(worker)) return worker;
    node = node + 1 === ring.workers.length ? 0 : node + 1;
  }
  return -1;
}

/**
 * Finds the worker with the most room while rooms only shrink; of several with as much, the one of the lowest index.
 */
class RoomHeap {
  readonly #room: Float64Array;
  /** Rooms as the heap last saw them: never less than they are. */
  readonly #seen: Float64Array;
  readonly #heap: Int32Array;

  constructor(room: Float64Array) {
    this.#room = room;
    this.#seen = room.slice();
    this.#heap = Int32Array.from(room.keys());
    for (let index = room.length >>> 1; index >= 0; index -= 1) this.#sink(index);
  }

  most(): number {
    for (;;) {
      const top = this.#heap[0]!;
      if (this.#seen[top] === this.#room[top]) return top;
      this.#seen[top] = this.#room[top]!;
      this.#sink(0);
    }
  }

  #sink(from: number): void {
    const heap = this.#heap;
    const worker = heap[from]!;
    let index = from;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && this.#isAbove(heap[child + 1]!, heap[child]!)) child += 1;
      if (!this.#isAbove(heap[child]!, worker)) break;
      heap[index] = heap[child]!;
      index = child;
    }
    heap[index] = worker;
  }

  #isAbove(a: number, b: number): boolean {
    return this.#seen[a]! > this.#seen[b]! || (this.#seen[a] === this.#seen[b] && a < b);
  }
}
