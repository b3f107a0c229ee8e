/** The services' log as `kubectl logs` prints it: one JSON object a line, of several pods one after the other. Pure. */
export interface LogLine {
  /** Epoch ms, of the clock of the node that the pod ran on. */
  readonly atMs: number;
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** What a worker says each second. */
export interface Watching {
  readonly worker: string;
  readonly tick: number;
  readonly ring: number;
  readonly ids: readonly string[];
}

/** By time. What is no log line (a crash's stack, a first line cut off) is left out. */
export function parseLog(text: string): LogLine[] {
  const lines = text.split('\n').flatMap((line) => {
    const parsed = parseObject(line);
    const atMs = typeof parsed?.time === 'string' ? Date.parse(parsed.time) : Number.NaN;
    return typeof parsed?.msg === 'string' && !Number.isNaN(atMs) ? [{ ...parsed, atMs, msg: parsed.msg }] : [];
  });
  return lines.sort((a, b) => a.atMs - b.atMs);
}

export function readWatching(lines: readonly LogLine[]): Watching[] {
  return lines.flatMap(({ msg, worker, tick, ring, ids }) => {
    const isWatching = msg === 'watching' && typeof worker === 'string' && Array.isArray(ids);
    return isWatching ? [{ worker, tick: Number(tick), ring: Number(ring), ids: ids.map(String) }] : [];
  });
}

/** Rows that each of these workers watches by its newest line; none while one of them has not spoken. */
export function newestShares(
  lines: readonly Watching[],
  workers: readonly string[],
): { readonly tick: number; readonly shares: ReadonlyMap<string, number> } | null {
  const newest = workers.map((worker) => lines.findLast((line) => line.worker === worker));
  const spoken = newest.flatMap((line) => (line === undefined ? [] : [line]));
  if (workers.length === 0 || spoken.length < workers.length) return null;
  const shares = new Map(spoken.map(({ worker, ids }) => [worker, ids.length]));
  return { tick: Math.min(...spoken.map(({ tick }) => tick)), shares };
}

/** Does everyone have its part of all rows, to the row? */
export function isEven(shares: readonly number[], rows: number): boolean {
  const sum = shares.reduce((total, share) => total + share, 0);
  return sum === rows && Math.max(...shares) - Math.min(...shares) <= 1;
}

function parseObject(line: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
