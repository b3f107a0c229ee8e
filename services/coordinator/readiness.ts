import {
  advanceWatch,
  describeTrouble,
  NO_TROUBLE,
  noteAnswer,
  noteRequest,
  type Unready,
  type Watch,
  watchWakeAtMs,
} from '../../shared/machine/trouble.ts';
import type { CoordinatorEffect, CoordinatorEvent, CoordinatorReport, Dependency } from './protocol.ts';
import { describeDamage, isBeingMended, type TableCare } from './table-care.ts';

/**
 * Is the coordinator ready? A leader is while NATS acknowledges and Postgres answers; a standby while it could lead, which
 * needs the same. Nothing else of the coordinator depends on this.
 */
export interface Readiness {
  /** Of the first step; null: there was none yet. */
  readonly startedMs: number | null;
  readonly postgres: Watch;
  readonly nats: Watch;
  readonly table: Watch;
}

export interface CoordinatorFacts {
  readonly isLeaving: boolean;
  /** The leader key is mine, and what a leader must know is being read. */
  readonly isTakingOffice: boolean;
  readonly care: TableCare;
  readonly nowMs: number;
}

export interface ReadinessStep {
  readonly state: Readiness;
  readonly reports: readonly CoordinatorReport[];
}

export const NOT_READY_YET: Readiness = { startedMs: null, postgres: NO_TROUBLE, nats: NO_TROUBLE, table: NO_TROUBLE };

interface Answer {
  readonly from: Dependency;
  readonly what: string;
  /** Null: it succeeded. */
  readonly reason: string | null;
}

const NOTHING: readonly Answer[] = [];
const UNKNOWN = 'failed for a reason unknown';

/** Takes in one step of the coordinator: its event, the effects it led to, and the care of the table after it. */
export function watchDependencies(
  state: Readiness,
  step: {
    readonly event: CoordinatorEvent;
    readonly effects: readonly CoordinatorEffect[];
    readonly care: TableCare;
  },
  nowMs: number,
): ReadinessStep {
  const watches = { Postgres: state.postgres, NATS: state.nats, table: state.table };
  const reports: CoordinatorReport[] = [];
  const take = (of: Dependency, { watch, report }: ReturnType<typeof advanceWatch>) => {
    watches[of] = watch;
    if (report !== null) reports.push({ ...report, server: of });
  };
  for (const { from, what, reason } of readAnswers(step.event, step.care)) {
    take(from, noteAnswer(watches[from], { what, reason }, nowMs));
  }
  take('Postgres', advanceWatch(watches.Postgres, nowMs));
  take('NATS', advanceWatch(watches.NATS, nowMs));
  take('table', advanceWatch(watches.table, nowMs));
  for (const effect of step.effects) {
    const from = askedBy(effect);
    if (from !== null) watches[from] = noteRequest(watches[from], effect.kind, nowMs);
  }
  const { Postgres: postgres, NATS: nats, table } = watches;
  return { state: { startedMs: state.startedMs ?? nowMs, postgres, nats, table }, reports };
}

export function readinessWakeAtMs({ postgres, nats, table }: Readiness): readonly (number | null)[] {
  return [watchWakeAtMs(postgres), watchWakeAtMs(nats), watchWakeAtMs(table)];
}

/** Why the coordinator is not ready; null: it is. */
export function judgeCoordinator(readiness: Readiness, facts: CoordinatorFacts): Unready | null {
  const { nowMs, care } = facts;
  const { startedMs, postgres, nats, table } = readiness;
  const sinceMs = startedMs ?? nowMs;
  if (facts.isLeaving) return { reason: 'leaving', sinceMs: nowMs };
  const natsTrouble = describeTrouble(nats, nowMs);
  if (natsTrouble !== null) return { ...natsTrouble, reason: `NATS: ${natsTrouble.reason}` };
  // It names the remedy; what Postgres says of the same damage does not.
  const damage = describeDamage(care);
  if (damage !== null) return { reason: damage, sinceMs: table.trouble?.sinceMs ?? nowMs };
  const postgresTrouble = describeTrouble(postgres, nowMs);
  if (postgresTrouble !== null) return { ...postgresTrouble, reason: `Postgres: ${postgresTrouble.reason}` };
  if (!nats.hasAnswered) return { reason: 'the leader key has not been read yet', sinceMs };
  if (!postgres.hasAnswered) return { reason: 'Postgres has not answered yet', sinceMs };
  if (facts.isTakingOffice) return { reason: 'taking office: reading ring, fence and table', sinceMs };
  return null;
}

