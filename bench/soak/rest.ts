import type { AuditSample } from '../../services/cli/audit-log.ts';
import { isUneven } from '../../shared/ring/assignment.ts';

/** A slot ticked in this second or the two before is up to date: workers' phases differ, and samples take time. */
const FRESH_TICKS = 3;

/**
 * Why the system is not at rest, null: it is. At rest every row was ticked just now, by a worker that runs, and all that run
 * share the rows evenly.
 */
export function describeUnrest(sample: AuditSample, running: readonly string[]): string | null {
  const expected = [...running].sort().join(', ');
  const owners = [...sample.workers].sort().join(', ');
  if (owners !== expected) return `the fence names ${owners || 'nobody'}; there are ${expected}`;
  const stale = sample.rows.filter(({ lastTick }) => Math.floor(sample.atSeconds) - lastTick > FRESH_TICKS);
  if (stale.length > 0) return `${stale.length} of ${sample.rows.length} rows are not ticked`;
  const shares = new Map(running.map((worker) => [worker, 0]));
  for (const { owner } of sample.rows) if (owner !== null) shares.set(owner, (shares.get(owner) ?? 0) + 1);
  const counts = [...shares.values()];
  return isUneven(counts) ? `shares are uneven: ${counts.join(', ')}` : null;
}
