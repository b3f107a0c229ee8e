import { setTimeout as delay } from 'node:timers/promises';
import { PostgresUnavailableError } from '../../../shared/postgres/failure.ts';
import { Inspection, type TableSample } from '../../../shared/postgres/inspection.ts';
import { isUneven } from '../../../shared/ring/assignment.ts';
import { AuditLog, type AuditResult } from '../audit-log.ts';
import { type CommandContext, CommandError } from '../context.ts';
import { formatTable, type Output } from '../output.ts';

/** Below half a second, so that no slot is ticked twice between two samples: a double and a missed tick would cancel. */
const SAMPLE_EVERY_MS = 400;
/** Larger tables are sampled more rarely, so that the audit does not slow down what it watches. */
const ROWS_PER_SECOND = 50_000;
const PROGRESS_EVERY_MS = 5_000;
const RETRY_MS = 250;
/** The last sample is waited for so long beyond the end. */
const END_PATIENCE_MS = 60_000;

/**
 * Watches the table from outside for a while, or until the signal ends it: what was seen until then is the result.
 * An outage of Postgres is waited for. Exit code 1 when a promise is broken.
 */
export async function auditTable(
  context: CommandContext,
  args: { readonly seconds: number; readonly signal: AbortSignal },
): Promise<number> {
  const { signal } = args;
  const { postgres, table, adoption } = await context.adopted();
  const inspection = new Inspection(postgres, table, adoption);
  const log = new AuditLog(isUneven);
  const startedMs = performance.now();
  const endMs = startedMs + args.seconds * 1000;
  let saidMs = startedMs;
  let hasLast = false;
  for (;;) {
    const askedMs = performance.now();
    const sample = await sampleSoon(inspection, log, {
      output: context.output,
      untilMs: endMs + END_PATIENCE_MS,
      signal,
    });
    if (sample !== null) log.add(sample);
    const nowMs = performance.now();
    hasLast = sample !== null;
    if (sample === null || nowMs >= endMs || signal.aborted) break;
    if (nowMs - saidMs >= PROGRESS_EVERY_MS) {
      saidMs = nowMs;
      const { missed, double } = log.result();
      const seconds = Math.round((nowMs - startedMs) / 1000);
      context.output.progress(
        `${seconds} of ${args.seconds} s: ${sample.rows.length} rows, ${missed} missed, ${double} double`,
      );
    }
    const everyMs = Math.max(SAMPLE_EVERY_MS, (sample.rows.length / ROWS_PER_SECOND) * 1000);
    await pauseFor(Math.max(0, Math.min(askedMs + everyMs, endMs) - nowMs), signal);
  }
  if (!log.hasSamples) throw new CommandError('Postgres did not answer: there is no sample, so nothing can be said');
  const result = log.result();
  const isClean = result.isClean && hasLast;
  context.output.result({ ...result, isClean }, () => describeAudit({ ...result, isClean }));
  return isClean ? 0 : 1;
}

/** Waits for Postgres, saying so once; null: it did not answer in time, or the audit was ended. */
async function sampleSoon(
  inspection: Inspection,
  log: AuditLog,
  wait: { readonly output: Output; readonly untilMs: number; readonly signal: AbortSignal },
): Promise<TableSample | null> {
  const { output, untilMs, signal } = wait;
  let sinceMs: number | null = null;
  const seconds = () => (sinceMs === null ? 0 : (performance.now() - sinceMs) / 1000);
  try {
    for (;;) {
      try {
        const sample = await inspection.sampleRows();
        if (sinceMs !== null) output.progress(`Postgres answers again after ${seconds().toFixed(1)} s`);
        return sample;
      } catch (error) {
        if (!(error instanceof PostgresUnavailableError)) throw error;
        if (sinceMs === null) output.progress(`waiting for Postgres: ${error.message}`);
        sinceMs ??= performance.now();
      }
      if (signal.aborted || performance.now() >= untilMs) return null;
      await pauseFor(RETRY_MS, signal);
    }
  } finally {
    log.noteSilence(seconds());
  }
}

function pauseFor(ms: number, signal: AbortSignal): Promise<void> {
  return delay(ms, undefined, { signal }).catch(() => {});
}

function describeAudit(result: AuditResult): string {
  const shares = Object.entries(result.shares).sort(([a], [b]) => (a < b ? -1 : 1));
  const { unevenSeconds, longestGapSeconds, blindSeconds } = result;
  const uneven = `are UNEVEN${unevenSeconds > 0 ? `, for ${unevenSeconds} s at a time` : ''}, at the end`;
  const lines = [
    `${result.isClean ? 'clean' : 'NOT CLEAN'}: ${result.rows} rows over ${result.seconds} s, ${result.samples} samples, at most ${longestGapSeconds} s apart`,
    `${result.missed} missed ticks, ${result.double} double ticks, ${result.unowned} rows without an owner, ${result.misnamed} that named another worker than their owner`,
    `shares ${result.isUneven ? uneven : 'are even'}: ${shares.map(([worker, rows]) => `${worker} ${rows}`).join(', ')}`,
  ];
  if (blindSeconds > 0) lines.push(`Postgres did not answer for ${blindSeconds} s`);
  if (result.exhausted > 0)
    lines.push(`${result.exhausted} rows cannot grow: their value is NULL or the largest integer`);
  if (result.worst.length === 0) return lines.join('\n');
  const head = ['row', 'slot', 'owner', 'missed', 'double', 'named'];
  const rows = result.worst.map(({ id, slot, owner, missed, double, isMisnamed }) => {
    return [id, slot, owner ?? 'nobody', missed, double, isMisnamed ? 'another' : 'the owner'];
  });
  return [...lines, formatTable(head, rows)].join('\n');
}
