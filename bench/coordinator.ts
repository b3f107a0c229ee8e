/**
 * What a coordinator takes with many workers: up to a thousand liveness keys, held by one process on a real NATS, and how long
 * from an event to the snapshot that answers it. Run: `npm run bench:coordinator`; it ends by itself.
 */
import { integer } from '../shared/options/options.ts';
import { optionsOrExit } from '../shared/options/program.ts';
import { type CoordinatorFigures, measureCoordinator } from './coordinator/measure-coordinator.ts';
import { openPostgres } from './support/bench-postgres.ts';
import { formatNumber, toColumns, toMarkdown } from './support/markdown.ts';
import { numbers } from './support/numbers-option.ts';
import { outputOptions, writeResults } from './support/output.ts';
import { quantile } from './support/statistics.ts';
import { describeSurroundings, formatSurroundings } from './support/surroundings.ts';
import { lineChart } from './support/svg.ts';

const COMMAND = 'npm run bench:coordinator';
const QUICK = { workers: [50, 100], seconds: 5, events: 5 };

const given = await optionsOrExit({
  command: `${COMMAND} --`,
  purpose: 'Measures one coordinator with many simulated workers.',
  options: {
    workers: numbers({
      flag: 'workers',
      variable: 'BENCH_WORKERS',
      describe: 'numbers of simulated workers',
      default: '250,500,1000',
    }),
    rows: number('rows', 'BENCH_ROWS', 'rows in the table', '100000', 10_000_000),
    seconds: number('seconds', 'BENCH_SECONDS', 'how long nothing happens but renewals', '15', 3_600),
    events: number('events', 'BENCH_EVENTS', 'leaves, and as many joins', '20', 1_000),
    ...outputOptions,
  },
  examples: [[`${COMMAND} -- --quick`, 'fifty and a hundred workers, in under a minute']],
});
const options = given.quick ? { ...given, ...QUICK } : given;
const postgres = await openPostgres(undefined);
const results: CoordinatorFigures[] = [];
try {
  for (const workers of options.workers) results.push(await measureCoordinator(postgres, { ...options, workers }));
} finally {
  await postgres.stop();
}
const surroundings = describeSurroundings(COMMAND);
const lines: readonly (readonly [string, (figures: CoordinatorFigures) => string])[] = [
  ['coordinator, of one core', ({ coordinatorLoad }) => `${formatNumber(coordinatorLoad * 100)} %`],
  ['NATS, of one core', ({ natsLoad }) => `${formatNumber(natsLoad * 100)} %`],
  ['coordinator, MB', ({ coordinatorMb }) => formatNumber(coordinatorMb)],
  ['snapshot, bytes', ({ snapshotBytes }) => formatNumber(snapshotBytes)],
  ['leave → snapshot, ms: p50, max', ({ leaveMs }) => formatTimes(leaveMs)],
  ['join → snapshot, ms: p50, max', ({ joinMs }) => formatTimes(joinMs)],
  ['renewals that failed', ({ failedRenewals }) => formatNumber(failedRenewals)],
  ['snapshots while nothing happened', ({ idleSnapshots }) => formatNumber(idleSnapshots)],
];
const table = {
  head: [`workers, for ${formatNumber(options.rows)} rows`, ...results.map(({ workers }) => formatNumber(workers))],
  rows: lines.map(([what, write]) => [what, ...results.map(write)]),
};
process.stdout.write(`${toColumns(table)}\n`);
const points = (pick: (figures: CoordinatorFigures) => number) =>
  results.map((figures) => ({ x: figures.workers, y: pick(figures) }));
await writeResults(options, {
  json: { ...surroundings, rows: options.rows, results },
  markdown: `${formatSurroundings(surroundings)}\n\n${toMarkdown(table)}\n`,
  svg: lineChart({
    title: 'What a coordinator takes, by the number of workers',
    xLabel: 'workers',
    xScale: 'linear',
    series: [
      { label: 'coordinator, % of a core', points: points(({ coordinatorLoad }) => coordinatorLoad * 100) },
      { label: 'NATS, % of a core', points: points(({ natsLoad }) => natsLoad * 100) },
      { label: 'snapshot, KiB', points: points(({ snapshotBytes }) => snapshotBytes / 1024) },
    ],
    formatX: formatNumber,
    formatY: formatNumber,
  }),
});

function formatTimes(times: readonly number[]): string {
  return `${quantile(times, 0.5).toFixed(0)}, ${Math.max(...times).toFixed(0)}`;
}

function number(flag: string, variable: string, describe: string, preset: string, max: number) {
  return integer({ flag, variable, describe, default: preset, min: 1, max });
}
