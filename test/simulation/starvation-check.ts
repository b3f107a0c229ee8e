import type { RowChecks } from './row-checks.ts';
import { Violation } from './violation.ts';
import type { WorkerNode, World } from './world.ts';

const EVERY_MS = 250;
/**
 * A second until the next round, a second until a lost answer is given up, the longest pause of a retry, and what is left of
 * the round.
 */
const LONGEST_GAP_MS = 3_500;
/** Of a row that could not be written. */
const FIRST_PAUSE_MS = 1_000;
/** A step of the database's clock: measured within five seconds, and slots set back by a round two seconds after that. */
const CLOCK_SETTLED_MS = 10_000;

/**
 * Also while others suffer: a row that nothing blocks, in a slot whose owner is well and reaches Postgres, is ticked. NATS, the
 * leader and the other workers do not matter.
 */
export class StarvationCheck {
  readonly #world: World;
  readonly #rows: RowChecks;
  /** Since when each row's ticks have been hindered by nothing, by world time. */
  readonly #freeSinceMs = new Map<string, number>();
  readonly #slotOf = new Map<string, string>();
  readonly #aheadSinceMs = new Map<number, number>();
  /** Rows that could not be written: since when, and until when. */
  readonly #badMs = new Map<string, { readonly from: number; readonly to: number }>();

  constructor(world: World, rows: RowChecks) {
    this.#world = world;
    this.#rows = rows;
  }

  begin(): void {
    this.#check();
    this.#world.timeline.after(EVERY_MS, () => this.begin());
  }

  #check(): void {
    const { timeline, postgres } = this.#world;
    const { nowMs } = timeline;
    const owners = postgres.slots.map((_, slot) => this.#findFreeOwner(slot));
    for (const [id, slot] of postgres.table.rows.all) {
      const owner = owners[slot] ?? null;
      const key = `${slot} ${owner?.incarnation}`;
      const isFree = owner !== null && this.#slotOf.get(id) === key && !this.#isBlocked(id);
      this.#slotOf.set(id, key);
      if (!isFree) this.#freeSinceMs.set(id, nowMs);
      if (!isFree || owner === null) continue;
      const freeSinceMs = Math.max(this.#freeSinceMs.get(id) ?? nowMs, owner.troubledAtMs, this.#world.calmSinceMs);
      const gapMs = nowMs - Math.max(freeSinceMs, this.#rows.lastMs.get(id) ?? 0);
      if (gapMs <= LONGEST_GAP_MS) continue;
      const since = `well since ${Math.round(freeSinceMs)} ms`;
      throw new Violation(`${id} of slot ${slot} was not ticked for ${Math.round(gapMs)} ms; ${owner.id} is ${since}`);
    }
  }

  /** Null: the slot's ticks are hindered, or held up by the database's clock. */
  #findFreeOwner(slot: number): WorkerNode | null {
    const { postgres, timeline } = this.#world;
    const { nowMs } = timeline;
    const owner = this.#findHealthyOwner(slot);
    const { lastTick = 0 } = postgres.slots[slot] ?? {};
    const isAhead = lastTick > postgres.second;
    if (owner === null || !isAhead) this.#aheadSinceMs.delete(slot);
    if (owner === null || nowMs - postgres.clockSetMs < CLOCK_SETTLED_MS) return null;
    if (!isAhead) return owner;
    const aheadSinceMs = this.#aheadSinceMs.get(slot) ?? nowMs;
    this.#aheadSinceMs.set(slot, aheadSinceMs);
    const sinceMs = Math.max(aheadSinceMs, owner.troubledAtMs, this.#world.calmSinceMs);
    if (nowMs - sinceMs <= CLOCK_SETTLED_MS) return null;
    throw new Violation(`slot ${slot} of ${owner.id} has been ahead of the database's clock since ${sinceMs} ms`);
  }

  #findHealthyOwner(slot: number): WorkerNode | null {
    const { postgres, statements, workers } = this.#world;
    const isServed = !postgres.isDown && !postgres.isReadOnly && statements.failShare === 0;
    if (!isServed || statements.isLocked(slot)) return null;
    const incarnation = postgres.slots[slot]?.incarnation;
    const owner = workers.find((node) => node.incarnation === incarnation);
    return owner?.isAlive === true && owner.state.stage === 'running' && !owner.isInTrouble ? owner : null;
  }

  /** A row that could not be written is tried again after a pause that is no longer than all of the time before it. */
  #isBlocked(id: string): boolean {
    const { nowMs } = this.#world.timeline;
    const { locked, bad } = this.#world.postgres.table.rows;
    const known = this.#badMs.get(id);
    if (bad.has(id)) this.#badMs.set(id, { from: known?.from ?? nowMs, to: nowMs });
    if (bad.has(id) || locked.has(id)) return true;
    const isPausing = known !== undefined && nowMs < 2 * known.to - known.from + FIRST_PAUSE_MS;
    if (!isPausing) this.#badMs.delete(id);
    return isPausing;
  }
}
