/** Memory over time: does it grow for as long as the process lives? */
export interface MemorySample {
  readonly atMs: number;
  readonly bytes: number;
}

export interface MemoryTrend {
  /** How long the samples that count span. */
  readonly minutes: number;
  readonly firstMb: number;
  readonly lastMb: number;
  readonly mostMb: number;
  /** Of the line of least squares through the samples that count; null: they span too little to say. */
  readonly slopeMbPerHour: number | null;
}

const MB = 1024 * 1024;
const HOUR_MS = 3_600_000;
const FEWEST_SAMPLES = 3;
/** In less, one garbage collection looks like gigabytes an hour. */
const SHORTEST_SPAN_MINUTES = 5;

/**
 * The trend of one process. What its first minutes show is its start, code being loaded and compiled: a third of its life,
 * five minutes at most, is left out.
 */
export function trendOf(samples: readonly MemorySample[]): MemoryTrend | null {
  const [first] = samples;
  const last = samples.at(-1);
  if (first === undefined || last === undefined) return null;
  const warmUpMs = Math.min(5 * 60_000, (last.atMs - first.atMs) / 3);
  const counted = samples.filter(({ atMs }) => atMs >= first.atMs + warmUpMs);
  const start = counted[0] ?? last;
  const minutes = (last.atMs - start.atMs) / 60_000;
  const points = counted.map(({ atMs, bytes }) => ({ atMs, value: bytes / MB }));
  return {
    minutes,
    firstMb: start.bytes / MB,
    lastMb: last.bytes / MB,
    mostMb: Math.max(...counted.map(({ bytes }) => bytes)) / MB,
    slopeMbPerHour: minutes < SHORTEST_SPAN_MINUTES ? null : slopePerHour(points),
  };
}

/** By least squares; null where the points do not make a line. */
export function slopePerHour(points: readonly { readonly atMs: number; readonly value: number }[]): number | null {
  if (points.length < FEWEST_SAMPLES) return null;
  const meanMs = mean(points.map(({ atMs }) => atMs));
  const meanValue = mean(points.map(({ value }) => value));
  let covariance = 0;
  let variance = 0;
  for (const { atMs, value } of points) {
    covariance += (atMs - meanMs) * (value - meanValue);
    variance += (atMs - meanMs) ** 2;
  }
  return variance === 0 ? null : (covariance / variance) * HOUR_MS;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
