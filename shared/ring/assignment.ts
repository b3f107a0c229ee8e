/**
 * Who owns which slot: a pure function of the slots' weights, the live workers and who owned them before (DESIGN §3).
 *
 * Intuition: leave everything where it is; share out what lost its owner, and what is above anyone's even share. Where
 * there is a choice, a hash ring makes it, so that different histories, and cold starts without any, arrive at nearly
 * the same assignment.
 *
 * Slots with rows are balanced by rows. Slots without are balanced by number, apart from the others: rows that come
 * later land in them, and should land evenly.
 *
 * Same input, same output, whatever order the workers are named in; and `assign` of what it returned returns that
 * again.
 */
import { balance } from './balance.ts';
import { buildRing, type HashRing } from './hash-ring.ts';
import type { SlotClass } from './quota.ts';

export interface Assignment {
  /** Ids; those that `assign` returns are sorted and unique. */
  readonly workers: readonly string[];
  /** For each slot the index of its owner in `workers`; -1 for none. */
  readonly owners: Int32Array;
}

export interface AssignmentInput {
  /** Rows in each slot: whole numbers from 0 to 2^32. Its length is the number of slots, at most 2^20. */
  readonly weights: ArrayLike<number>;
  /** The live workers, in any order. */
  readonly workers: readonly string[];
  /** Who owned the slots before; null for nobody, as at a cold start. */
  readonly previous: Assignment | null;
}

/** What an assignment costs: the slots, and the rows in them, that change owner. */
export interface Movement {
  readonly slots: number;
  readonly rows: number;
  /**
   * The fewest rows that could have been moved to make the rows per worker as even as they are now, had rows been
   * movable one by one.
   */
  readonly minimumRows: number;
}

const SLOTS_MAX = 2 ** 20;
const WEIGHT_MAX = 2 ** 32;
const COUNTED_WEIGHT_MAX = 2 ** 17;

/**
 * Assigns every slot to exactly one live worker; to none (-1) when there is none.
 *
 * @throws RangeError where the input cannot be what it is said to be: weights that are no row counts, or a previous
 * assignment of a different number of slots. That is a defect of the caller.
 */
export function assign(input: AssignmentInput): Assignment {
  const weights = checkedWeights(input);
  const workers = [...new Set(input.workers)].sort();
  const before = carryOver(input, workers);
  if (workers.length === 0) return { workers, owners: before };
  let built: HashRing | null = null;
  const ring = (): HashRing => {
    built ??= buildRing(workers, weights.length);
    return built;
  };
  const byIndex = Int32Array.from(workers.keys());
  const filled = slotsWhere(weights, (weight) => weight > 0);
  const filledClass = { slots: filled, heaviestFirst: heaviestFirst(filled, weights), weights };
  const shared = balance({ ...filledClass, precedence: byIndex, isExact: false }, before, ring);
  // Of the workers with an equal claim to one more empty slot those with the fewest rows get it.
  const rows = rowsPerWorker({ workers, owners: shared }, weights);
  const precedence = byIndex.slice().sort((a, b) => rows[a]! - rows[b]! || a - b);
  const empty = slotsWhere(weights, (weight) => weight === 0);
  const single = new Float64Array(weights.length).fill(1);
  const emptyClass: SlotClass = { slots: empty, heaviestFirst: empty, weights: single, precedence, isExact: true };
  return { workers, owners: balance(emptyClass, shared, ring) };
}

/**
 * Compares the assignment that came out with the one before. Only slots that had an owner before, living or not, can
 * have moved: the first assignment moves nothing, since nobody loses anything by it. A slot that ends without an owner
 * has moved.
 */
export function measureMovement(input: AssignmentInput, next: Assignment): Movement {
  const { previous, weights } = input;
  if (previous === null) return { slots: 0, rows: 0, minimumRows: 0 };
  const now = new Map(next.workers.map((id, index) => [id, index]));
  const indexNow = previous.workers.map((id) => now.get(id) ?? -1);
  const held = new Float64Array(next.workers.length);
  let slots = 0;
  let rows = 0;
  let orphanedRows = 0;
  previous.owners.forEach((owner, slot) => {
    if (owner < 0) return;
    const weight = weights[slot]!;
    const index = indexNow[owner]!;
    if (index < 0) orphanedRows += weight;
    else held[index]! += weight;
    if (index >= 0 && index === next.owners[slot]) return;
    slots += 1;
    rows += weight;
  });
  // Nothing moves less than pairing the fullest before with the fullest now, the second with the second, and so on.
  const target = Float64Array.from(rowsPerWorker(next, weights)).sort();
  const excess = held.sort().reduce((sum, load, rank) => sum + Math.max(0, load - target[rank]!), 0);
  return { slots, rows, minimumRows: orphanedRows + excess };
}

