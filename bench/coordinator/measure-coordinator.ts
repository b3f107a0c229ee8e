import { setTimeout as delay } from 'node:timers/promises';
import { SnapshotStream } from '../../shared/nats/snapshot-stream.ts';
import { addRows } from '../../shared/postgres/rows.ts';
import { encodeSnapshot, type Snapshot } from '../../shared/ring/snapshot.ts';
import { openNats } from '../support/bench-nats.ts';
import { type BenchPostgres, connect } from '../support/bench-postgres.ts';
import { BenchService } from '../support/bench-service.ts';
import { cpuMsOfTree, residentMb } from '../support/cpu.ts';
import { say } from '../support/output.ts';
import { NAMES } from '../ticks/measured-table.ts';
import { SimulatedWorkers } from './simulated-workers.ts';

const SETTLE_LIMIT_MS = 120_000;
const EVENT_LIMIT_MS = 10_000;

export interface CoordinatorTask {
  readonly workers: number;
  readonly rows: number;
  /** How long nothing happens but renewals. */
  readonly seconds: number;
  /** Leaves, and as many joins. */
  readonly events: number;
}

export interface CoordinatorFigures {
  readonly workers: number;
  /** Of one core. */
  readonly coordinatorLoad: number;
  readonly natsLoad: number;
  readonly coordinatorMb: number;
  readonly snapshotBytes: number;
  /** From each event to the snapshot that answers it, ms. */
  readonly leaveMs: readonly number[];
  readonly joinMs: readonly number[];
  readonly failedRenewals: number;
  /** Snapshots while nothing happened. */
  readonly idleSnapshots: number;
}

interface Measured {
  readonly nats: Awaited<ReturnType<typeof openNats>>;
  readonly coordinator: BenchService;
}

/** A coordinator of its own, on a NATS and in a database of its own. */
export async function measureCoordinator(postgres: BenchPostgres, task: CoordinatorTask): Promise<CoordinatorFigures> {
  const [nats, database] = await Promise.all([openNats(), postgres.createDatabase()]);
  const coordinator = await BenchService.start('coordinator', 'coordinator-1', {
    natsUrl: nats.url,
    databaseUrl: database.url,
  });
  try {
    await coordinator.ready();
    const link = await connect(database.url, 'bench');
    await addRows(link, NAMES, task.rows);
    await link.close();
    return await measure({ nats, coordinator }, task);
  } finally {
    await coordinator.stop();
    await Promise.all([nats.stop(), database.drop()]);
  }
}

async function measure({ nats, coordinator }: Measured, task: CoordinatorTask): Promise<CoordinatorFigures> {
  say(`${task.workers} workers register …`);
  const workers = await SimulatedWorkers.start(nats.url, task.workers);
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
  await until((snapshot) => snapshot.workers.length === task.workers, SETTLE_LIMIT_MS);
  say(`nothing but renewals for ${task.seconds} s …`);
  await delay(2_000);
  const before = { count: newest.count, ...readCpu({ nats, coordinator }), atMs: performance.now() };
  await delay(task.seconds * 1000);
  const after = { count: newest.count, ...readCpu({ nats, coordinator }), atMs: performance.now() };
  say(`${task.events} leaves and joins …`);
  const [leaveMs, joinMs]: [number[], number[]] = [[], []];
  for (let event = 0; event < task.events; event += 1) {
    const index = Math.floor((event + 0.5) * (task.workers / task.events));
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
    workers: task.workers,
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

function readCpu({ nats, coordinator }: Measured) {
  return {
    coordinator: cpuMsOfTree(coordinator.process.pid) ?? Number.NaN,
    nats: cpuMsOfTree(nats.pid) ?? Number.NaN,
  };
}
