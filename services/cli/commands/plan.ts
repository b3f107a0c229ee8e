import { TableWatch } from '../../../shared/postgres/table-watch.ts';
import { assign, measureMovement, rowsPerWorker } from '../../../shared/ring/assignment.ts';
import { possibleCount } from '../../../shared/ring/row-count.ts';
import { toAssignment } from '../../../shared/ring/snapshot.ts';
import { type CommandContext, CommandError } from '../context.ts';
import { formatTable } from '../output.ts';
import { readNewestIssued } from './ring.ts';

export interface PlanChange {
  readonly join: number;
  readonly leave: readonly string[];
  /** As if the table had this many rows; null: as many as it has. */
  readonly rows: number | null;
}

/** What the next ring would be. Changes nothing. */
export async function planRing(context: CommandContext, change: PlanChange): Promise<number> {
  const snapshot = await readNewestIssued(context);
  const { postgres, table, adoption } = await context.adopted();
  const { weights: counted } = possibleCount((await new TableWatch(postgres, table, adoption).count()).weights);
  const weights = change.rows === null ? counted : resize(counted, change.rows);
  const present = snapshot.workers.map(({ id }) => id);
  for (const id of change.leave) {
    if (!present.includes(id))
      throw new CommandError(`--leave ${id}: no such worker in the ring; it has ${present.join(', ')}`);
  }
  const staying = present.filter((id) => !change.leave.includes(id));
  const workers = [...staying, ...nameNewcomers(present, change.join)];
  const input = { weights, workers, previous: toAssignment(snapshot) };
  const next = assign(input);
  const moved = measureMovement(input, next);
  const shares = rowsPerWorker(next, weights);
  const before = new Map(snapshot.workers.map(({ id, rows }) => [id, rows]));
  const result = {
    ring: snapshot.version,
    rows: weights.reduce((sum, weight) => sum + weight, 0),
    moved,
    workers: next.workers.map((id, index) => ({ id, before: before.get(id) ?? 0, after: shares[index] ?? 0 })),
  };
  context.output.result(result, () =>
    [
      `after ring ${snapshot.version}, with ${workers.length} workers and ${result.rows} rows:`,
      `${moved.rows} rows would move (at least ${moved.minimumRows} must), in ${moved.slots} slots`,
      formatTable(
        ['worker', 'rows now', 'rows then'],
        result.workers.map(({ id, before, after }) => [id, before, after]),
      ),
    ].join('\n'),
  );
  return 0;
}

function nameNewcomers(present: readonly string[], count: number): string[] {
  const names: string[] = [];
  for (let number = 1; names.length < count; number += 1) {
    const name = `new-${number}`;
    if (!present.includes(name)) names.push(name);
  }
  return names;
}

/** More rows fall on slots as a hash would spread them; fewer are taken as evenly. The same call plans the same. */
function resize(counted: Float64Array, rows: number): Float64Array {
  const weights = counted.slice();
  let total = weights.reduce((sum, weight) => sum + weight, 0);
  let state = 1;
  while (total !== rows) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const slot = Math.floor((state / 2 ** 32) * weights.length);
    const weight = weights[slot] ?? 0;
    if (total > rows && weight === 0) continue;
    weights[slot] = total < rows ? weight + 1 : weight - 1;
    total += total < rows ? 1 : -1;
  }
  return weights;
}
