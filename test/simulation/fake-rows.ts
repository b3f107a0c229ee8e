/** Rows of their own: each has an id, and lies in the slot that its id gives it. */
export class Rows {
  /** How many lie in each slot. */
  readonly weights: Float64Array;
  /** Ids of rows that an application has locked. */
  readonly locked = new Set<string>();
  /** Ids of rows that cannot be written. */
  readonly bad = new Set<string>();
  readonly #slots: Set<string>[];
  readonly #slotOf = new Map<string, number>();
  readonly #onMove: (id: string) => void;
  #added = 0;

  constructor(slots: number, onMove: (id: string) => void) {
    this.weights = new Float64Array(slots);
    this.#slots = Array.from({ length: slots }, () => new Set<string>());
    this.#onMove = onMove;
  }

  get all(): ReadonlyMap<string, number> {
    return this.#slotOf;
  }

  of(slot: number): ReadonlySet<string> {
    return this.#slots[slot] ?? new Set();
  }

  /** By its name. */
  has(name: string): boolean {
    const [id = '', slot] = name.split('/');
    return this.#slotOf.get(id) === Number(slot);
  }

  /** @returns by how many the slot grew. */
  change(slot: number, delta: number): number {
    for (let count = 0; count < delta; count += 1) {
      this.#added += 1;
      this.#put(`row-${String(this.#added).padStart(5, '0')}`, slot);
    }
    const removed = [...this.of(slot)].slice(0, Math.max(0, -delta));
    for (const id of removed) this.#remove(id);
    return delta > 0 ? delta : -removed.length;
  }

  /** @returns where it was. */
  move(id: string, to: number): number {
    const from = this.#remove(id);
    this.#put(id, to);
    this.#onMove(id);
    return from;
  }

  clear(): void {
    for (const id of [...this.#slotOf.keys()]) this.#remove(id);
  }

  save(): ReadonlyMap<string, number> {
    return new Map(this.#slotOf);
  }

  restore(saved: ReadonlyMap<string, number>): void {
    this.clear();
    for (const [id, slot] of saved) this.#put(id, slot);
  }

  #put(id: string, slot: number): void {
    this.#slotOf.set(id, slot);
    this.#set(slot).add(id);
    this.weights[slot] = this.of(slot).size;
  }

  #remove(id: string): number {
    const slot = this.#slotOf.get(id);
    if (slot === undefined) throw new Error(`there is no row ${id}`);
    this.#slotOf.delete(id);
    this.#set(slot).delete(id);
    this.weights[slot] = this.of(slot).size;
    return slot;
  }

  #set(slot: number): Set<string> {
    const set = this.#slots[slot];
    if (set === undefined) throw new Error(`there is no slot ${slot}`);
    return set;
  }
}

/** The id as workers see it: it changes when the row moves to another slot. */
export function nameOf(id: string, slot: number): string {
  return `${id}/${slot}`;
}

const hashes = new Map<string, bigint>();

/** A number that tells one name from another. */
export function hashOf(name: string): bigint {
  const known = hashes.get(name);
  if (known !== undefined) return known;
  const [row = 0, slot = 0] = name.slice(4).split('/').map(Number);
  const hash = BigInt(Math.imul(row * 65_536 + slot + 1, 0x9e3779b1) >>> 0);
  hashes.set(name, hash);
  return hash;
}