/** Rows by index of `assignment.workers`. */
export function rowsPerWorker(assignment: Assignment, weights: ArrayLike<number>): number[] {
  const { owners } = assignment;
  const rows = new Array<number>(assignment.workers.length).fill(0);
  for (let slot = 0; slot < owners.length; slot += 1) {
    const owner = owners[slot]!;
    if (owner >= 0) rows[owner]! += weights[slot]!;
  }
  return rows;
}

/**
 * Whether a change of the table's size is worth a new assignment: max − min above one row and above 2 % of the mean.
 * Where few heavy slots cannot be shared out evenly it stays true after assigning; that `assign` then changes nothing
 * says so.
 */
export function isUneven(rows: readonly number[]): boolean {
  let most = Number.NEGATIVE_INFINITY;
  let least = Number.POSITIVE_INFINITY;
  let total = 0;
  for (const count of rows) {
    most = Math.max(most, count);
    least = Math.min(least, count);
    total += count;
  }
  return most - least > Math.max(1, (0.02 * total) / rows.length);
}

function checkedWeights({ weights, previous }: AssignmentInput): Float64Array {
  const checked = new Float64Array(weights);
  if (checked.length > SLOTS_MAX) throw new RangeError(`expected at most ${SLOTS_MAX} slots, got ${checked.length}`);
  if (previous !== null && previous.owners.length !== checked.length) {
    throw new RangeError(`expected a previous assignment of ${checked.length} slots, got ${previous.owners.length}`);
  }
  for (let slot = 0; slot < checked.length; slot += 1) {
    const weight = checked[slot]!;
    if (!(weight >= 0 && weight <= WEIGHT_MAX && Number.isInteger(weight))) {
      throw new RangeError(`expected the rows of slot ${slot} as a whole number from 0 to 2^32, got ${weight}`);
    }
  }
  return checked;
}

/** The previous owners as indices of the sorted live workers; -1 where the owner is gone. */
function carryOver({ weights, previous }: AssignmentInput, workers: readonly string[]): Int32Array {
  const owners = new Int32Array(weights.length).fill(-1);
  if (previous === null) return owners;
  const now = new Map(workers.map((id, index) => [id, index]));
  const indexNow = Int32Array.from(previous.workers, (id) => now.get(id) ?? -1);
  for (let slot = 0; slot < owners.length; slot += 1) {
    const owner = previous.owners[slot]!;
    if (owner >= 0) owners[slot] = indexNow[owner]!;
  }
  return owners;
}

function slotsWhere(weights: Float64Array, suits: (weight: number) => boolean): Int32Array {
  const slots = new Int32Array(weights.length);
  let count = 0;
  for (let slot = 0; slot < weights.length; slot += 1) {
    if (!suits(weights[slot]!)) continue;
    slots[count] = slot;
    count += 1;
  }
  return slots.slice(0, count);
}

/**
 * A counting sort where there are few different weights, as in every table whose rows are hashed into slots; else a
 * sort of plain numbers.
 */
function heaviestFirst(slots: Int32Array, weights: Float64Array): Int32Array {
  const most = slots.reduce((weight, slot) => Math.max(weight, weights[slot]!), 0);
  if (most > COUNTED_WEIGHT_MAX) {
    // Weight and slot fit into one number of 53 bits; comparing slots by a function would take five times as long.
    const keys = Float64Array.from(slots, (slot) => (WEIGHT_MAX - weights[slot]!) * SLOTS_MAX + slot);
    return Int32Array.from(keys.sort(), (key) => key - Math.floor(key / SLOTS_MAX) * SLOTS_MAX);
  }
  const starts = new Int32Array(most + 2);
  for (let index = 0; index < slots.length; index += 1) starts[most - weights[slots[index]!]! + 1]! += 1;
  for (let rank = 0; rank <= most; rank += 1) starts[rank + 1]! += starts[rank]!;
  const sorted = new Int32Array(slots.length);
  for (let index = 0; index < slots.length; index += 1) {
    const rank = most - weights[slots[index]!]!;
    sorted[starts[rank]!] = slots[index]!;
    starts[rank]! += 1;
  }
  return sorted;
}
