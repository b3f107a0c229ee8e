/**
 * What an application and the ticks do to each other on one table: the application's speed without and with Notifi-Scaler, and
 * the ticks that are missed meanwhile. Real servers and processes. Run: `npm run bench:contention`; it ends by itself.
 *
 * Without and with are measured at the same time, on two tables with the same rows: a machine that does something else meanwhile
 * slows both alike. The adopted table is measured before its adoption too, with no service running.
 *
 * Exit code 1 when a row was ticked twice or the table did not come to rest; with `--strict` also when a target was missed.
 */
import { optionsOrExit } from '../shared/options/program.ts';
import { TableAuditor } from '../test/support/table-auditor.ts';
import { Application, type Applications, runBoth } from './contention/application.ts';
import type { ApplicationRun } from './contention/application-messages.ts';
import { ContentionFleet } from './contention/fleet.ts';
import { type MeasuredRun, measureWorkload } from './contention/measurement.ts';
import { COMMAND, contentionProgram } from './contention/options.ts';
import { figuresTable, throughputChart, verdictsTable } from './contention/report.ts';
import { makeApplicationTable } from './contention/tables.ts';
import { judge, speedOf, throughputRatio, type WorkloadResult } from './contention/verdicts.ts';
import type { Workload } from './contention/workloads.ts';
import { openNats } from './support/bench-nats.ts';
import { openPostgres } from './support/bench-postgres.ts';
import { compiled } from './support/compiled-services.ts';
import { toColumns, toMarkdown } from './support/markdown.ts';
import { say, writeResults } from './support/output.ts';
import { describeSurroundings, formatSurroundings } from './support/surroundings.ts';

const QUICK = { rows: 500, workers: 2, seconds: 2 };
const WARM_UP_SECONDS = 1;

const given = await optionsOrExit(contentionProgram);
const options = given.quick ? { ...given, ...QUICK } : given;
const { rows, workers, seconds, workloads } = options;
// Before anything is measured: it takes the processor for some seconds.
await compiled('services/worker/main.js');
const postgres = await openPostgres(options.database);
say(`PostgreSQL ${postgres.version}${options.database === undefined ? ', embedded' : ''}`);
const results = await measure().finally(() => postgres.stop());
await report(results);
const isBroken = results.some(({ double, unrest }) => double > 0 || unrest !== null);
const isMissed = results.some((result) => judge(result).some(({ isMet }) => !isMet));
if (isBroken || (options.strict && isMissed)) process.exitCode = 1;

async function measure(): Promise<WorkloadResult[]> {
  const closers: (() => Promise<void>)[] = [];
  try {
    const adopted = await openApplication(closers);
    const applications = { adopted: adopted.application, bare: (await openApplication(closers)).application };
    const before = await measureBefore(applications);
    return await measureWith(applications, { closers, databaseUrl: adopted.databaseUrl, before });
  } finally {
    for (const close of closers.reverse()) await close();
  }
}

/** The application with a table of its own, in a database of its own. */
async function openApplication(closers: (() => Promise<void>)[]) {
  const database = await postgres.createDatabase();
  closers.push(() => database.drop());
  await makeApplicationTable(database.url, rows);
  const application = await Application.start(database.url);
  closers.push(() => application.stop());
  return { application, databaseUrl: database.url };
}

/** @returns by workload: the table that is adopted later. */
async function measureBefore(applications: Applications): Promise<ReadonlyMap<Workload, ApplicationRun>> {
  await runBoth(applications, workloads[0]!.key, WARM_UP_SECONDS);
  const runs = new Map<Workload, ApplicationRun>();
  for (const workload of workloads) {
    const { adopted } = await runBoth(applications, workload.key, seconds / 2);
    say(`before adoption, ${workload.key}: ${adopted.throughput.toFixed(1)} transactions/s`);
    runs.set(workload, adopted);
  }
  return runs;
}

async function measureWith(
  applications: Applications,
  around: {
    readonly closers: (() => Promise<void>)[];
    readonly databaseUrl: string;
    readonly before: ReadonlyMap<Workload, ApplicationRun>;
  },
): Promise<WorkloadResult[]> {
  const { closers, databaseUrl, before } = around;
  say(`starting a coordinator and ${workers} workers for ${rows} rows`);
  const nats = await openNats();
  closers.push(() => nats.stop());
  const fleet = await ContentionFleet.start({ natsUrl: nats.url, databaseUrl, workers });
  closers.push(() => fleet.stop());
  const auditor = await TableAuditor.open(databaseUrl, new AbortController().signal);
  closers.push(() => auditor.close());
  const measured: WorkloadResult[] = [];
  for (const workload of workloads) {
    const run = await measureWorkload({ applications, fleet, auditor }, workload, seconds);
    const result = conclude(workload, run, before.get(workload)!);
    const figures = `${throughputRatio(result).toFixed(2)} of the throughput, ${run.missed} ticks missed`;
    say(`with Notifi-Scaler, ${workload.key}: ${figures}, ${run.evictions} evictions`);
    measured.push(result);
  }
  return measured;
}

function conclude({ key, isRowLocked }: Workload, measured: MeasuredRun, before: ApplicationRun): WorkloadResult {
  const { runs, ...figures } = measured;
  return {
    ...{ workload: key, isRowLocked, rows, seconds },
    before: speedOf(before),
    without: speedOf(runs.bare),
    with: speedOf(runs.adopted),
    killed: runs.adopted.killed,
    ...figures,
  };
}

async function report(all: readonly WorkloadResult[]): Promise<void> {
  const around = describeSurroundings(COMMAND);
  const tables = [figuresTable(all), verdictsTable(all)];
  process.stdout.write(`${tables.map(toColumns).join('\n\n')}\n`);
  for (const { workload, unrest } of all) if (unrest !== null) say(`${workload}: the table is not at rest ${unrest}`);
  const head = `${formatSurroundings(around)} PostgreSQL ${postgres.version}.`;
  const verdicts = all.map((result) => ({
    workload: result.workload,
    ratio: throughputRatio(result),
    verdicts: judge(result),
  }));
  await writeResults(options, {
    json: { ...around, postgres: postgres.version, rows, workers, seconds, results: all, verdicts },
    markdown: `${head}\n\n${tables.map(toMarkdown).join('\n\n')}\n`,
    svg: throughputChart(all),
  });
}
