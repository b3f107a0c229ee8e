/**
 * What the table's triggers cost those who change it, beside the same table without them; and whether the count is exact
 * afterwards, changes made while a worker ticks. Run: `npm run bench:changes`; it ends by itself.
 */
import { integer, text } from '../shared/options/options.ts';
import { optionsOrExit } from '../shared/options/program.ts';
import { type Side, TablePair } from './changes/table-pair.ts';
import { connect, openPostgres } from './support/bench-postgres.ts';
import { formatNumber, toColumns, toMarkdown } from './support/markdown.ts';
import { outputOptions, say, writeResults } from './support/output.ts';
import { median } from './support/statistics.ts';
import { describeSurroundings, formatSurroundings } from './support/surroundings.ts';
import { barChart } from './support/svg.ts';

const COMMAND = 'npm run bench:changes';
const QUICK = { rows: 20_000, oneByOne: 300, repetitions: 3 };

const given = await optionsOrExit({
  command: `${COMMAND} --`,
  purpose: 'Inserts, deletes and truncates with and without the triggers, and checks the counts.',
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

type Change = (pair: TablePair, side: Side) => Promise<number>;
/** In this order: each finds what the one before left. */
const CHANGES: readonly (readonly [name: string, rows: number, change: Change])[] = [
  ['inserts one by one', options.oneByOne, (pair, side) => pair.insertOneByOne(side, options.oneByOne)],
  ['one insert of many', options.rows, (pair, side) => pair.insertAtOnce(side, options.rows)],
  ['a delete of every second', options.rows / 2, (pair, side) => pair.deleteHalf(side)],
  ['TRUNCATE', 0, (pair, side) => pair.truncate(side)],
];

interface Outcome {
  readonly name: string;
  readonly rows: number;
  readonly adoptedMs: number;
  readonly bareMs: number;
  /** Median of the repetitions' own ratios. */
  readonly slowdown: number;
}

const postgres = await openPostgres(options.database);
say(`PostgreSQL ${postgres.version}${options.database === undefined ? ', embedded' : ''}`);
const database = await postgres.createDatabase();
const link = await connect(database.url, 'bench');
let outcomes: readonly Outcome[] = [];
let errors: readonly (readonly [string, number])[] = [];
try {
  const pair = await TablePair.make(link);
  outcomes = await measure(pair);
  errors = await check(pair);
} finally {
  await link.close();
  await database.drop();
  await postgres.stop();
}
const around = describeSurroundings(COMMAND);
const tables = [
  {
    head: ['change', 'rows', 'with triggers, ms', 'without, ms', 'slower'],
    rows: outcomes.map((one) => [
      one.name,
      formatNumber(one.rows),
      formatNumber(one.adoptedMs, 1),
      formatNumber(one.bareMs, 1),
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
  json: { ...around, postgres: postgres.version, outcomes, errors },
  markdown: `${formatSurroundings(around)} PostgreSQL ${postgres.version}.\n\n${tables.map(toMarkdown).join('\n\n')}\n`,
  svg: barChart(
    'Time with the triggers, in times without',
    outcomes.map(({ name, slowdown }) => ({ label: name, value: slowdown, text: slowdown.toFixed(2) })),
  ),
});
if (errors.some(([, count]) => count > 0)) process.exitCode = 1;

async function measure(pair: TablePair): Promise<Outcome[]> {
  const samples = CHANGES.map(() => [] as { adopted: number; bare: number }[]);
  for (let repetition = 0; repetition < options.repetitions; repetition += 1) {
    for (const [index, [name, , change]] of CHANGES.entries()) {
      say(`${repetition + 1} of ${options.repetitions}: ${name} …`);
      await pair.vacuum();
      // Who goes first meets the colder caches.
      const isBareFirst = repetition % 2 === 0;
      const first = await change(pair, isBareFirst ? 'bare' : 'adopted');
      const second = await change(pair, isBareFirst ? 'adopted' : 'bare');
      samples[index]?.push(isBareFirst ? { adopted: second, bare: first } : { adopted: first, bare: second });
    }
  }
  return CHANGES.map(([name, rows], index) => {
    const list = samples[index] ?? [];
    return {
      name,
      rows,
      adoptedMs: median(list.map(({ adopted }) => adopted)),
      bareMs: median(list.map(({ bare }) => bare)),
      slowdown: median(list.map(({ adopted, bare }) => adopted / bare)),
    };
  });
}

async function check(pair: TablePair): Promise<(readonly [string, number])[]> {
  const counted: (readonly [string, number])[] = [];
  for (const [name, , change] of CHANGES) {
    say(`while a worker ticks: ${name} …`);
    counted.push([name, await pair.countErrorsAfter(async () => void (await change(pair, 'adopted')))]);
  }
  return counted;
}
