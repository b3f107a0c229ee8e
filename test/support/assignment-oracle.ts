/**
 * What DESIGN §3 demands of an assignment, worked out by the plainest means: owners by name, sums by looping, small
 * cases by trying everything. It shares no code with shared/ring, so that both being wrong in the same way is unlikely.
 */
import type { Assignment, AssignmentInput } from '../../shared/ring/assignment.ts';

/** The owner's id of each slot, null for none. */
export function ownerIds(assignment: Assignment | null, slots: number): (string | null)[] {
  return Array.from({ length: slots }, (_, slot) => {
    const owner = assignment?.owners[slot] ?? -1;
    return owner < 0 ? null : (assignment?.workers[owner] ?? null);
  });
}

/** A number for each worker: the rows, or the empty slots, it holds. */
export function holdings(
  owners: readonly (string | null)[],
  workers: readonly string[],
  worth: (slot: number) => number,
): Map<string, number> {
  const held = new Map(workers.map((id) => [id, 0]));
  owners.forEach((id, slot) => {
    if (id !== null && held.has(id)) held.set(id, held.get(id)! + worth(slot));
  });
  return held;
}

export function spreadOf(held: ReadonlyMap<string, number>): number {
  return Math.max(...held.values()) - Math.min(...held.values());
}

export function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/** The slots that nobody can share: taken off the heaviest while one alone is more than the share of what is left. */
export function splitGiants(weights: ArrayLike<number>, workers: number): { giants: number[]; rest: number[] } {
  const rest = Array.from({ length: weights.length }, (_, slot) => slot).sort((a, b) => weights[b]! - weights[a]!);
  const giants: number[] = [];
  let rows = sum(Array.from(weights));
  while (rest.length > 0 && weights[rest[0]!]! > Math.ceil(rows / (workers - giants.length))) {
    rows -= weights[rest[0]!]!;
    giants.push(rest.shift()!);
  }
  return { giants, rest };
}

/** The fewest rows to move for loads that differ by one at most, were rows movable one by one. */
export function fewestRowsToMove(input: AssignmentInput): number {
  const { weights, workers, previous } = input;
  if (previous === null) return 0;
  const owners = ownerIds(previous, weights.length);
  const alive = new Set(workers);
  const orphaned = sum(owners.map((id, slot) => (id !== null && !alive.has(id) ? weights[slot]! : 0)));
  const held = [...holdings(owners, [...alive], (slot) => weights[slot]!).values()].sort((a, b) => b - a);
  const rows = sum(Array.from(weights));
  const above = held.map((load, rank) => {
    const quota = Math.floor(rows / held.length) + (rank < rows % held.length ? 1 : 0);
    return Math.max(0, load - quota);
  });
  return orphaned + sum(above);
}

/**
 * Whether nobody need move: all owners live, and loads within one row, or from a mean of 100 rows on within 1 % of it.
 */
export function isEvenAlready(input: AssignmentInput): boolean {
  const owners = ownerIds(input.previous, input.weights.length);
  if (owners.some((id) => id === null || !input.workers.includes(id))) return false;
  const held = holdings(owners, input.workers, (slot) => input.weights[slot]!);
  const mean = sum(held.values()) / held.size;
  if (spreadOf(held) <= 1) return true;
  return mean >= 100 && [...held.values()].every((load) => Math.abs(load - mean) <= mean / 100);
}

/** Slots, and the rows in them, whose owner before is not their owner now; slots that had none before do not count. */
export function countMoved(input: AssignmentInput, next: Assignment): { slots: number; rows: number } {
  const before = ownerIds(input.previous, input.weights.length);
  const after = ownerIds(next, input.weights.length);
  const moved = before.flatMap((id, slot) => (id !== null && id !== after[slot] ? [slot] : []));
  return { slots: moved.length, rows: sum(moved.map((slot) => input.weights[slot]!)) };
}

/** The share of slots that two assignments give to the same worker. */
export function agreement(a: Assignment, b: Assignment): number {
  const slots = a.owners.length;
  const other = ownerIds(b, slots);
  return ownerIds(a, slots).filter((id, slot) => id === other[slot]).length / slots;
}

/**
 * Tries every assignment of a few slots: the smallest spread there is, and the fewest rows moved for a spread of at
 * most `spread`.
 */
export function tryEverything(input: AssignmentInput, spread: number): { bestSpread: number; fewestRows: number } {
  const { weights, workers } = input;
  const before = ownerIds(input.previous, weights.length);
  let bestSpread = Number.POSITIVE_INFINITY;
  let fewestRows = Number.POSITIVE_INFINITY;
  const choice = new Array<number>(weights.length).fill(0);
  for (let code = 0; code < workers.length ** weights.length; code += 1) {
    let rest = code;
    for (let slot = 0; slot < weights.length; slot += 1) {
      choice[slot] = rest % workers.length;
      rest = Math.floor(rest / workers.length);
    }
    const owners = choice.map((index) => workers[index]!);
    const found = spreadOf(holdings(owners, workers, (slot) => weights[slot]!));
    bestSpread = Math.min(bestSpread, found);
    if (found > spread) continue;
    const rows = sum(owners.map((id, slot) => (before[slot] !== null && before[slot] !== id ? weights[slot]! : 0)));
    fewestRows = Math.min(fewestRows, rows);
  }
  return { bestSpread, fewestRows };
}

/** Random numbers from 0 to 1, the same for the same seed. */
export function randomNumbers(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * The weights of a table whose rows were hashed into slots: rows thrown one by one, or, for many, their normal
 * approximation.
 */
export function hashedTable(args: { slots: number; rows: number; seed: number }): number[] {
  const random = randomNumbers(args.seed);
  const weights = new Array<number>(args.slots).fill(0);
  const mean = args.rows / args.slots;
  if (mean <= 40) {
    for (let row = 0; row < args.rows; row += 1) weights[Math.floor(random() * args.slots)]! += 1;
    return weights;
  }
  return weights.map(() => {
    const deviation = sum(Array.from({ length: 12 }, random)) - 6;
    return Math.max(0, Math.round(mean + deviation * Math.sqrt(mean)));
  });
}
