import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

const PREFIX = 'notifi_scaler_worker_';
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

/** The worker's metrics. Each name has its line in docs/metrics.md. */
export function makeWorkerMetrics(registry: Registry) {
  const registers = [registry];
  return {
    ready: new Gauge({ name: `${PREFIX}ready`, help: '1 while /readyz answers 200', registers }),
    foreignMessages: new Counter({
      name: `${PREFIX}foreign_messages_total`,
      help: 'Messages of other installations rejected',
      labelNames: ['kind'],
      registers,
    }),
    ring: new Gauge({ name: `${PREFIX}ring_version`, help: 'Version of the snapshot applied', registers }),
    rows: new Gauge({ name: `${PREFIX}rows`, help: 'Rows watched', registers }),
    tick: new Gauge({
      name: `${PREFIX}last_tick`,
      help: 'Number of the last tick done, a second of the database clock',
      registers,
    }),
    roundSeconds: new Histogram({
      name: `${PREFIX}round_seconds`,
      help: 'Length of a whole round of ticks',
      buckets: SECONDS,
      registers,
    }),
    applySeconds: new Histogram({
      name: `${PREFIX}apply_seconds`,
      help: 'From a snapshot in hand to its slots claimed',
      buckets: SECONDS,
      registers,
    }),
    missedTicks: new Counter({
      name: `${PREFIX}missed_ticks_total`,
      help: 'Missed seconds times rows, by the former owner; counted by the first tick after the gap',
      registers,
    }),
    lostSlots: new Counter({
      name: `${PREFIX}lost_slots_total`,
      help: 'Slots of the slice that the fence named another worker for',
      registers,
    }),
    refusedClaims: new Counter({
      name: `${PREFIX}refused_claims_total`,
      help: 'Slots whose claim a newer snapshot forestalled',
      registers,
    }),
    rejectedSnapshots: new Counter({
      name: `${PREFIX}rejected_snapshots_total`,
      help: 'Snapshots rejected: invalid, or of an epoch or version that cannot be',
      registers,
    }),
    refusedRequests: new Counter({
      name: `${PREFIX}refused_requests_total`,
      help: 'Requests to this process without an inbox as reply subject',
      registers,
    }),
    blockedRows: new Gauge({
      name: `${PREFIX}blocked_rows`,
      help: 'Rows that get no ticks, by reason',
      labelNames: ['reason'] as const,
      registers,
    }),
    skippedRows: new Counter({
      name: `${PREFIX}skipped_rows_total`,
      help: 'Rows that missed a tick because another transaction had locked them; they count as missed ticks, too',
      registers,
    }),
    rebasedSlots: new Counter({
      name: `${PREFIX}rebased_slots_total`,
      help: 'Slots re-based after the database clock stepped back',
      registers,
    }),
    clockSkew: new Gauge({
      name: `${PREFIX}clock_skew_seconds`,
      help: "This host's clock less the database's",
      registers,
    }),
    shortenedLists: new Counter({
      name: `${PREFIX}shortened_lists_total`,
      help: 'Lists of ids of which only count and checksum were logged, because stdout was slow',
      registers,
    }),
    failures: new Counter({
      name: `${PREFIX}failures_total`,
      help: 'Claims and ticks that failed and were tried again',
      labelNames: ['what'] as const,
      registers,
    }),
  };
}

export type WorkerMetrics = ReturnType<typeof makeWorkerMetrics>;
