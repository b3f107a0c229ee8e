import { Rows } from './fake-rows.ts';

interface Change {
  readonly slot: number;
  readonly delta: number;
}

/** As `TRUNCATED` in `shared/postgres/change-triggers.ts`. */
const TRUNCATED = -1;

/** What a restore brings back. */
export interface SavedTable {
  readonly rows: ReadonlyMap<string, number>;
  readonly changes: readonly Change[];
  readonly pruned: number;
  readonly unrecorded: Float64Array;
}

/** The application's table, with what its triggers report. A change's index in the log stands for its transaction's number. */
export class FakeTable {
  readonly rows: Rows;
  /** Changes that no trigger reported, net, by slot. */
  unrecorded: Float64Array;
  #changes: Change[] = [];
  /** Changes up to here are deleted. */
  #pruned = 0;

  constructor(slots: number, onMove: (id: string) => void) {
    this.rows = new Rows(slots, onMove);
    this.unrecorded = new Float64Array(slots);
  }

  /** Adds that many rows to the slot, or removes them. */
  change(slot: number, delta: number, { isRecorded = true }: { readonly isRecorded?: boolean } = {}): void {
    const applied = this.rows.change(slot, delta);
    if (applied === 0) return;
    if (isRecorded) this.#changes.push({ slot, delta: applied });
    else this.unrecorded[slot] = (this.unrecorded[slot] ?? 0) + applied;
  }

  /** The row's id changes to one of another slot. */
  move(id: string, to: number): void {
    const from = this.rows.move(id, to);
    this.#changes.push({ slot: from, delta: -1 }, { slot: to, delta: 1 });
  }

  truncate(): void {
    this.rows.clear();
    this.#changes.push({ slot: TRUNCATED, delta: 0 });
  }

  count() {
    const weights = this.rows.weights.slice();
    return { weights, rows: sum(weights), at: String(this.#changes.length) };
  }

  changesSince(at: string) {
    const unseen = this.#changes.slice(Math.max(Number(at), this.#pruned));
    const deltas = unseen.filter(({ slot }) => slot !== TRUNCATED);
    const added = deltas.reduce((total, { delta }) => total + Math.max(0, delta), 0);
    const removed = deltas.reduce((total, { delta }) => total + Math.max(0, -delta), 0);
    const recount = deltas.length < unseen.length;
    return { deltas, added, removed, at: String(this.#changes.length), recount, readMs: 1 };
  }

  prune(at: string): void {
    this.#pruned = Math.max(this.#pruned, Number(at));
  }

  save(): SavedTable {
    const unrecorded = this.unrecorded.slice();
    return { rows: this.rows.save(), changes: this.#changes.slice(), pruned: this.#pruned, unrecorded };
  }

  restore(saved: SavedTable): void {
    this.rows.restore(saved.rows);
    this.#changes = saved.changes.slice();
    this.#pruned = saved.pruned;
    this.unrecorded = saved.unrecorded.slice();
  }
}

function sum(weights: Float64Array): number {
  return weights.reduce((total, weight) => total + weight, 0);
}