/**
 * What is asked, and must be answered soon. Counting a large table, and so taking office, and mending may take long: the
 * check of the table shows meanwhile that Postgres answers.
 */
function askedBy(effect: CoordinatorEffect): 'Postgres' | 'NATS' | null {
  switch (effect.kind) {
    case 'read-leader':
    case 'write-leader':
    case 'read-members':
    case 'publish-snapshot':
      return 'NATS';
    case 'check-table':
    case 'read-changes':
      return 'Postgres';
    default:
      return null;
  }
}

function readAnswers(event: CoordinatorEvent, care: TableCare): readonly Answer[] {
  switch (event.kind) {
    case 'leader-observed':
      // Whoever wrote it: NATS stores the key.
      return event.entry === null ? NOTHING : [nats('write-leader', null)];
    case 'leader-read':
      return [nats('read-leader', null)];
    case 'leader-read-failed':
      return [nats('read-leader', event.reason ?? UNKNOWN)];
    case 'leader-written':
      return [nats('write-leader', event.outcome.kind === 'failed' ? (event.outcome.reason ?? UNKNOWN) : null)];
    case 'members-read':
      return [nats('read-members', event.entries === null ? (event.reason ?? UNKNOWN) : null)];
    case 'key-read':
      return [nats('read-key', event.outcome === 'failed' ? (event.reason ?? UNKNOWN) : null)];
    case 'key-deleted':
      return [nats('delete-key', event.outcome === 'failed' ? (event.reason ?? UNKNOWN) : null)];
    case 'snapshot-published':
    case 'snapshot-refused':
      return [nats('publish-snapshot', null)];
    case 'snapshot-failed':
      return [nats('publish-snapshot', event.reason)];
    case 'newest-read':
      return [
        nats('read-newest', event.newest === null ? (event.reasons?.newest ?? UNKNOWN) : null),
        postgres('read-epoch', event.lastEpoch === null ? (event.reasons?.lastEpoch ?? UNKNOWN) : null),
      ];
    case 'office-ready':
      return [nats('take-office', null), postgres('take-office', null)];
    case 'office-failed':
      return [{ from: event.from ?? 'Postgres', what: 'take-office', reason: event.reason }];
    case 'progress-read':
      return [postgres('read-progress', event.progress === null ? (event.reason ?? UNKNOWN) : null)];
    case 'table-counted':
      return [postgres('count-table', event.table === null ? (event.reason ?? UNKNOWN) : null)];
    case 'table-changed':
      return [postgres('read-changes', event.change === null ? (event.reason ?? UNKNOWN) : null)];
    case 'table-checked':
      if (event.verdict === null) return [postgres('check-table', event.reason ?? UNKNOWN)];
      return [postgres('check-table', null), ...judgeTable(care)];
    case 'table-mended':
      if (event.outcome.kind === 'failed') return [postgres('mend-table', event.outcome.reason)];
      return [postgres('mend-table', null), ...judgeTable(care)];
    case 'disconnected':
      return [nats('connection', 'the connection was lost')];
    case 'reconnected':
      return [nats('connection', null)];
    default:
      return NOTHING;
  }
}

/** While it is being mended nobody need read of it: the outcome is reported. */
function judgeTable(care: TableCare): readonly Answer[] {
  return isBeingMended(care) ? NOTHING : [{ from: 'table', what: 'table', reason: describeDamage(care) }];
}

function nats(what: string, reason: string | null): Answer {
  return { from: 'NATS', what, reason };
}

function postgres(what: string, reason: string | null): Answer {
  return { from: 'Postgres', what, reason };
}
