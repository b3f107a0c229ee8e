import { setTimeout as delay } from 'node:timers/promises';
import { Inspection } from '../../../shared/postgres/inspection.ts';
import { isUneven } from '../../../shared/ring/assignment.ts';
import { AuditLog, type AuditResult } from '../audit-log.ts';
import type { CommandContext } from '../context.ts';
import { formatTable } from '../output.ts';

const SAMPLE_EVERY_MS = 1_000;
/** Larger tables are sampled more rarely, so that the audit does not slow down what it watches. */
const ROWS_PER_SECOND = 50_000;
const PROGRESS_EVERY_MS = 5_000;

/**
 * Watches the table from outside for a while, or until the signal ends it: what was seen until then is the result.
 * Exit code 1 when a promise is broken.
 */
export async function auditTable(
  context: CommandContext,
  args: { readonly seconds: number; readonly signal: AbortSignal },
): Promise<number> {
  const { postgres, table, adoption } = await context.adopted();
  const inspection = new Inspection(postgres, table, adoption);
  const log = new AuditLog(isUneven);
  const startedMs = performance.now();
  const endMs = startedMs + args.seconds * 1000;
  let saidMs = startedMs;
  for (;;) {
    const sample = await inspection.sampleRows();
    log.add(sample);
    const nowMs = performance.now();
    if (nowMs >= endMs || args.signal.aborted) break;
    if (nowMs - saidMs >= PROGRESS_EVERY_MS) {
      saidMs = nowMs;
      const { missed, double } = log.result();
      const seconds = Math.round((nowMs - startedMs) / 1000);
      context.output.progress(
        `${seconds} of ${args.seconds} s: ${sample.rows.length} rows, ${missed} missed, ${double} double`,
      );
    }
    const pauseMs = Math.max(SAMPLE_EVERY_MS, (sample.rows.length / ROWS_PER_SECOND) * 1000);
    await pauseFor(Math.max(0, Math.min(pauseMs, endMs - nowMs)), args.signal);
  }
  const result = log.result();
  context.output.result(result, () => describeAudit(result));
  return result.isClean ? 0 : 1;
}

function pauseFor(ms: number, signal: AbortSignal): Promise<void> {
  return delay(ms, undefined, { signal }).catch(() => {});
}

function describeAudit(result: AuditResult): string {
  const shares = Object.entries(result.shares).sort(([a], [b]) => (a < b ? -1 : 1));
  const lines = [
    `${result.isClean ? 'clean' : 'NOT CLEAN'}: ${result.rows} rows over ${result.seconds} s, ${result.samples} samples`,
    `${result.missed} missed ticks, ${result.double} double ticks, ${result.unowned} rows without an owner`,
    `shares ${result.isUneven ? 'are UNEVEN' : 'are even'}: ${shares.map(([worker, rows]) => `${worker} ${rows}`).join(', ')}`,
  ];
  if (result.exhausted > 0)
    lines.push(`${result.exhausted} rows cannot grow: their value is NULL or the largest integer`);
  if (result.worst.length === 0) return lines.join('\n');
  const rows = result.worst.map(({ id, slot, owner, missed, double }) => [id, slot, owner ?? 'nobody', missed, double]);
  return [...lines, formatTable(['row', 'slot', 'owner', 'missed', 'double'], rows)].join('\n');
}
