import type { AuditSample } from '../../services/cli/audit-log.ts';
import type { InspectedRow } from '../../shared/postgres/inspection.ts';

/** Ticks that rows did not get, by the second from which on. */
export interface Gap {
  /** The first second missed, of the database's clock. */
  readonly fromSecond: number;
  /** Row-seconds. */
  readonly missed: number;
}

interface Seen {
  readonly value: number;
  /** Ticks are owed from the one after this on. */
  readonly tick: number;
}

/** A slot ticked in this second or the one before is up to date: workers' phases differ. */
const FRESH_TICKS = 2;

/**
 * When ticks were missed, not only how many: a gap is seen when it is over, which may be long after its cause has passed and
 * another trouble has begun.
 */
export class Gaps {
  #seen: ReadonlyMap<string, Seen> = new Map();

  /** The gaps that this sample shows to be over. */
  add(sample: AuditSample): Gap[] {
    const missedFrom = new Map<number, number>();
    const seen = new Map<string, Seen>();
    for (const row of sample.rows) {
      const before = this.#seen.get(row.id);
      const now = before === undefined ? begin(row, sample) : goOn(before, row);
      seen.set(row.id, now);
      const missed = before === undefined ? 0 : now.tick - before.tick - (now.value - before.value);
      // A value that was set back tells nothing.
      if (before === undefined || missed <= 0 || now.value < before.value) continue;
      const fromSecond = before.tick + 1;
      missedFrom.set(fromSecond, (missedFrom.get(fromSecond) ?? 0) + missed);
    }
    this.#seen = seen;
    return [...missedFrom].map(([fromSecond, missed]) => ({ fromSecond, missed }));
  }
}

/** A new row's slot may have been empty for long: its ticks are owed from this second on. */
function begin(row: InspectedRow, sample: AuditSample): Seen {
  const second = Math.floor(sample.atSeconds);
  return { value: row.value ?? 0, tick: row.lastTick >= second - FRESH_TICKS ? row.lastTick : second };
}

function goOn(before: Seen, row: InspectedRow): Seen {
  return { value: row.value ?? 0, tick: Math.max(before.tick, row.lastTick) };
}
