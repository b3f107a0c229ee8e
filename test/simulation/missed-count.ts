import type { SlotBefore } from '../../shared/postgres/tick-result.ts';
import type { FakePostgres } from './fake-postgres.ts';
import { Violation } from './violation.ts';

/** A worker measures the database's clock every five seconds. */
const UNNOTICED_MS = 6_000;
/** A round is begun within its second, and may last into the next. */
const LATE_TICKS = 2;
/** Longer than the longest pause. Numbers that are later still are the clock's step. */
const LATEST_TICKS = 15;

interface Counting {
  readonly id: string;
}

/**
 * Holds what workers count as missed against what nobody ticked, by world time, to within one tick per row and gap. Of all workers
 * together: one with a wrong clock ticks late under an old number, and the next worker finds the gap. A count may be too low: the
 * answer that showed the gap may have been lost.
 */
export class MissedCount {
  readonly #postgres: FakePostgres;
  /** By slot: seconds that passed without a tick before ticks that nobody counted by. */
  readonly #hiddenSeconds = new Map<number, number>();
  /** Since when each process has known the database's clock, by world time. */
  readonly #knownSinceMs = new Map<Counting, number>();
  #most = 0;
  #reported = 0;

  constructor(postgres: FakePostgres) {
    this.#postgres = postgres;
  }

  noteFirstMeasured(worker: Counting, worldMs: number): void {
    this.#knownSinceMs.set(worker, worldMs);
  }

  /** A tick was done; where it says what its slots stood at, its worker may count. */
  noteTick(worker: Counting, ticked: readonly SlotBefore[], { isCounted }: { readonly isCounted: boolean }): void {
    for (const { slot, rows } of ticked) {
      const seconds = this.#gapSeconds(worker, slot);
      const hidden = this.#hiddenSeconds.get(slot) ?? 0;
      if (isCounted) this.#most += (Math.ceil(seconds) + hidden) * rows;
      this.#hiddenSeconds.set(slot, isCounted ? 0 : hidden + Math.max(0, Math.round(seconds) - 1));
    }
  }

  noteReport(worker: Counting, missed: number): void {
    this.#reported += missed;
    if (this.#reported <= this.#most) return;
    const counted = `${worker.id} counted ${missed}, all together ${this.#reported}`;
    throw new Violation(`${counted} ticks as missed; at most ${this.#most} were`);
  }

  /**
   * Numbers that the clock skipped before a process measured it are beyond its knowledge: they count as a gap. The slot's former
   * owner may have given old numbers until it measured the clock again.
   */
  #gapSeconds(worker: Counting, slot: number): number {
    const stamp = this.#postgres.stamps.get(slot);
    if (stamp === undefined || stamp.before === null) return 0;
    const { before, newest } = stamp;
    const unknown = this.#postgres.stepsForward.filter(
      (step) =>
        step.atMs >= before.atMs - UNNOTICED_MS &&
        step.atMs <= newest.atMs &&
        step.atMs <= (this.#knownSinceMs.get(worker) ?? 0),
    );
    const skipped = unknown.reduce((sum, { seconds }) => sum + seconds, 0);
    // By a wrong clock, also for rows that had just come: they missed none of those seconds, and it counts them all the same.
    const late = before.late >= LATE_TICKS && before.late <= LATEST_TICKS ? before.late : 0;
    return (newest.atMs - before.atMs) / 1000 + skipped + late;
  }
}
