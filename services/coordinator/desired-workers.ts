/** How many workers the table's size asks for: what an autoscaler outside is told. Nothing here starts or ends a worker. */
export interface ScalingRule {
  /** Rows that one worker shall have at most, at least 1. */
  readonly rowsPerWorker: number;
  readonly minWorkers: number;
  /** At least `minWorkers`. */
  readonly maxWorkers: number;
}

/** A whole number within the rule's bounds. */
export function countDesiredWorkers(rows: number, rule: ScalingRule): number {
  const needed = Math.ceil(rows / rule.rowsPerWorker);
  return Math.min(rule.maxWorkers, Math.max(rule.minWorkers, needed));
}
