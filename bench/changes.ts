/**
 * What the table's triggers cost those who change it, beside the same table without them, and beside one with triggers that do
 * nothing: what Postgres takes to keep a statement's rows for any trigger that must see them. What is left of the inserts of
 * many clients, and how soon a leader finds them. And whether the count is exact afterwards, changes made while a worker
 * ticks. Run: `npm run bench:changes`; it ends by itself.
 */
import { integer, text, toggle } from '../shared/options/options.ts';
import { optionsOrExit } from '../shared/options/program.ts';
import { ComparedTables, SIDES, type Side } from './changes/compared-tables.ts';
import {
  type ConcurrentOutcome,
  describeConcurrentInserts,
  measureConcurrentInserts,
} from './changes/concurrent-inserts.ts';
import { connect, openPostgres } from './support/bench-postgres.ts';
import { formatNumber, toColumns, toMarkdown } from './support/markdown.ts';
import { outputOptions, say, writeResults } from './support/output.ts';
import { median } from './support/statistics.ts';
import { describeSurroundings, formatSurroundings } from './support/surroundings.ts';
import { barChart } from './support/svg.ts';

const COMMAND = 'npm run bench:changes';
const QUICK = { rows: 20_000, oneByOne: 300, repetitions: 3, seconds: 1, samples: 100 };

const given = await optionsOrExit({
  command: `${COMMAND} --`,
  purpose: 'Inserts, COPY, deletes and truncates with and without the triggers, and checks the counts.',
  options: {
    rows: integer({
      flag: 'rows',
      variable: 'BENCH_ROWS',
      describe: 'rows of a large statement',
      default: '1000000',
      min: 1_000,
      max: 100_000_000,
    }),
    oneByOne: integer({
      flag: 'one-by-one',
      variable: 'BENCH_ONE_BY_ONE',
      describe: 'rows inserted one by one',
      default: '1000',
      min: 10,
      max: 1_000_000,
    }),
    repetitions: integer({
      flag: 'repetitions',
      variable: 'BENCH_REPETITIONS',
      describe: 'how often each change is measured, in turn',
      default: '3',
      min: 1,
      max: 100,
    }),
    seconds: integer({
      flag: 'seconds',
      variable: 'BENCH_SECONDS',
      describe: 'how long many clients insert into each table, in turn',
      default: '3',
      min: 1,
      max: 600,
    }),
    samples: integer({
      flag: 'samples',
      variable: 'BENCH_SAMPLES',
      describe: 'inserts that a leader is to find',
      default: '300',
      min: 10,
      max: 100_000,
    }),
    concurrentOnly: toggle({
      flag: 'concurrent-only',
      variable: 'BENCH_CONCURRENT_ONLY',
      describe: 'only the inserts of many clients and the leader that finds them',
    }),
    database: text({
      flag: 'database',
      variable: 'BENCH_DATABASE_URL',
      describe: 'URL of a server to measure on, with the right to create databases',
      defaultText: 'an embedded one',
    }),
    ...outputOptions,
  },
  examples: [[`${COMMAND} -- --quick`, 'in half a minute']],
});
const options = given.quick ? { ...given, ...QUICK } : given;

type Change = (tables: ComparedTables, side: Side) => Promise<number>;
/** In this order: each finds what the one before left. */
const CHANGES: readonly (readonly [name: string, rows: number, change: Change])[] = [
  ['inserts one by one', options.oneByOne, (tables, side) => tables.insertOneByOne(side, options.oneByOne)],
  ['one insert of many', options.rows, (tables, side) => tables.insertAtOnce(side, options.rows)],
  ['a delete of every second', options.rows / 2, (tables, side) => tables.deleteHalf(side)],
  ['COPY from a client', options.rows, (tables, side) => tables.copy(side, options.rows)],
  ['TRUNCATE', 0, (tables, side) => tables.truncate(side)],
];

interface Outcome {
  readonly name: string;
  readonly rows: number;
  /** Medians. */
  readonly tookMs: Readonly<Record<Side, number>>;
  /** In times without triggers; medians of the repetitions' own ratios. */
  readonly slowdown: number;
  readonly emptySlowdown: number;
}

