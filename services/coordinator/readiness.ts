import { describeTrouble, type Unready } from '../../shared/machine/trouble.ts';
import {
  type Answer,
  advanceWatches,
  answersFrom,
  startWatches,
  UNKNOWN_REASON,
  type Watches,
  watchesWakeAtMs,
} from '../../shared/machine/watches.ts';
import type { CoordinatorEffect, CoordinatorEvent, CoordinatorReport, Dependency } from './protocol.ts';
import { describeDamage, isBeingMended, type TableCare } from './table-care.ts';

/**
 * Is the coordinator ready? A leader is while NATS acknowledges and Postgres answers; a standby while it could lead, which
 * needs the same. Nothing else of the coordinator depends on this.
 */
export interface Readiness {
  /** Of the first step; null: there was none yet. */
  readonly startedMs: number | null;
  readonly watches: Watches<Dependency>;
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

export const NOT_READY_YET: Readiness = { startedMs: null, watches: startWatches(['Postgres', 'NATS', 'table']) };

const NOTHING: readonly Answer<Dependency>[] = [];
const nats = answersFrom('NATS');
const postgres = answersFrom('Postgres');

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
  const answers = readAnswers(step.event, step.care);
  const { watches, reports } = advanceWatches(state.watches, { answers, effects: step.effects, askedBy }, nowMs);
  return { state: { startedMs: state.startedMs ?? nowMs, watches }, reports };
}

export function readinessWakeAtMs({ watches }: Readiness): readonly (number | null)[] {
  return watchesWakeAtMs(watches);
}

/** Why the coordinator is not ready; null: it is. */
export function judgeCoordinator(readiness: Readiness, facts: CoordinatorFacts): Unready | null {
  const { nowMs, care } = facts;
  const { startedMs, watches } = readiness;
  const sinceMs = startedMs ?? nowMs;
  if (facts.isLeaving) return { reason: 'leaving', sinceMs: nowMs };
  const natsTrouble = describeTrouble(watches.NATS, nowMs);
  if (natsTrouble !== null) return { ...natsTrouble, reason: `NATS: ${natsTrouble.reason}` };
  // It names the remedy; what Postgres says of the same damage does not.
  const damage = describeDamage(care);
  if (damage !== null) return { reason: damage, sinceMs: watches.table.trouble?.sinceMs ?? nowMs };
  const postgresTrouble = describeTrouble(watches.Postgres, nowMs);
  if (postgresTrouble !== null) return { ...postgresTrouble, reason: `Postgres: ${postgresTrouble.reason}` };
  if (!watches.NATS.hasAnswered) return { reason: 'the leader key has not been read yet', sinceMs };
  if (!watches.Postgres.hasAnswered) return { reason: 'Postgres has not answered yet', sinceMs };
  if (facts.isTakingOffice) return { reason: 'taking office: reading ring, fence and table', sinceMs };
  return null;
}

/**
 * Requests that must be answered soon. Counting a large table may take long, and with it becoming leader and mending. During that
 * time the check of the table shows that Postgres answers.
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

function readAnswers(event: CoordinatorEvent, care: TableCare): readonly Answer<Dependency>[] {
  switch (event.kind) {
    case 'leader-observed':
      // Any coordinator may have written it: NATS stores keys.
      return event.entry === null ? NOTHING : [nats('write-leader', null)];
    case 'leader-read':
      return [nats('read-leader', null)];
    case 'leader-read-failed':
      return [nats('read-leader', event.reason ?? UNKNOWN_REASON)];
    case 'leader-written':
      return [nats('write-leader', event.outcome.kind === 'failed' ? (event.outcome.reason ?? UNKNOWN_REASON) : null)];
    case 'members-read':
      return [nats('read-members', event.entries === null ? (event.reason ?? UNKNOWN_REASON) : null)];
    case 'key-read':
      return [nats('read-key', event.outcome === 'failed' ? (event.reason ?? UNKNOWN_REASON) : null)];
    case 'key-deleted':
      return [nats('delete-key', event.outcome === 'failed' ? (event.reason ?? UNKNOWN_REASON) : null)];
    case 'snapshot-published':
    case 'snapshot-refused':
      return [nats('publish-snapshot', null)];
    case 'snapshot-failed':
      return [nats('publish-snapshot', event.reason)];
    case 'newest-read':
      return [
        nats('read-newest', event.newest === null ? (event.reasons?.newest ?? UNKNOWN_REASON) : null),
        postgres('read-epoch', event.lastEpoch === null ? (event.reasons?.lastEpoch ?? UNKNOWN_REASON) : null),
      ];
    case 'office-ready':
      return [nats('take-office', null), postgres('take-office', null)];
    case 'office-failed':
      return [{ from: event.from ?? 'Postgres', what: 'take-office', reason: event.reason }];
    case 'progress-read':
      return [postgres('read-progress', event.progress === null ? (event.reason ?? UNKNOWN_REASON) : null)];
    case 'table-counted':
      return [postgres('count-table', event.table === null ? (event.reason ?? UNKNOWN_REASON) : null)];
    case 'table-changed':
      return [postgres('read-changes', event.change === null ? (event.reason ?? UNKNOWN_REASON) : null)];
    case 'table-checked':
      if (event.verdict === null) return [postgres('check-table', event.reason ?? UNKNOWN_REASON)];
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

/** Damage that is being mended is not reported: the outcome is. */
function judgeTable(care: TableCare): readonly Answer<Dependency>[] {
  return isBeingMended(care) ? NOTHING : [{ from: 'table', what: 'table', reason: describeDamage(care) }];
}
