/**
 * How evenly, and with how little movement, keys are shared out: this project's assignment against the libraries that people
 * take from npm, with the same keys and workers. Run: `npm run bench:assignment`; it ends by itself.
 */
import { integer } from '../shared/options/options.ts';
import { optionsOrExit } from '../shared/options/program.ts';
import { compare, type Moved, type Outcome } from './assignment/comparison.ts';
import { loadPeers } from './assignment/peers.ts';
import { MODULO, OURS, slotsOf } from './assignment/strategy.ts';
import { formatNumber, type Table, toColumns, toMarkdown } from './support/markdown.ts';
import { outputOptions, say, writeResults } from './support/output.ts';
import { seededUuids } from './support/seeded-uuids.ts';
import { describeSurroundings, formatSurroundings } from './support/surroundings.ts';
import { barChart } from './support/svg.ts';

const COMMAND = 'npm run bench:assignment';
const QUICK_KEYS = 3_000;

const options = await optionsOrExit({
  command: `${COMMAND} --`,
  purpose: 'Shares the same keys out by this project and by libraries from npm, and counts what moves.',
  options: {
    keys: integer({
      flag: 'keys',
      variable: 'BENCH_KEYS',
      describe: `keys to share out; ${QUICK_KEYS} with --quick`,
      default: '20000',
      min: 100,
      max: 1_000_000,
    }),
    workers: integer({
      flag: 'workers',
      variable: 'BENCH_WORKERS',
      describe: 'workers to share them out among',
      default: '10',
      min: 2,
      max: 200,
    }),
    ...outputOptions,
  },
  examples: [[`${COMMAND} -- --keys 100000`, 'as many as in docs/performance.md']],
});

const keys = seededUuids(options.quick ? QUICK_KEYS : options.keys);
const workers = Array.from(
  { length: options.workers },
  (_, index) => `worker-7c9f-${index.toString(36).padStart(3, 'a')}`,
);
// Before the clock runs: in the product it is Postgres that knows them.
slotsOf(keys);
const outcomes: Outcome[] = [];
for (const strategy of [OURS, ...(await loadPeers()), MODULO]) {
  say(`${strategy.name}: ${keys.length} keys, ${workers.length} workers …`);
  outcomes.push(compare(strategy, keys, workers));
}

const around = describeSurroundings(COMMAND);
const table = makeTable(outcomes);
process.stdout.write(`${toColumns(table)}\n`);
await writeResults(options, {
  json: { ...around, keys: keys.length, workers: workers.length, outcomes },
  markdown: `${formatSurroundings(around)}\n\n${toMarkdown(table)}\n`,
  svg: barChart(
    `Most keys on one worker, above the mean (${keys.length} keys, ${workers.length} workers)`,
    outcomes.map(({ name, spread }) => {
      const percent = (spread.fullest - 1) * 100;
      return { label: name, value: percent, text: `${percent.toFixed(1)} %` };
    }),
  ),
});

function makeTable(list: readonly Outcome[]): Table {
  return {
    head: [
      'library',
      'max/mean',
      'max − min',
      'join: moved/minimum',
      'leave: moved/minimum',
      'rolling replacement',
      'max/mean after it',
      'ms',
    ],
    rows: list.map((one) => [
      `${one.name} (${one.note})`,
      one.spread.fullest.toFixed(3),
      formatNumber(one.spread.range),
      formatMoved(one.join),
      formatMoved(one.leave),
      formatMoved(one.rollingReplacement),
      one.spreadAfter.fullest.toFixed(3),
      formatNumber(one.ms, one.ms < 10 ? 1 : 0),
    ]),
  };
}

function formatMoved({ keys: count, minimum }: Moved): string {
  return `${formatNumber(count)}/${formatNumber(minimum)} = ${(count / minimum).toFixed(2)}`;
}
