import { Counter, Gauge, type Registry } from 'prom-client';

const PREFIX = 'notifi_scaler_coordinator_';

/** The coordinator's metrics. Each name has its line in docs/metrics.md. */
export function makeCoordinatorMetrics(registry: Registry) {
  const registers = [registry];
  return {
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
    rejectedLiveness: new Counter({
      name: `${PREFIX}rejected_liveness_total`,
      help: 'Garbage keys and values in the liveness bucket',
      registers,
    }),
  };
}

export type CoordinatorMetrics = ReturnType<typeof makeCoordinatorMetrics>;
