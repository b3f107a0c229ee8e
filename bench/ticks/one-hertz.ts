import { setTimeout as delay } from 'node:timers/promises';
import type { PostgresLink } from '../../shared/postgres/connection.ts';
import { addRows } from '../../shared/postgres/rows.ts';
import { quoteTable, slotExpression } from '../../shared/postgres/table.ts';
import type { BenchNats } from '../support/bench-nats.ts';
import { type BenchPostgres, connect } from '../support/bench-postgres.ts';
import { BenchService } from '../support/bench-service.ts';
import { cpuMsOfTree, residentMb } from '../support/cpu.ts';
import { sum } from '../support/statistics.ts';
import { NAMES } from './measured-table.ts';

/** What the whole product did with a table, at its own pace of one tick a second. */
export interface OneHertzResult {
  readonly rows: number;
  readonly workers: number;
  readonly seconds: number;
  /** By the table's own values against the fence. */
  readonly missedTicks: number;
  readonly doubleTicks: number;
  /** By the workers' own count. */
  readonly reportedMissedTicks: number;
  readonly roundMeanMs: number;
  readonly hotShare: number;
  readonly growth: number;
  readonly walBytesPerRow: number;
  /** Of one core, while it ran; null where it runs elsewhere. */
  readonly load: {
    readonly postgres: number | null;
    readonly nats: number | null;
    readonly coordinator: number | null;
    readonly workers: number | null;
  };
  readonly workerMb: number | null;
}

interface Run {
  readonly postgres: BenchPostgres;
  readonly nats: BenchNats;
  readonly databaseUrl: string;
  readonly rows: number;
  readonly workers: number;
  readonly seconds: number;
}

const SETTLE_MS = 4_000;
const STATISTICS_DELAY_MS = 1_500;
const SLOTS = 4096;

/** Starts the services, fills the table as `rows add` does, waits until all is shared out, and watches. */
export async function measureOneHertz(run: Run): Promise<OneHertzResult> {
  const around = { natsUrl: run.nats.url, databaseUrl: run.databaseUrl };
  const link = await connect(run.databaseUrl, 'bench');
  const coordinator = await BenchService.start('coordinator', 'coordinator-1', around);
  const workers: BenchService[] = [];
  try {
    await coordinator.ready();
    await addRows(link, NAMES, run.rows);
    await link.query('bench', { text: `VACUUM (ANALYZE) ${quoteTable(NAMES)}` });
    for (let index = 1; index <= run.workers; index += 1) {
      workers.push(await BenchService.start('worker', `worker-${index}`, around));
    }
    await Promise.all(workers.map((worker) => worker.ready()));
    await waitUntilShared(workers, run.rows);
    await delay(SETTLE_MS);
    return await watch(run, { link, coordinator, workers });
  } finally {
    await Promise.all(workers.map((worker) => worker.stop()));
    await coordinator.stop();
    await link.close();
  }
}

interface Running {
  readonly link: PostgresLink;
  readonly coordinator: BenchService;
  readonly workers: readonly BenchService[];
}

async function watch(run: Run, running: Running): Promise<OneHertzResult> {
  const before = await observe(run, running);
  await delay(run.seconds * 1000);
  const after = await observe(run, running);
  const load = (pick: (one: typeof before) => number | null) => {
    const [from, to] = [pick(before), pick(after)];
    return from === null || to === null ? null : (to - from) / (after.atMs - before.atMs);
  };
  // Slot by slot: what one has missed shall not make up for what another has had twice.
  const behind = before.slots.map(({ slot, rows, values, lastTick }) => {
    const now = after.bySlot.get(slot);
    return now === undefined ? 0 : rows * (now.lastTick - lastTick) - (now.values - values);
  });
  const done = after.values - before.values;
  return {
    rows: run.rows,
    workers: run.workers,
    seconds: run.seconds,
    missedTicks: sum(behind.filter((ticks) => ticks > 0)),
    doubleTicks: Math.abs(sum(behind.filter((ticks) => ticks < 0))),
    reportedMissedTicks: after.missed - before.missed,
    roundMeanMs: ((after.roundSeconds - before.roundSeconds) * 1000) / (after.rounds - before.rounds),
    hotShare: (after.hot - before.hot) / (after.updates - before.updates),
    growth: after.bytes / before.bytes,
    walBytesPerRow: (after.wal - before.wal) / done,
    load: {
      postgres: load((one) => one.cpu.postgres),
      nats: load((one) => one.cpu.nats),
      coordinator: load((one) => one.cpu.coordinator),
      workers: load((one) => one.cpu.workers),
    },
    workerMb: Math.max(...running.workers.map(({ process }) => residentMb(process.pid) ?? Number.NaN)),
  };
}

async function observe(run: Run, { link, coordinator, workers }: Running) {
  const metric = async (name: string) => sum(await Promise.all(workers.map((worker) => worker.readMetric(name))));
  await delay(STATISTICS_DELAY_MS);
  const counters = await link.query<{ updates: number; hot: number; bytes: number; wal: number }>('bench', {
    text: `SELECT n_tup_upd AS updates, n_tup_hot_upd AS hot, pg_table_size(relid) AS bytes,
      (pg_current_wal_insert_lsn() - '0/0')::float8 AS wal
      FROM pg_stat_user_tables WHERE relid = '${quoteTable(NAMES)}'::regclass`,
  });
  // One statement, so one moment for both tables.
  const { rows } = await link.query<{ slot: number; rows: number; values: number; lastTick: number }>('bench', {
    text: `SELECT s.slot, count(*) AS rows, sum(w.value) AS values, s.last_tick AS "lastTick"
      FROM ${quoteTable(NAMES)} w JOIN scaler.slot s ON s.slot = ${slotExpression(NAMES.id, SLOTS, 'w')} GROUP BY 1, 4`,
  });
  const tree = (pids: readonly (number | null)[]) => {
    const times = pids.map((pid) => (pid === null ? null : cpuMsOfTree(pid)));
    return times.includes(null) ? null : sum(times.map((time) => time ?? 0));
  };
  return {
    atMs: performance.now(),
    ...counters.rows[0]!,
    slots: rows,
    bySlot: new Map(rows.map((row) => [row.slot, row])),
    values: sum(rows.map((row) => Number(row.values))),
    missed: await metric('notifi_scaler_worker_missed_ticks_total'),
    roundSeconds: await metric('notifi_scaler_worker_round_seconds_sum'),
    rounds: await metric('notifi_scaler_worker_round_seconds_count'),
    cpu: {
      postgres: tree([run.postgres.pid]),
      nats: tree([run.nats.pid]),
      coordinator: tree([coordinator.process.pid]),
      workers: tree(workers.map(({ process }) => process.pid)),
    },
  };
}

async function waitUntilShared(workers: readonly BenchService[], rows: number): Promise<void> {
  const deadlineMs = performance.now() + 120_000;
  while (performance.now() < deadlineMs) {
    const held = await Promise.all(workers.map((worker) => worker.readMetric('notifi_scaler_worker_rows')));
    if (sum(held) === rows && held.every((count) => count > 0)) return;
    await delay(250);
  }
  throw new Error(`${rows} rows were not shared out within two minutes`);
}
