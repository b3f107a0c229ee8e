import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

const PREFIX = 'notifi_scaler_coordinator_';
/** From the way of a message to a lease that had to run out. */
const RECOVERY_SECONDS = [
  0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 0.75, 1,
  1.5, 2.5, 5, 10,
];

/** The coordinator's metrics. Each name has its line in docs/metrics.md. */
export function makeCoordinatorMetrics(registry: Registry) {
  const registers = [registry];
  return {
    ready: new Gauge({ name: `${PREFIX}ready`, help: '1 while /readyz answers 200', registers }),
    foreignMessages: new Counter({
      name: `${PREFIX}foreign_messages_total`,
      help: 'Messages of other installations rejected',
      labelNames: ['kind'],
      registers,
    }),
    leading: new Gauge({ name: `${PREFIX}leading`, help: '1 while this coordinator leads', registers }),
    epoch: new Gauge({
      name: `${PREFIX}epoch`,
      help: 'Epoch of this coordinator; 0 while it does not lead',
      registers,
    }),
    version: new Gauge({ name: `${PREFIX}ring_version`, help: 'Version of the last snapshot published', registers }),
    workers: new Gauge({ name: `${PREFIX}workers`, help: 'Workers in the last snapshot published', registers }),
    rows: new Gauge({ name: `${PREFIX}rows`, help: 'Rows in the table; 0 while it does not lead', registers }),
    desiredWorkers: new Gauge({
      name: `${PREFIX}desired_workers`,
      help: 'Workers that the rows ask for, for autoscalers; 0 while it does not lead',
      registers,
    }),
    recounts: new Counter({
      name: `${PREFIX}recounts_total`,
      help: 'Times the whole table was counted again, by reason',
      labelNames: ['reason'] as const,
      registers,
    }),
    snapshots: new Counter({
      name: `${PREFIX}snapshots_total`,
      help: 'Snapshots published, by their first cause',
      labelNames: ['cause'] as const,
      registers,
    }),
    movedRows: new Counter({
      name: `${PREFIX}moved_rows_total`,
      help: 'Rows that snapshots gave to another worker',
      registers,
    }),
    minimumRows: new Counter({
      name: `${PREFIX}minimum_moved_rows_total`,
      help: 'The least that had to move for the same evenness',
      registers,
    }),
    suspicions: new Counter({
      name: `${PREFIX}suspicions_total`,
      help: 'Workers suspected, by evidence',
      labelNames: ['evidence'] as const,
      registers,
    }),
    departures: new Counter({
      name: `${PREFIX}departures_total`,
      help: 'Workers planned without, by evidence',
      labelNames: ['evidence'] as const,
      registers,
    }),
    publishFailures: new Counter({
      name: `${PREFIX}publish_failures_total`,
      help: 'Publishes without an acknowledgement',
      registers,
    }),
    pruneFailures: new Counter({
      name: `${PREFIX}prune_failures_total`,
      help: 'Attempts to delete counted changes from scaler.table_change that failed',
      registers,
    }),
    rejectedSnapshots: new Counter({
      name: `${PREFIX}rejected_snapshots_total`,
      help: "Snapshots in the stream that were not this leader's, and were replaced",
      registers,
    }),
    rejectedLiveness: new Counter({
      name: `${PREFIX}rejected_liveness_total`,
      help: 'Garbage keys and values in the liveness bucket',
      registers,
    }),
    refusedRequests: new Counter({
      name: `${PREFIX}refused_requests_total`,
      help: 'Requests to this process without an inbox as reply subject',
      registers,
    }),
    recoverySeconds: new Histogram({
      name: `${PREFIX}recovery_seconds`,
      help: 'From the evidence of a disruption to the first tick of all that moved, by phase and first cause',
      labelNames: ['phase', 'cause'] as const,
      buckets: RECOVERY_SECONDS,
      registers,
    }),
    incompleteRecoveries: new Counter({
      name: `${PREFIX}incomplete_recoveries_total`,
      help: 'Disruptions of which not every gaining worker told within 5 s, by first cause; missing from the totals above',
      labelNames: ['cause'] as const,
      registers,
    }),
    missedTicks: new Counter({
      name: `${PREFIX}missed_ticks_total`,
      help: 'Seconds without a tick, times the rows concerned, by first cause; none: of rows that kept their worker',
      labelNames: ['cause'] as const,
      registers,
    }),
    rejectedApplied: new Counter({
      name: `${PREFIX}rejected_applied_total`,
      help: 'Garbage, and reports of unpublished snapshots, on ring.applied',
      registers,
    }),
  };
}

export type CoordinatorMetrics = ReturnType<typeof makeCoordinatorMetrics>;
