import { cpuMsOfTree } from '../support/cpu.ts';
import { median, quantile, sum } from '../support/statistics.ts';
import type { Order, RoundResult, Way } from './driver-messages.ts';
import type { Drivers } from './drivers.ts';
import type { Layout, MeasuredTable } from './measured-table.ts';

export interface FullSpeedResult {
  readonly rows: number;
  readonly workers: number;
  readonly layout: Layout;
  /** Medians, rows per second. */
  readonly rate: { readonly bare: number; readonly ours: number; readonly plain: number; readonly rowByRow: number };
  /** Medians of the repetitions' own ratios: what disturbs a repetition disturbs both sides. */
  readonly oursToBare: number;
  readonly oursToPlain: number;
  /** Of Postgres, µs per row; null where it runs elsewhere. */
  readonly cpuUs: { readonly bare: number | null; readonly ours: number | null; readonly plain: number | null };
  readonly walBytesPerRow: { readonly bare: number; readonly ours: number };
  /** Of our ticks alone, every worker for itself, back to back. */
  readonly alone: {
    readonly rate: number;
    readonly hotShare: number;
    readonly growth: number;
    readonly statementP50Ms: number;
    readonly statementP99Ms: number;
    readonly roundP50Ms: number;
    readonly roundP99Ms: number;
    readonly workerCpuUs: number;
    readonly workerDelayP99Ms: number;
    readonly workerMb: number;
  };
}

interface Sample {
  readonly rounds: number;
  readonly rate: number;
  readonly cpuUs: number | null;
  readonly walBytesPerRow: number;
}

const WARM_UPS = 2;

export interface FullSpeedRun {
  readonly table: MeasuredTable;
  readonly drivers: Drivers;
  readonly workers: number;
  readonly layout: Layout;
  readonly postgresPid: number | null;
  readonly repetitions: number;
  /** How long each way takes in each repetition, one pass over the table at least. */
  readonly wayMs: number;
  readonly aloneMs: number;
  /** No tick before was higher. */
  readonly firstTick: number;
}

/**
 * Each repetition measures every way, passes over the table back to back, one way after the other: what disturbs the machine
 * disturbs them all.
 */
export async function measureFullSpeed(run: FullSpeedRun): Promise<{ result: FullSpeedResult; lastTick: number }> {
  const samples: Record<'bare' | 'ours' | 'plain' | 'rowByRow', Sample[]> = {
    bare: [],
    ours: [],
    plain: [],
    rowByRow: [],
  };
  let tick = run.firstTick;
  const measure = async (way: Way, forMs: number): Promise<Sample> => {
    const taken = await sampleWay(run, { way, fromTick: tick, forMs });
    tick += taken.rounds;
    return taken;
  };
  for (let repetition = -WARM_UPS; repetition < run.repetitions; repetition += 1) {
    const bare = await sampleBare(run);
    const ours = await measure('ours', run.wayMs);
    const plain = await measure('plain', run.wayMs);
    const rowByRow = await measure('row-by-row', 0);
    if (repetition < 0) continue;
    for (const [name, sample] of Object.entries({ bare, ours, plain, rowByRow })) {
      samples[name as keyof typeof samples].push(sample);
    }
  }
  const alone = await measureAlone(run, tick);
  const middle = (list: readonly Sample[], pick: (sample: Sample) => number | null) => {
    const values = list.map(pick).filter((value) => value !== null);
    return values.length === 0 ? null : median(values);
  };
  const ratio = (other: readonly Sample[]) =>
    median(samples.ours.map((ours, index) => ours.rate / (other[index]?.rate ?? Number.NaN)));
  const rate = (list: readonly Sample[]) => middle(list, (sample) => sample.rate) ?? Number.NaN;
  const cpu = (list: readonly Sample[]) => middle(list, (sample) => sample.cpuUs);
  const wal = (list: readonly Sample[]) => middle(list, (sample) => sample.walBytesPerRow) ?? Number.NaN;
  const { bare, ours, plain, rowByRow } = samples;
  return {
    lastTick: alone.lastTick,
    result: {
      rows: run.table.rows,
      workers: run.workers,
      layout: run.layout,
      rate: { bare: rate(bare), ours: rate(ours), plain: rate(plain), rowByRow: rate(rowByRow) },
      oursToBare: ratio(bare),
      oursToPlain: ratio(plain),
      cpuUs: { bare: cpu(bare), ours: cpu(ours), plain: cpu(plain) },
      walBytesPerRow: { bare: wal(bare), ours: wal(ours) },
      alone: alone.figures,
    },
  };
}

function sampleBare(run: FullSpeedRun): Promise<Sample> {
  return sample(run, async () => {
    let rounds = 0;
    let ms = 0;
    do {
      ms += await run.table.updateAll();
      rounds += 1;
    } while (ms < run.wayMs);
    return { rows: rounds * run.table.rows, ms, rounds };
  });
}

/** Until the last worker is done. */
function sampleWay(run: FullSpeedRun, order: Order): Promise<Sample> {
  return sample(run, async () => {
    const startedMs = performance.now();
    const results = await run.drivers.tell(order);
    const rounds = Math.max(...results.map(({ roundMs }) => roundMs.length));
    return { rows: sum(results.map(({ rows }) => rows)), ms: performance.now() - startedMs, rounds };
  });
}

interface Work {
  readonly rows: number;
  readonly ms: number;
  /** Of whoever had most. */
  readonly rounds: number;
}

async function sample(run: FullSpeedRun, work: () => Promise<Work>): Promise<Sample> {
  const readCpu = () => (run.postgresPid === null ? null : cpuMsOfTree(run.postgresPid));
  const [walBefore, cpuBefore] = [await run.table.readWalBytes(), readCpu()];
  const { rows, ms, rounds } = await work();
  const [cpuAfter, walAfter] = [readCpu(), await run.table.readWalBytes()];
  return {
    rounds,
    rate: (rows / ms) * 1000,
    cpuUs: cpuBefore === null || cpuAfter === null ? null : ((cpuAfter - cpuBefore) * 1000) / rows,
    walBytesPerRow: (walAfter - walBefore) / rows,
  };
}

async function measureAlone(run: FullSpeedRun, fromTick: number) {
  const before = await run.table.readCounters();
  const results = await run.drivers.tell({ way: 'ours', fromTick, forMs: run.aloneMs });
  const after = await run.table.readCounters();
  const rows = sum(results.map((result) => result.rows));
  const statementMs = results.flatMap((result) => result.statementMs);
  const roundMs = results.flatMap((result) => result.roundMs);
  const most = (pick: (result: RoundResult) => number) => Math.max(...results.map(pick));
  return {
    lastTick: fromTick + most((result) => result.roundMs.length),
    figures: {
      rate: (rows / most((result) => result.ms)) * 1000,
      hotShare: (after.hotUpdates - before.hotUpdates) / (after.updates - before.updates),
      growth: after.bytes / before.bytes,
      statementP50Ms: quantile(statementMs, 0.5),
      statementP99Ms: quantile(statementMs, 0.99),
      roundP50Ms: quantile(roundMs, 0.5),
      roundP99Ms: quantile(roundMs, 0.99),
      workerCpuUs: (sum(results.map((result) => result.cpuMs)) * 1000) / rows,
      workerDelayP99Ms: most((result) => result.delayP99Ms),
      workerMb: most((result) => result.residentMb),
    },
  };
}
