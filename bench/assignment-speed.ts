/**
 * How long one assignment takes. Run: `node --import tsx bench/assignment-speed.ts [rounds]`; it ends by itself.
 *
 * Each round has another table and other workers, in one warm process. The first rounds, before the code is compiled, are
 * not counted; a coordinator's first assignment takes about twice as long.
 */
import { type Assignment, assign, measureMovement, rowsPerWorker } from '../shared/ring/assignment.ts';
import { hashedTable } from '../test/support/assignment-oracle.ts';

const ROUNDS = Number(process.argv[2] ?? 20);
const WARM_UP_ROUNDS = 3;

interface Size {
  readonly workers: number;
  readonly slots: number;
  /** The mean of the rows a slot has; `single`: exactly one in each. */
  readonly rowsPerSlot: number | 'single';
}

interface Sample {
  readonly ms: number;
  readonly rows: number;
  readonly minimumRows: number;
  /** The fullest worker's rows, in means. */
  readonly fullest: number;
}

const SIZES: readonly Size[] = [
  { workers: 3, slots: 4096, rowsPerSlot: 0.01 },
  { workers: 20, slots: 4096, rowsPerSlot: 25 },
  { workers: 400, slots: 4096, rowsPerSlot: 25 },
  { workers: 6000, slots: 65_536, rowsPerSlot: 15 },
  { workers: 10_000, slots: 65_536, rowsPerSlot: 'single' },
  { workers: 10_000, slots: 65_536, rowsPerSlot: 0.5 },
  { workers: 10_000, slots: 65_536, rowsPerSlot: 1.5 },
  { workers: 10_000, slots: 65_536, rowsPerSlot: 15 },
  { workers: 10_000, slots: 65_536, rowsPerSlot: 150 },
];

function sample(
  weights: readonly number[],
  workers: readonly string[],
  previous: Assignment | null,
): [Assignment, Sample] {
  const input = { weights, workers, previous };
  const startedAt = performance.now();
  const next = assign(input);
  const ms = performance.now() - startedAt;
  const rows = rowsPerWorker(next, weights);
  const total = rows.reduce((sum, count) => sum + count, 0);
  return [next, { ms, ...measureMovement(input, next), fullest: (Math.max(...rows) * rows.length) / total }];
}

function measure(size: Size): Map<string, Sample[]> {
  const samples = new Map<string, Sample[]>();
  for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round += 1) {
    const { slots, rowsPerSlot } = size;
    const isSingle = rowsPerSlot === 'single';
    const weights = isSingle
      ? new Array<number>(slots).fill(1)
      : hashedTable({ slots, rows: Math.round(slots * rowsPerSlot), seed: round });
    const all = Array.from(
      { length: size.workers + 1 },
      (_, index) => `worker-${round + 100}c9f-${index.toString(36)}`,
    );
    const gone = Math.floor(((round + WARM_UP_ROUNDS) * 0.618 * size.workers) % size.workers);
    const [before, cold] = sample(weights, all.slice(0, -1), null);
    const [, join] = sample(weights, all, before);
    const [, leave] = sample(
      weights,
      all.slice(0, -1).filter((_, index) => index !== gone),
      before,
    );
    const [, again] = sample(weights, all.slice(0, -1), before);
    if (round < 0) continue;
    for (const [name, one] of Object.entries({ cold, join, leave, again })) {
      samples.set(name, [...(samples.get(name) ?? []), one]);
    }
  }
  return samples;
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

print('workers  slots rows/slot  case  |  p50 ms  p99 ms  max ms | moved/minimum  fullest/mean (worst)');
for (const size of SIZES) {
  for (const [name, list] of measure(size)) {
    const ms = list.map((one) => one.ms);
    const moved = list.reduce((sum, one) => sum + one.rows, 0);
    const minimum = list.reduce((sum, one) => sum + one.minimumRows, 0);
    const times = [quantile(ms, 0.5), quantile(ms, 0.99), Math.max(...ms)].map((value) => value.toFixed(1).padStart(7));
    const table = [`${size.workers}`.padStart(7), `${size.slots}`.padStart(6), `${size.rowsPerSlot}`.padStart(9)];
    const ratio = minimum === 0 ? '–' : (moved / minimum).toFixed(2);
    const fullest = Math.max(...list.map((one) => one.fullest)).toFixed(4);
    print(`${table.join(' ')}  ${name.padEnd(5)} | ${times.join(' ')} | ${ratio.padStart(13)}  ${fullest}`);
  }
}
