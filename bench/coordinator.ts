/**
 * What a coordinator takes with many workers: a thousand liveness keys, held by one process on a real NATS, and how long from
 * an event to the snapshot that answers it. Run: `npm run bench:coordinator`; it ends by itself.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { SnapshotStream } from '../shared/nats/snapshot-stream.ts';
import { integer } from '../shared/options/options.ts';
import { optionsOrExit } from '../shared/options/program.ts';
import { addRows } from '../shared/postgres/rows.ts';
import { encodeSnapshot, type Snapshot } from '../shared/ring/snapshot.ts';
import { SimulatedWorkers } from './coordinator/simulated-workers.ts';
import { openNats } from './support/bench-nats.ts';
import { connect, openPostgres } from './support/bench-postgres.ts';
import { cpuMsOfTree, residentMb } from './support/cpu.ts';
import { formatNumber, toColumns, toMarkdown } from './support/markdown.ts';
import { outputOptions, say, writeResults } from './support/output.ts';
import { median, quantile } from './support/statistics.ts';
import { describeSurroundings, formatSurroundings } from './support/surroundings.ts';
import { barChart } from './support/svg.ts';
import { NAMES } from './ticks/measured-table.ts';
import { BenchService } from './ticks/services.ts';

const COMMAND = 'npm run bench:coordinator';
const QUICK = { workers: 100, seconds: 5, events: 5 };
const SETTLE_LIMIT_MS = 120_000;
const EVENT_LIMIT_MS = 10_000;

const given = await optionsOrExit({
  command: `${COMMAND} --`,
  purpose: 'Measures one coordinator with many simulated workers.',
  options: {
    workers: number('workers', 'BENCH_WORKERS', 'simulated workers', '1000', 10_000),
    rows: number('rows', 'BENCH_ROWS', 'rows in the table', '100000', 10_000_000),
    seconds: number('seconds', 'BENCH_SECONDS', 'how long nothing happens but renewals', '15', 3_600),
    events: number('events', 'BENCH_EVENTS', 'leaves, and as many joins', '20', 1_000),
    ...outputOptions,
  },
  examples: [[`${COMMAND} -- --quick`, 'a hundred workers, in under a minute']],
});
const options = given.quick ? { ...given, ...QUICK } : given;
const [nats, postgres] = [await openNats(), await openPostgres(undefined)];
const database = await postgres.createDatabase();
const around = { natsUrl: nats.url, databaseUrl: database.url };
const coordinator = await BenchService.start('coordinator', 'coordinator-1', around);
let result: Awaited<ReturnType<typeof measure>>;
try {
  await coordinator.ready();
  const link = await connect(database.url, 'bench');
  await addRows(link, NAMES, options.rows);
  await link.close();
  result = await measure();
} finally {
  await coordinator.stop();
  await database.drop();
  await Promise.all([nats.stop(), postgres.stop()]);
}
const surroundings = describeSurroundings(COMMAND);
const table = {
  head: ['what', 'value'],
  rows: [
    ['workers, rows', `${formatNumber(options.workers)}, ${formatNumber(options.rows)}`],
    ['coordinator, of one core', `${formatNumber(result.coordinatorLoad * 100)} %`],
    ['NATS, of one core', `${formatNumber(result.natsLoad * 100)} %`],
    ['coordinator, MB', formatNumber(result.coordinatorMb)],
    ['snapshot, bytes', formatNumber(result.snapshotBytes)],
    ['leave → snapshot, ms: p50, max', formatTimes(result.leaveMs)],
    ['join → snapshot, ms: p50, max', formatTimes(result.joinMs)],
    ['renewals that failed', formatNumber(result.failedRenewals)],
    ['snapshots while nothing happened', formatNumber(result.idleSnapshots)],
  ],
};
process.stdout.write(`${toColumns(table)}\n`);
await writeResults(options, {
  json: { ...surroundings, workers: options.workers, rows: options.rows, ...result },
  markdown: `${formatSurroundings(surroundings)}\n\n${toMarkdown(table)}\n`,
  svg: barChart('From an event to its snapshot, ms (median)', [
    { label: 'leave', value: median(result.leaveMs), text: median(result.leaveMs).toFixed(0) },
    { label: 'join', value: median(result.joinMs), text: median(result.joinMs).toFixed(0) },
  ]),
});

async function measure() {
  say(`${options.workers} workers register …`);
  const workers = await SimulatedWorkers.start(nats.url, options.workers);
  const stream = await SnapshotStream.open(workers.link);
  const newest: { snapshot: Snapshot | null; count: number; told: () => void } = {
    snapshot: (await stream.newest(null))?.snapshot ?? null,
    count: 0,
    told: () => {},
  };
  const unsubscribe = stream.subscribe(newest.snapshot?.slots ?? 4096, (received) => {
    if (!received.ok) return;
    newest.snapshot = received.snapshot;
    newest.count += 1;
    newest.told();
  });
  const until = async (fits: (snapshot: Snapshot) => boolean, limitMs: number) => {
    const endMs = performance.now() + limitMs;
    while (newest.snapshot === null || !fits(newest.snapshot)) {
      if (performance.now() > endMs) throw new Error(`no such snapshot within ${limitMs} ms`);
      await Promise.race([new Promise<void>((resolve) => (newest.told = resolve)), delay(100)]);
    }
  };
  await until((snapshot) => snapshot.workers.length === options.workers, SETTLE_LIMIT_MS);
  say(`nothing but renewals for ${options.seconds} s …`);
  await delay(2_000);
  const before = { count: newest.count, ...readCpu(), atMs: performance.now() };
  await delay(options.seconds * 1000);
  const after = { count: newest.count, ...readCpu(), atMs: performance.now() };
  say(`${options.events} leaves and joins …`);
  const [leaveMs, joinMs]: [number[], number[]] = [[], []];
  for (let event = 0; event < options.events; event += 1) {
    const index = Math.floor((event + 0.5) * (options.workers / options.events));
    const id = workers.idAt(index);
    const has = (snapshot: Snapshot) => snapshot.workers.some((worker) => worker.id === id);
    for (const [times, act, fits] of [
      [leaveMs, () => workers.leave(index), (snapshot: Snapshot) => !has(snapshot)],
      [joinMs, () => workers.join(index), has],
    ] as const) {
      const startedMs = performance.now();
      await act();
      await until(fits, EVENT_LIMIT_MS);
      times.push(performance.now() - startedMs);
    }
  }
  const figures = {
    coordinatorLoad: (after.coordinator - before.coordinator) / (after.atMs - before.atMs),
    natsLoad: (after.nats - before.nats) / (after.atMs - before.atMs),
    coordinatorMb: residentMb(coordinator.process.pid) ?? Number.NaN,
    snapshotBytes: newest.snapshot === null ? Number.NaN : encodeSnapshot(newest.snapshot).length,
    leaveMs,
    joinMs,
    failedRenewals: workers.failedRenewals,
    idleSnapshots: after.count - before.count,
  };
  unsubscribe();
  await workers.stop();
  return figures;
}

function readCpu() {
  return {
    coordinator: cpuMsOfTree(coordinator.process.pid) ?? Number.NaN,
    nats: cpuMsOfTree(nats.pid) ?? Number.NaN,
  };
}

function formatTimes(times: readonly number[]): string {
  return `${quantile(times, 0.5).toFixed(0)}, ${Math.max(...times).toFixed(0)}`;
}

function number(flag: string, variable: string, describe: string, preset: string, max: number) {
  return integer({ flag, variable, describe, default: preset, min: 1, max });
}
