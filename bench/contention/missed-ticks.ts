/**
 * Which missed ticks somebody could have done. Pure.
 *
 * The tick of second T is unavoidably missed for a row if the application kept the row's lock on purpose through all of
 * [T, T + 1): nobody could have written the row then. Only deliberate holds count. A transaction that waits for a row's lock keeps
 * its other locks longer than it wanted to, and that wait may be our fault.
 */
import type { RowFinding } from '../../services/cli/audit-log.ts';
import type { Hold } from './application-messages.ts';

export interface MissedTicks {
  /** Row-seconds. */
  readonly missed: number;
  readonly unavoidable: number;
  readonly avoidable: number;
  /** Of rows without any unavoidable second. */
  readonly missedByOthers: number;
  readonly double: number;
}

export function countMissed(findings: readonly RowFinding[], holds: readonly Hold[]): MissedTicks {
  const held = heldSeconds(holds);
  let [missed, unavoidable, missedByOthers, double] = [0, 0, 0, 0];
  for (const finding of findings) {
    const seconds = held.get(finding.id)?.size ?? 0;
    missed += finding.missed;
    unavoidable += Math.min(finding.missed, seconds);
    if (seconds === 0) missedByOthers += finding.missed;
    double += finding.double;
  }
  return { missed, unavoidable, avoidable: missed - unavoidable, missedByOthers, double };
}

/** By row: the seconds of the database's clock that one hold covers from beginning to end. */
function heldSeconds(holds: readonly Hold[]): Map<string, Set<number>> {
  const held = new Map<string, Set<number>>();
  for (const { ids, fromMs, toMs } of holds) {
    const first = Math.ceil(fromMs / 1000);
    const end = Math.floor(toMs / 1000);
    for (const id of end > first ? ids : []) {
      const seconds = held.get(id) ?? new Set();
      for (let second = first; second < end; second += 1) seconds.add(second);
      held.set(id, seconds);
    }
  }
  return held;
}
