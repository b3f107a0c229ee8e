/** What a list of measurements comes to. Pure. */

/** The value that `share` (0–1) of the values do not exceed; NaN of an empty list. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

/** Of an even number of values the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[sorted.length / 2 - 1] ?? Number.NaN)) / 2;
}

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** What a list of measurements is told by. Nearest rank: each figure is one that was measured. */
export interface Summary {
  readonly n: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/** Null: nothing was measured. */
export function summarize(values: readonly number[]): Summary | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const rank = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!;
  return { n: sorted.length, p50: rank(0.5), p90: rank(0.9), p99: rank(0.99), max: sorted.at(-1)! };
}

export interface Bin {
  readonly fromMs: number;
  readonly toMs: number;
  readonly count: number;
}

/**
 * Bins of equal width on a logarithmic scale, `perDecade` to each power of ten, over the whole range, empty ones included.
 * What lies below or above the range goes into the first or last bin.
 */
export function binLogarithmically(
  values: readonly number[],
  range: { readonly fromMs: number; readonly toMs: number; readonly perDecade: number },
): Bin[] {
  const { fromMs, toMs, perDecade } = range;
  const count = Math.round(Math.log10(toMs / fromMs) * perDecade);
  const edge = (index: number) => fromMs * 10 ** (index / perDecade);
  const counts = new Array<number>(count).fill(0);
  for (const value of values) {
    const index = Math.floor(Math.log10(Math.max(value, fromMs) / fromMs) * perDecade);
    counts[Math.min(count - 1, index)]! += 1;
  }
  return counts.map((one, index) => ({ fromMs: edge(index), toMs: edge(index + 1), count: one }));
}