const postgres = await openPostgres(options.database);
say(`PostgreSQL ${postgres.version}${options.database === undefined ? ', embedded' : ''}`);
const database = await postgres.createDatabase();
const link = await connect(database.url, 'bench');
let concurrent: ConcurrentOutcome;
let outcomes: readonly Outcome[] = [];
let errors: readonly (readonly [string, number])[] = [];
try {
  const compared = await ComparedTables.make(database.url, link);
  const { repetitions, seconds, samples } = options;
  const settings = { url: database.url, postgresPid: postgres.pid, repetitions, seconds, samples, say };
  concurrent = await measureConcurrentInserts(compared, settings);
  if (!options.concurrentOnly) {
    outcomes = await measure(compared);
    errors = await check(compared);
  }
} finally {
  await link.close();
  await database.drop();
  await postgres.stop();
}
const around = describeSurroundings(COMMAND);
const tables = [
  ...describeConcurrentInserts(concurrent),
  {
    head: ['change', 'rows', 'without triggers, ms', 'with ones that do nothing', 'with ours', 'slower: those', 'ours'],
    rows: outcomes.map((one) => [
      one.name,
      formatNumber(one.rows),
      formatNumber(one.tookMs.bare, 1),
      formatNumber(one.tookMs.empty, 1),
      formatNumber(one.tookMs.adopted, 1),
      `${one.emptySlowdown.toFixed(2)}×`,
      `${one.slowdown.toFixed(2)}×`,
    ]),
  },
  {
    head: ['made while a worker ticks', 'slots with a wrong count'],
    rows: errors.map(([name, count]) => [name, formatNumber(count)]),
  },
];
process.stdout.write(`${tables.map(toColumns).join('\n\n')}\n`);
await writeResults(options, {
  json: { ...around, postgres: postgres.version, concurrent, outcomes, errors },
  markdown: `${formatSurroundings(around)} PostgreSQL ${postgres.version}.\n\n${tables.map(toMarkdown).join('\n\n')}\n`,
  svg: barChart(
    'Time with the triggers, in times without',
    outcomes.map(({ name, slowdown }) => ({ label: name, value: slowdown, text: slowdown.toFixed(2) })),
  ),
});
if (errors.some(([, count]) => count > 0)) process.exitCode = 1;

async function measure(tables: ComparedTables): Promise<Outcome[]> {
  const samples = CHANGES.map(() => [] as Record<Side, number>[]);
  for (let repetition = 0; repetition < options.repetitions; repetition += 1) {
    // Who goes first meets the colder caches.
    const sides = SIDES.map((_, index) => SIDES[(index + repetition) % SIDES.length]!);
    for (const [index, [name, , change]] of CHANGES.entries()) {
      say(`${repetition + 1} of ${options.repetitions}: ${name} …`);
      await tables.vacuum();
      const took: Record<Side, number> = { adopted: 0, empty: 0, bare: 0 };
      for (const side of sides) took[side] = await change(tables, side);
      samples[index]?.push(took);
    }
  }
  return CHANGES.map(([name, rows], index) => {
    const list = samples[index] ?? [];
    const medianOf = (side: Side) => median(list.map((took) => took[side]));
    return {
      name,
      rows,
      tookMs: { adopted: medianOf('adopted'), empty: medianOf('empty'), bare: medianOf('bare') },
      slowdown: median(list.map(({ adopted, bare }) => adopted / bare)),
      emptySlowdown: median(list.map(({ empty, bare }) => empty / bare)),
    };
  });
}

async function check(tables: ComparedTables): Promise<(readonly [string, number])[]> {
  const counted: (readonly [string, number])[] = [];
  for (const [name, , change] of CHANGES) {
    say(`while a worker ticks: ${name} …`);
    counted.push([name, await tables.countErrorsAfter(async () => void (await change(tables, 'adopted')))]);
  }
  return counted;
}
