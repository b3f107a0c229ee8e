import { logTrouble } from '../../shared/log/trouble-lines.ts';
import { assertNever } from '../../shared/machine/machine.ts';
import { describeCause } from '../../shared/ring/snapshot.ts';
import { BLOCKED_REASONS } from './blocked-rows.ts';
import { BlockedRowsNotice } from './blocked-rows-notice.ts';
import type { WorkerReport } from './protocol.ts';
import { type WatchingLineOptions, WatchingLines } from './watching-lines.ts';

/** Turns what the machine reports into log lines (DESIGN §8) and metrics. */
export function makeWorkerReports(
  options: WatchingLineOptions & {
    /** Where snapshots come from. */
    readonly subject: string;
  },
): (report: WorkerReport) => void {
  const { log, metrics, subject } = options;
  const lines = new WatchingLines(options);
  const blockedRows = new BlockedRowsNotice(log);
  let isIdentityUnclear = false;
  return (report) => {
    switch (report.kind) {
      case 'watching':
        metrics.tick.set(report.tick);
        metrics.rows.set(report.ids.length);
        metrics.roundSeconds.observe(report.tookMs / 1000);
        return lines.print(report);
      case 'ring-applied':
        metrics.ring.set(report.snapshot.version);
        metrics.applySeconds.observe(report.tookMs / 1000);
        return log.info(
          {
            ring: report.snapshot.version,
            cause: describeCause(report.snapshot.cause),
            gained: report.gained,
            lost: report.lost,
            rows: report.rows,
            tookMs: Math.round(report.tookMs),
          },
          'ring applied',
        );
      case 'registered':
        return log.info('registered: warm, and ready for rows');
      case 'identity-unclear':
        // Asked again several times a second, until the key expires.
        if (isIdentityUnclear) return;
        isIdentityUnclear = true;
        return log.warn('a worker of this id left its key and does not answer; waiting for the key to expire');
      case 'ticks-missed':
        metrics.missedTicks.inc(report.missed);
        return log.warn({ missed: report.missed, rows: report.rows, seconds: report.seconds }, 'ticks missed');
      case 'rows-missed':
        metrics.missedTicks.inc(report.count);
        return metrics.skippedRows.inc(report.skipped);
      case 'blocked-rows':
        return blockedRows.say(report);
      case 'blocked-counted':
        for (const reason of BLOCKED_REASONS) metrics.blockedRows.set({ reason }, report.counts[reason]);
        return;
      case 'slots-lost':
        metrics.lostSlots.inc(report.slots.length);
        return log.warn(
          { ring: report.ring, slots: report.slots.length },
          'the fence names another worker for slots of mine',
        );
      case 'claims-refused':
        metrics.refusedClaims.inc(report.slots.length);
        return log.warn({ ring: report.ring, slots: report.slots.length }, 'a newer snapshot has these slots already');
      case 'snapshot-rejected': {
        metrics.rejectedSnapshots.inc();
        if (report.isRepeated) return;
        const { epoch, version, sequence, reason } = report;
        return log.warn(
          { subject, ...(sequence !== null && { sequence }), epoch, version, reason },
          'snapshot rejected',
        );
      }
      case 'failed':
        return metrics.failures.inc({ what: report.what });
      case 'trouble-began':
      case 'trouble-ended':
        return logTrouble(log, report);
      case 'tick-early':
        metrics.failures.inc({ what: 'tick' });
        return log.warn({ tick: report.tick }, 'tick refused: the database clock is behind it; measuring it again');
      case 'rebased':
        metrics.rebasedSlots.inc(report.slots);
        return log.warn({ slots: report.slots }, 'the database clock stepped back; slots re-based');
      case 'drained':
        return log.info('drained: handing over all slots, and living on without any until undrained');
      case 'undrained':
        return log.info('undrained: ready for rows again');
      case 'leaving':
        return log.info('leaving: handing over, ticking until the last slot is taken');
      case 'grace-over':
        return log.warn({ slots: report.slots }, 'leaving before every slot was taken');
      default:
        return assertNever(report);
    }
  };
}
