import type { LastingRecord } from './postgres-records.ts';
import { Violation } from './violation.ts';
import type { World } from './world.ts';

interface RowSeen {
  /** The slots that it was incremented in, by tick. */
  readonly ticks: Map<number, readonly number[]>;
  hasMoved: boolean;
}

/**
 * No row is incremented twice for one tick. A row whose id changes moves to another slot: for the tick under way it may be
 * incremented in both, or in neither. No other row may.
 */
export class RowChecks {
  /** When each row was last incremented, by world time. */
  readonly lastMs = new Map<string, number>();
  readonly #world: World;
  readonly #rows = new Map<string, RowSeen>();

  constructor(world: World) {
    this.#world = world;
  }

  apply(record: LastingRecord): void {
    switch (record.kind) {
      case 'move':
        this.#rowOf(record.row).hasMoved = true;
        return;
      case 'increment':
        for (const id of record.rows) this.#noteIncrement(id, record);
        return;
      case 'rebase':
        return this.#forgetAfter(record.slot, record.tick);
      case 'claim':
        return;
    }
  }

  /** Postgres goes back to the beginning; what it knows is applied again. */
  forget(): void {
    this.#rows.clear();
  }

  #noteIncrement(id: string, { slot, tick }: { readonly slot: number; readonly tick: number }): void {
    const { ticks, hasMoved } = this.#rowOf(id);
    const before = ticks.get(tick) ?? [];
    if (before.includes(slot) || (before.length > 0 && !hasMoved)) {
      throw new Violation(`${id} of slot ${slot} was incremented twice for tick ${tick}`);
    }
    ticks.set(tick, [...before, slot]);
    this.lastMs.set(id, this.#world.timeline.nowMs);
  }

  /** The slot's ticks after this one come again. */
  #forgetAfter(slot: number, tick: number): void {
    for (const { ticks } of this.#rows.values()) {
      for (const [known, slots] of ticks) if (known > tick && slots.includes(slot)) ticks.delete(known);
    }
  }

  #rowOf(id: string): RowSeen {
    const known = this.#rows.get(id);
    if (known !== undefined) return known;
    const row: RowSeen = { ticks: new Map(), hasMoved: false };
    this.#rows.set(id, row);
    return row;
  }
}
