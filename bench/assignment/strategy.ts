import { createHash } from 'node:crypto';
import { type Assignment, assign } from '../../shared/ring/assignment.ts';

/** A way to share keys out. */
export interface Strategy {
  readonly name: string;
  readonly note: string;
  /** A fresh start: what comes back may remember what it returned last. By key its worker. */
  readonly start: () => (keys: readonly string[], workers: readonly string[]) => readonly string[];
}

/** How a library without memory is asked: made for the workers, then for each key. */
export type Place = (workers: readonly string[]) => (key: string) => string;

const SLOTS = 4096;

/**
 * shared/ring/assignment.ts as the coordinator uses it: over the rows per slot, with what was before. The slot of a key is
 * worked out once, outside the time measured, as Postgres keeps it in an index.
 */
export const OURS: Strategy = {
  name: 'this project',
  note: `${SLOTS} slots, sticky`,
  start: () => {
    let previous: Assignment | null = null;
    return (keys, workers) => {
      const slots = slotsOf(keys);
      const weights = new Uint32Array(SLOTS);
      for (const slot of slots) weights[slot]! += 1;
      const next: Assignment = assign({ weights, workers, previous });
      previous = next;
      return Array.from(slots, (slot) => next.workers[next.owners[slot]!]!);
    };
  },
};

const known = new WeakMap<readonly string[], Uint32Array>();

export function slotsOf(keys: readonly string[]): Uint32Array {
  let slots = known.get(keys);
  if (slots === undefined) {
    slots = Uint32Array.from(keys, (key) => createHash('sha1').update(key).digest().readUInt32BE(0) & (SLOTS - 1));
    known.set(keys, slots);
  }
  return slots;
}

/** Plain modulo, as a measure of what stickiness is worth. */
export const MODULO: Strategy = {
  name: 'sha1 % workers',
  note: 'no library',
  start: () => (keys, workers) =>
    keys.map((key) => workers[createHash('sha1').update(key).digest().readUInt32BE(0) % workers.length]!),
};
