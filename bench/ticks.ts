/**
 * How many rows a second this project increments, next to what Postgres itself can do and to what most would write. One run,
 * one server, every way in turn. Run: `npm run bench:ticks`; it ends by itself.
 */
import { optionsOrExit } from '../shared/options/program.ts';
import { openNats } from './support/bench-nats.ts';
import { type BenchPostgres, connect, openPostgres } from './support/bench-postgres.ts';
import { toColumns, toMarkdown } from './support/markdown.ts';
import { say, writeResults } from './support/output.ts';
import { describeSurroundings, formatSurroundings } from './support/surroundings.ts';
import { Drivers } from './ticks/drivers.ts';
import { type FullSpeedResult, measureFullSpeed } from './ticks/full-speed.ts';
import { type Layout, MeasuredTable } from './ticks/measured-table.ts';
import { measureOneHertz, type OneHertzResult } from './ticks/one-hertz.ts';
import { ticksOptions } from './ticks/options.ts';
import { aloneTable, hertzTable, rateChart, rateTable } from './ticks/report.ts';

const COMMAND = 'npm run bench:ticks';
const QUICK = {
  rows: [1_000, 20_000],
  workers: [2],
  repetitions: 3,
  waySeconds: 0,
  aloneSeconds: 2,
  hertzRows: [10_000],
  hertzSeconds: 5,
};

const given = await optionsOrExit({
  command: `${COMMAND} --`,
  purpose: 'Measures ticks at full speed and at one a second, beside bare SQL on the same server.',
  options: ticksOptions,
  examples: [
    [`${COMMAND} -- --quick`, 'in under two minutes'],
    [`${COMMAND} -- --rows 100000 --workers 4 --hertz-rows 0`, 'one size, at full speed only'],
  ],
});
const options = given.quick ? { ...given, ...QUICK } : given;
const postgres = await openPostgres(options.database);
say(`PostgreSQL ${postgres.version}${options.database === undefined ? ', embedded' : ''}`);
const fullSpeed: FullSpeedResult[] = [];
const oneHertz: OneHertzResult[] = [];
try {
  for (const layout of options.layouts.split(',') as Layout[]) {
    for (const rows of options.rows.filter((size) => size > 0))
      fullSpeed.push(...(await measureSize(postgres, { rows, layout })));
  }
  await measurePaces(postgres);
} finally {
  await postgres.stop();
}
const around = describeSurroundings(COMMAND);
const tables = [rateTable(fullSpeed), aloneTable(fullSpeed), hertzTable(oneHertz)].filter(
  ({ rows }) => rows.length > 0,
);
process.stdout.write(`${tables.map(toColumns).join('\n\n')}\n`);
await writeResults(options, {
  json: { ...around, postgres: postgres.version, fullSpeed, oneHertz },
  markdown: `${formatSurroundings(around)} PostgreSQL ${postgres.version}.\n\n${tables.map(toMarkdown).join('\n\n')}\n`,
  svg: rateChart(fullSpeed),
});

async function measureSize(
  server: BenchPostgres,
  { rows, layout }: { readonly rows: number; readonly layout: Layout },
): Promise<FullSpeedResult[]> {
  const database = await server.createDatabase();
  const link = await connect(database.url, 'bench');
  const results: FullSpeedResult[] = [];
  try {
    say(`making ${rows} rows, ${layout} …`);
    const table = await MeasuredTable.make(link, { rows, layout });
    let firstTick = 1;
    for (const [index, workers] of options.workers.entries()) {
      const drivers = await Drivers.start(table, { url: database.url, workers, version: index + 1 });
      const measured = await measureFullSpeed({
        ...{ table, drivers, workers, layout, firstTick, postgresPid: server.pid },
        repetitions: options.repetitions,
        wayMs: options.waySeconds * 1000,
        aloneMs: options.aloneSeconds * 1000,
      });
      await drivers.stop();
      firstTick = measured.lastTick + 1;
      results.push(measured.result);
      const { oursToBare, oursToPlain } = measured.result;
      say(`  ${workers} workers: ${oursToBare.toFixed(2)} of bare, ${oursToPlain.toFixed(2)} of id = ANY`);
    }
  } finally {
    await link.close();
    await database.drop();
  }
  return results;
}

/** Up to the first size whose ticks are missed. One that fails does not take the results before it along. */
async function measurePaces(server: BenchPostgres): Promise<void> {
  for (const rows of options.hertzRows.filter((size) => size > 0)) {
    const nats = await openNats();
    const database = await server.createDatabase();
    try {
      say(`real services: ${rows} rows, ${options.hertzWorkers} workers, ${options.hertzSeconds} s …`);
      const { hertzWorkers: workers, hertzSeconds: seconds } = options;
      const result = await measureOneHertz({
        postgres: server,
        nats,
        databaseUrl: database.url,
        rows,
        workers,
        seconds,
      });
      oneHertz.push(result);
      say(`  missed ${result.missedTicks} ticks of ${rows * seconds}, ${result.doubleTicks} double`);
      if (result.missedTicks > 0) return;
    } catch (error) {
      say(`  failed: ${error instanceof Error ? error.message : String(error)}`);
      process.exitCode = 1;
      return;
    } finally {
      await nats.stop();
      await database.drop();
    }
  }
}
