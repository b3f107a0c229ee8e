/**
 * Keeps every row count possible: a whole number from 0 to `SLOT_ROWS_MAX` in each slot, and `rows` their sum. Assignment,
 * snapshots, `table.size` and metrics rely on that.
 *
 * What the table's triggers report can contradict a count: rows were written while triggers were off, or by a restore.
 */

/** The most that an assignment can weigh, see assignment.ts. */
const SLOT_ROWS_MAX = 2 ** 32;

export interface RowCount {
  /** Rows per slot. */
  readonly weights: Float64Array;
  readonly rows: number;
}

/**
 * The count after these changes; the count before is not written over.
 * @returns `isPossible` false: some slot's count came out impossible, or a slot does not exist. The count is then the
 * nearest possible one, an estimate.
 */
export function addDeltas(
  before: RowCount,
  deltas: readonly { readonly slot: number; readonly delta: number }[],
): RowCount & { readonly isPossible: boolean } {
  if (deltas.length === 0) return { ...before, isPossible: true };
  const weights = before.weights.slice();
  let { rows } = before;
  let isPossible = true;
  for (const { slot, delta } of deltas) {
    const weight = weights[slot];
    if (weight === undefined) {
      isPossible = false;
      continue;
    }
    const sum = weight + delta;
    const possible = toPossible(sum, weight);
    isPossible &&= possible === sum;
    weights[slot] = possible;
    rows += possible - weight;
  }
  return { weights, rows, isPossible };
}

/** A count of the table itself. To count again would say the same, so an impossible number is cut off at the bounds. */
export function possibleCount(counted: Float64Array): RowCount {
  const weights = counted.map((rows) => toPossible(rows, 0));
  return { weights, rows: weights.reduce((sum, rows) => sum + rows, 0) };
}

function toPossible(rows: number, otherwise: number): number {
  return Number.isFinite(rows) ? Math.min(SLOT_ROWS_MAX, Math.max(0, Math.trunc(rows))) : otherwise;
}
