/** One worker's process in a benchmark, told what to do by the process that forked it. Ends with it. */
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import type { PostgresLink } from '../../shared/postgres/connection.ts';
import { Fence } from '../../shared/postgres/fence.ts';
import { quoteTable } from '../../shared/postgres/table.ts';
import { connect } from '../support/bench-postgres.ts';
import { quantile } from '../support/statistics.ts';
import type { Answer, DriverSetup, Order, RoundResult, Way } from './driver-messages.ts';
import { NAMES } from './measured-table.ts';
import { OurRound } from './our-round.ts';

const PLAIN_BATCH_ROWS = 10_000;
/** Row by row is only sampled: the rate is what counts. */
const ROW_BY_ROW_MOST = 500;

const setup: DriverSetup = JSON.parse(process.argv[2] ?? '');
const link = await connect(setup.url, setup.worker);
const fence = new Fence(link, NAMES, { slots: setup.totalSlots });
const epoch = await fence.drawEpoch(0);
await fence.claim({ worker: setup.worker, incarnation: 1, epoch, version: setup.version, slots: setup.slots });
const ids = await fence.readIds({ slots: setup.slots });
const batches = Array.from({ length: Math.ceil(ids.length / PLAIN_BATCH_ROWS) }, (_, index) =>
  toArray(ids.slice(index * PLAIN_BATCH_ROWS, (index + 1) * PLAIN_BATCH_ROWS)),
);
const ours = new OurRound(setup, fence);
const delays = monitorEventLoopDelay({ resolution: 5 });
delays.enable();

process.on('message', (order: Order) => {
  obey(order).then(
    (result) => answer({ kind: 'done', result }),
    (error) => answer({ kind: 'failed', reason: String(error) }),
  );
});
process.once('disconnect', () => process.exit(0));
answer({ kind: 'ready' });

async function obey(order: Order): Promise<RoundResult> {
  const statementMs: number[] = [];
  const roundMs: number[] = [];
  let rows = 0;
  delays.reset();
  const cpu = process.cpuUsage();
  const startedMs = performance.now();
  let tick = order.fromTick;
  do {
    const roundStartedMs = performance.now();
    const done = await runRound(order.way, tick, statementMs);
    if (order.way !== 'row-by-row' && done !== setup.rows) throw new Error(`expected ${setup.rows} rows, got ${done}`);
    rows += done;
    roundMs.push(performance.now() - roundStartedMs);
    tick += 1;
  } while (performance.now() < startedMs + order.forMs);
  const { user, system } = process.cpuUsage(cpu);
  return {
    rows,
    ms: performance.now() - startedMs,
    statementMs: summarize(statementMs),
    roundMs,
    cpuMs: (user + system) / 1000,
    delayP99Ms: delays.percentile(99) / 1e6,
    residentMb: process.memoryUsage.rss() / 1e6,
  };
}

async function runRound(way: Way, tick: number, statementMs: number[]): Promise<number> {
  if (way === 'ours') return ours.run(tick, statementMs);
  return way === 'plain' ? tickPlainly(link, statementMs) : tickRowByRow(link);
}

async function tickPlainly(connection: PostgresLink, statementMs: number[]): Promise<number> {
  const text = `UPDATE ${quoteTable(NAMES)} SET value = value + 1, currentworker = $2 WHERE id = ANY ($1::uuid[])`;
  let rows = 0;
  for (const batch of batches) {
    const startedMs = performance.now();
    const done = await connection.query('tick', { name: 'plain', text, values: [batch, setup.worker] });
    statementMs.push(performance.now() - startedMs);
    rows += done.rowCount ?? 0;
  }
  return rows;
}

async function tickRowByRow(connection: PostgresLink): Promise<number> {
  const text = `UPDATE ${quoteTable(NAMES)} SET value = value + 1, currentworker = $2 WHERE id = $1`;
  const some = ids.slice(0, ROW_BY_ROW_MOST);
  for (const id of some) await connection.query('tick', { name: 'one-row', text, values: [id, setup.worker] });
  return some.length;
}

/** Thousands of statements say no more than their quantiles do. */
function summarize(times: readonly number[]): number[] {
  if (times.length <= 200) return [...times];
  return Array.from({ length: 200 }, (_, index) => quantile(times, (index + 0.5) / 200));
}

function toArray(list: readonly string[]): string {
  return `{${list.join(',')}}`;
}

function answer(message: Answer): void {
  process.send?.(message);
}
