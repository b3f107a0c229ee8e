import type { Logger } from 'pino';
import { logTrouble } from '../../shared/log/trouble-lines.ts';
import { assertNever } from '../../shared/machine/machine.ts';
import { PHASES, type Recovery } from '../../shared/ring/recovery.ts';
import { describeCause } from '../../shared/ring/snapshot.ts';
import { countDesiredWorkers, type ScalingRule } from './desired-workers.ts';
import type { CoordinatorMetrics } from './metrics.ts';
import type { CoordinatorReport } from './protocol.ts';

/** The cause of missed ticks of rows that stayed with their worker, or whose recovery was summed up before. */
const NO_RECOVERY = 'none';
/** A log line stays short. */
const NAMED_MOST = 20;

/** Turns what the machine reports into log lines and metrics. */
export function makeCoordinatorReports(options: {
  readonly log: Logger;
  readonly metrics: CoordinatorMetrics;
  readonly scaling: ScalingRule;
  /** Where snapshots come from. */
  readonly subject: string;
}): (report: CoordinatorReport) => void {
  const { log, metrics, scaling, subject } = options;
  const noteRows = (rows: number) => {
    metrics.rows.set(rows);
    metrics.desiredWorkers.set(countDesiredWorkers(rows, scaling));
  };
  const noteAside = makeAsideNotice(log, metrics);
  return (report) => {
    switch (report.kind) {
      case 'leading':
        metrics.leading.set(1);
        metrics.epoch.set(report.epoch);
        noteRows(report.rows);
        return log.info(
          { epoch: report.epoch, workers: report.workers, rows: report.rows },
          report.isResumed ? 'leading on: nobody led in between' : 'leading',
        );
      case 'stepped-down':
        for (const gauge of [metrics.leading, metrics.epoch, metrics.rows, metrics.desiredWorkers]) gauge.set(0);
        return log.info({ reason: report.reason }, 'stepped down');
      case 'office-failed':
        // Repeated each second while NATS or Postgres is away: their trouble is logged.
        return log.debug({ reason: report.reason }, 'could not take office; trying again');
      case 'member-changed': {
        const { change } = report;
        if (change.kind === 'joined') return log.info({ peer: change.worker }, 'worker joined');
        metrics.departures.inc({ evidence: change.evidence });
        return log.info({ peer: change.worker, evidence: change.evidence }, 'worker left');
      }
      case 'member-suspected':
        metrics.suspicions.inc({ evidence: report.evidence });
        return log.debug({ peer: report.worker, evidence: report.evidence }, 'worker suspected');
      case 'member-cleared':
        return log.info({ peer: report.worker, evidence: report.evidence }, 'worker suspected in vain');
      case 'table-resized':
        noteRows(report.rows);
        return log.info({ rows: report.rows, added: report.added, removed: report.removed }, 'table resized');
      case 'count-doubted':
        metrics.recounts.inc({ reason: report.reason });
        return log.info({ reason: report.reason }, 'row count in doubt, counting the table again');
      case 'published': {
        const { version, epoch, cause, moved, rows, workers } = report.snapshot;
        metrics.version.set(version);
        metrics.workers.set(workers.length);
        metrics.snapshots.inc({ cause: cause.kind });
        metrics.movedRows.inc(moved.rows);
        metrics.minimumRows.inc(moved.minimumRows);
        const shares = workers.map((worker) => worker.rows);
        const least = Math.min(...shares, rows);
        const most = Math.max(...shares, 0);
        return log.info(
          { ring: version, epoch, cause: describeCause(cause), workers: workers.length, rows, least, most, moved },
          'ring published',
        );
      }
      case 'publish-failed':
        metrics.publishFailures.inc();
        return log.debug({ reason: report.reason }, 'publish not acknowledged; looking what became of it');
      case 'aside':
        return noteAside(report);
      case 'table-mended':
        if (report.what === 'equipment') metrics.recounts.inc({ reason: 'unreported' });
        return log.warn({ what: report.what }, MENDED[report.what]);
      case 'trouble-began':
      case 'trouble-ended':
        return logTrouble(log, report);
      case 'snapshot-rejected':
        metrics.rejectedSnapshots.inc();
        return log.warn({ subject, ...report.snapshot }, 'snapshot rejected');
      case 'snapshot-overruled': {
        metrics.rejectedSnapshots.inc();
        const { epoch, version, sequence } = report;
        return log.warn(
          { subject, epoch, version, sequence },
          'foreign snapshot overruled: the ring in force is published again',
        );
      }
      case 'epoch-raised':
        return log.warn(
          { from: report.from, to: report.to },
          'epoch raised above one that Postgres has not issued: restored from a backup, or forged',
        );
      case 'fence-forged':
        return log.error(
          { slots: report.slots },
          'forged epochs or versions in scaler.slot: no other worker can claim these slots; repair them as docs/operations.md says',
        );
      case 'applied-rejected': {
        metrics.rejectedApplied.inc();
        const { worker, epoch, version } = report.applied;
        return log.warn({ peer: worker, epoch, version }, 'report of an unpublished snapshot rejected');
      }
      case 'ticks-missed': {
        const { missed, workers } = report;
        metrics.missedTicks.inc({ cause: NO_RECOVERY }, report.missed);
        const fields = { missed, workers: workers.length, peers: workers.slice(0, NAMED_MOST) };
        return log.warn(fields, 'ticks missed outside a recovery');
      }
      case 'recovered':
        return reportRecovery(log, metrics, report.recovery);
      default:
        return assertNever(report);
    }
  };
}

const MENDED = {
  schema: 'schema scaler had been dropped; created again, and a new term begins',
  equipment: 'the table had lost its slot index or triggers; made again, and the table is counted again',
} as const;

const ASIDE = {
  prune: 'pruning scaler.table_change failed: it grows until pruning works again',
  'publish-size': 'publishing the table size failed: standbys answer with an older one',
  'publish-recovery': 'publishing a recovery failed: its record is missing from the stream',
  'remove-leader': 'removing the leader key failed: it expires by itself',
} as const;

/** Logs once that something fails, and once that it works again. */
function makeAsideNotice(log: Logger, metrics: CoordinatorMetrics) {
  const failing = new Set<keyof typeof ASIDE>();
  return ({ what, reason }: Extract<CoordinatorReport, { kind: 'aside' }>) => {
    if (reason === null) {
      if (failing.delete(what)) log.info({ what }, 'what failed before succeeded');
      return;
    }
    if (what === 'prune') metrics.pruneFailures.inc();
    if (failing.has(what)) return;
    failing.add(what);
    log.warn({ what, reason }, ASIDE[what]);
  };
}

function reportRecovery(log: Logger, metrics: CoordinatorMetrics, recovery: Recovery): void {
  const { epoch, version, at, cause, missing, ...figures } = recovery;
  const { phases, missed, isComplete } = figures;
  for (const phase of PHASES) {
    const ms = phases[phase];
    if (ms !== null) metrics.recoverySeconds.observe({ phase, cause: cause.kind }, ms / 1000);
  }
  metrics.missedTicks.inc({ cause: cause.kind }, missed);
  if (!isComplete) metrics.incompleteRecoveries.inc({ cause: cause.kind });
  const named = missing.slice(0, NAMED_MOST);
  const line = { ring: version, epoch, publishedAt: at, cause: describeCause(cause), ...figures, missing: named };
  if (isComplete) log.info(line, 'recovered');
  else log.warn({ ...line, notNamed: missing.length - named.length }, 'recovered');
}
