import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import { assertNever } from '../../shared/machine/machine.ts';
import { describeCause } from '../../shared/ring/snapshot.ts';
import type { WorkerMetrics } from './metrics.ts';
import type { WorkerReport } from './protocol.ts';

/** Container runtimes split longer lines; an id with its quotes and comma takes 39 bytes. */
const LINE_BYTES = 16 * 1024;
const ENVELOPE_BYTES = 512;
const ID_BYTES = 39;
export const IDS_PER_LINE = Math.floor((LINE_BYTES - ENVELOPE_BYTES) / ID_BYTES);

export interface ReportOptions {
  readonly log: Logger;
  readonly metrics: WorkerMetrics;
  /** Longer lists are printed when they change; between changes only their count and checksum. */
  readonly logIdsMax: number;
}

/** Turns what the machine reports into log lines (DESIGN §8) and metrics. */
export function makeWorkerReports(options: ReportOptions): (report: WorkerReport) => void {
  const { log, metrics } = options;
  return (report) => {
    switch (report.kind) {
      case 'watching':
        metrics.tick.set(report.tick);
        metrics.rows.set(report.ids.length);
        metrics.roundSeconds.observe(report.tookMs / 1000);
        return logWatching(options, report);
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
        return log.warn('a worker of this id left its key and does not answer; waiting for the key to expire');
      case 'ticks-missed':
        metrics.missedTicks.inc(report.seconds * report.rows);
        return log.warn({ seconds: report.seconds, rows: report.rows }, 'ticks missed');
      case 'takeover-missed':
        metrics.missedTicks.inc(report.missed);
        return log.warn({ ring: report.ring, missed: report.missed }, 'ticks missed before the takeover');
      case 'rows-exhausted':
        metrics.exhaustedRows.set(report.count);
        return log.warn(
          { count: report.count, ids: report.ids.slice(0, IDS_PER_LINE) },
          'rows whose value is NULL or the largest integer cannot grow; set a value to let them go on',
        );
      case 'slots-lost':
        metrics.lostSlots.inc(report.slots.length);
        return log.warn(
          { ring: report.ring, slots: report.slots.length },
          'the fence names another worker for slots of mine',
        );
      case 'claims-refused':
        metrics.refusedClaims.inc(report.slots.length);
        return log.warn({ ring: report.ring, slots: report.slots.length }, 'a newer snapshot has these slots already');
      case 'failed':
        metrics.failures.inc({ what: report.what });
        return log.warn({ reason: report.reason }, `${report.what} failed; trying again`);
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

function logWatching(options: ReportOptions, report: Extract<WorkerReport, { kind: 'watching' }>): void {
  const { log, logIdsMax } = options;
  const { ids, tick, ring } = report;
  const count = ids.length;
  if (count > logIdsMax && !report.isChanged) {
    return log.info({ tick, ring, count, checksum: checksumOf(ids) }, 'watching');
  }
  if (count <= IDS_PER_LINE) return log.info({ tick, ring, count, ids }, 'watching');
  const parts = Math.ceil(count / IDS_PER_LINE);
  for (let part = 1; part <= parts; part += 1) {
    const slice = ids.slice((part - 1) * IDS_PER_LINE, part * IDS_PER_LINE);
    log.info({ tick, ring, count, part, parts, ids: slice }, 'watching');
  }
}

/** The lists are frozen once read, so each is hashed once however often it is printed. */
const checksums = new WeakMap<readonly string[], string>();

function checksumOf(ids: readonly string[]): string {
  const known = checksums.get(ids);
  if (known !== undefined) return known;
  const checksum = createHash('sha256').update(ids.join('\n')).digest('hex').slice(0, 16);
  checksums.set(ids, checksum);
  return checksum;
}
