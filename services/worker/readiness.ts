import { assertNever } from '../../shared/machine/machine.ts';
import { describeTrouble, failureOf, formatSeconds, type Unready } from '../../shared/machine/trouble.ts';
import {
  type Answer,
  advanceWatches,
  answersFrom,
  startWatches,
  UNKNOWN_REASON,
  type Watches,
  watchesWakeAtMs,
} from '../../shared/machine/watches.ts';
import type { Server, WorkerEffect, WorkerEvent, WorkerReport } from './protocol.ts';

/**
 * Is the worker ready? It is while every row that can be ticked had its tick within the last three seconds, or while it has
 * no rows and knows the ring. A worker that is not ready goes on with all it can do: only people, rollouts and
 * PodDisruptionBudgets listen to this.
 *
 * It sees each request go out and each answer come in, and decides nothing else of the worker.
 */
export interface Readiness {
  /** Of the first step; null: there was none yet. */
  readonly startedMs: number | null;
  readonly watches: Watches<Server>;
  /** When the last whole round was ended; null: none was. */
  readonly tickedMs: number | null;
  readonly lastTick: number;
}

/** What the worker's parts know, for the judgement. */
export interface WorkerFacts {
  readonly stage: 'checking' | 'running' | 'stopped';
  readonly isLeaving: boolean;
  readonly isRegistered: boolean;
  readonly hasRing: boolean;
  /** Where a leader is waited for. */
  readonly natsPrefix: string;
  readonly rows: number;
  /** Slots of a snapshot that are not claimed yet; null: none. */
  readonly claiming: { readonly slots: number; readonly sinceMs: number } | null;
  readonly nowMs: number;
}

export interface ReadinessStep {
  readonly state: Readiness;
  readonly reports: readonly WorkerReport[];
}

export const NOT_READY_YET: Readiness = {
  startedMs: null,
  watches: startWatches(['Postgres', 'NATS']),
  tickedMs: null,
  lastTick: 0,
};

/** Longer than one second's round and its retries; a row that waits longer has missed ticks. */
export const FRESH_MS = 3_000;

const nats = answersFrom('NATS');
const postgres = answersFrom('Postgres');
const NO_RING = 'no ring snapshot yet; waiting for a leader';

/** Takes in one step of the worker: its event, the effects it led to, and the last tick done after it. */
export function watchServers(
  state: Readiness,
  step: { readonly event: WorkerEvent; readonly effects: readonly WorkerEffect[]; readonly lastTick: number },
  nowMs: number,
): ReadinessStep {
  const { event, effects, lastTick } = step;
  const answer = readAnswer(event);
  const answers = answer === null ? [] : [answer];
  const { watches, reports } = advanceWatches(state.watches, { answers, effects, askedBy }, nowMs);
  const tickedMs = lastTick === state.lastTick ? state.tickedMs : nowMs;
  return { state: { startedMs: state.startedMs ?? nowMs, watches, tickedMs, lastTick }, reports };
}

export function readinessWakeAtMs({ watches }: Readiness): readonly (number | null)[] {
  return watchesWakeAtMs(watches);
}

/** Why the worker is not ready; null: it is. */
export function judgeWorker(readiness: Readiness, facts: WorkerFacts): Unready | null {
  const { nowMs } = facts;
  const { watches, startedMs, tickedMs } = readiness;
  const sinceMs = tickedMs ?? startedMs ?? nowMs;
  const because = (server: Server, what: string): Unready => {
    const trouble = describeTrouble(watches[server], nowMs);
    if (trouble === null) return { reason: what, sinceMs };
    return { reason: `${what}; ${server}: ${trouble.reason}`, sinceMs: Math.min(sinceMs, trouble.sinceMs) };
  };
  if (facts.stage === 'stopped') return { reason: 'stopped', sinceMs };
  if (facts.isLeaving) return { reason: 'leaving: its rows are being handed over', sinceMs };
  if (facts.stage === 'checking') return because('NATS', 'it is not known yet whether the worker id is free');
  if (tickedMs === null) return because('Postgres', 'no round of ticks done yet');
  if (nowMs - tickedMs > FRESH_MS) {
    return because('Postgres', `no whole round of ticks for ${formatSeconds(nowMs - tickedMs)}`);
  }
  const { claiming } = facts;
  if (claiming !== null && (!facts.hasRing || nowMs - claiming.sinceMs > FRESH_MS)) {
    const unclaimed = because('Postgres', `${claiming.slots} slots of the newest snapshot are not claimed yet`);
    return { ...unclaimed, sinceMs: claiming.sinceMs };
  }
  if (!facts.hasRing) {
    return because('NATS', facts.natsPrefix === '' ? NO_RING : `${NO_RING} under NATS prefix "${facts.natsPrefix}"`);
  }
  if (!facts.isRegistered) return because('NATS', 'not registered yet');
  const unread = failureOf(watches.NATS, 'read-newest');
  if (facts.rows === 0 && unread !== null) return because('NATS', 'no rows, and the ring cannot be read');
  return null;
}

function askedBy(effect: WorkerEffect): Server | null {
  switch (effect.kind) {
    case 'check-identity':
    case 'renew':
    case 'remove-key':
    case 'read-newest':
      return 'NATS';
    case 'measure-clock':
    case 'claim':
    case 'tick':
    case 'rebase':
    case 'read-ids':
    case 'read-owned':
    case 'read-issued':
      return 'Postgres';
    case 'serve-probe':
    case 'tell-applied':
    case 'report':
    case 'stop':
      return null;
    default:
      return assertNever(effect);
  }
}

function readAnswer(event: WorkerEvent): Answer<Server> | null {
  switch (event.kind) {
    case 'identity-checked':
      // A key whose holder does not answer is NATS' good answer.
      return nats('check-identity', event.reason ?? null);
    case 'renewed':
    case 'renewal-taken':
      return nats('renew', null);
    case 'renewal-failed':
      return nats('renew', event.reason ?? UNKNOWN_REASON);
    case 'key-removed':
      return nats('remove-key', event.removed ? null : (event.reason ?? UNKNOWN_REASON));
    case 'newest-read':
      return nats('read-newest', null);
    case 'newest-failed':
      return nats('read-newest', event.reason ?? UNKNOWN_REASON);
    case 'disconnected':
      return nats('connection', 'the connection was lost');
    case 'reconnected':
      return nats('connection', null);
    case 'clock-measured':
      return postgres('measure-clock', null);
    case 'clock-failed':
      return postgres('measure-clock', event.reason ?? UNKNOWN_REASON);
    case 'claimed':
      return postgres('claim', null);
    case 'claim-failed':
      return postgres('claim', event.reason);
    case 'ticked':
      return postgres('tick', null);
    case 'tick-failed':
      return postgres('tick', event.reason);
    case 'rebased':
      return postgres('rebase', null);
    case 'rebase-failed':
      return postgres('rebase', event.reason);
    case 'ids-read':
      return postgres('read-ids', null);
    case 'ids-failed':
      return postgres('read-ids', event.reason ?? UNKNOWN_REASON);
    case 'owned-read':
      return postgres('read-owned', event.slots === null ? (event.reason ?? UNKNOWN_REASON) : null);
    case 'issued-read':
      return postgres('read-issued', event.issued === null ? (event.reason ?? UNKNOWN_REASON) : null);
    case 'wake':
    case 'pause-noticed':
    case 'snapshot-received':
    case 'drain-requested':
    case 'undrain-requested':
    case 'leave-requested':
      return null;
    default:
      return assertNever(event);
  }
}
