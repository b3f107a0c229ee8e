import type { AuditedRow, AuditSample } from '../../services/cli/audit-log.ts';

/** Ticks that rows did not get, by the second from which on. */
export interface Gap {
  /** The first second missed, of the database's clock. */
  readonly fromSecond: number;
  /** Row-seconds. */
  readonly missed: number;
}

/**
 * When ticks were missed, not only how many: a gap is seen when it is over, which may be long after its cause has passed and
 * another trouble has begun.
 */
export class Gaps {
  #before: ReadonlyMap<string, AuditedRow> = new Map();

  /** The gaps that this sample shows to be over. Rows seen for the first time have none. */
  add(sample: AuditSample): Gap[] {
    const missedFrom = new Map<number, number>();
    for (const row of sample.rows) {
      const before = this.#before.get(row.id);
      const missed = before === undefined ? 0 : row.lastTick - before.lastTick - grownBy(before, row);
      if (before === undefined || missed <= 0) continue;
      const fromSecond = before.lastTick + 1;
      missedFrom.set(fromSecond, (missedFrom.get(fromSecond) ?? 0) + missed);
    }
    this.#before = new Map(sample.rows.map((row) => [row.id, row]));
    return [...missedFrom].map(([fromSecond, missed]) => ({ fromSecond, missed }));
  }
}

/** A value that was set back tells nothing: as if no tick were missed. */
function grownBy(before: AuditedRow, row: AuditedRow): number {
  const grown = (row.value ?? 0) - (before.value ?? 0);
  return grown < 0 ? row.lastTick - before.lastTick : grown;
}
