import { earliest } from '../../shared/machine/machine.ts';
import type { LeaderEntry } from '../../shared/nats/leadership-bucket.ts';
import type { CoordinatorEffect, ProbeAnswer, WriteOutcome } from './protocol.ts';

/**
 * Who leads? Whoever holds the key `leader`: made where there is none, or put in the place of exactly the revision whose
 * holder is known to be gone.
 *
 * Roles: standby → holder (the key is mine) → standby. A holder that has had no acknowledgement for most of the TTL lets
 * go by its own clock, before the key can expire under it: two never act at once, and where clocks betray even that, the
 * snapshot stream refuses the one that is behind.
 */
export interface LeadershipState {
  readonly role: 'standby' | 'holder' | 'retired';
  /** The key as last seen; null: none. Undefined: not looked yet. */
  readonly key: LeaderEntry | null | undefined;
  readonly heardAtMs: number;
  readonly isReading: boolean;
  readonly isWriting: boolean;
  readonly nextReadAtMs: number;
  readonly nextWriteAtMs: number;
  /** When the last acknowledged renewal was sent: the key lives at least a TTL from then. */
  readonly acknowledgedMs: number;
  readonly revision: number;
  readonly probeAtMs: number;
  readonly isProbing: boolean;
  /** Probes in a row that found nobody. */
  readonly absences: number;
}

export interface LeadershipContext {
  readonly id: string;
  readonly startedAt: string;
  /** What the key shall say: 0 until the epoch is drawn. */
  readonly epoch: number;
  readonly leaseTtlMs: number;
  readonly heartbeatMs: number;
  readonly nowMs: number;
}

export interface LeadershipStep {
  readonly state: LeadershipState;
  readonly effects: readonly CoordinatorEffect[];
  /** What the rest must know: the key became mine, or is no longer. */
  readonly turn: 'won' | 'lost' | null;
}

const PROBE_EVERY_MS = 250;
const READ_RETRY_MS = 250;
/** Of the TTL: a holder without an acknowledgement for this long lets go. */
const HOLD_SHARE = 0.75;

export const STANDBY: LeadershipState = {
  role: 'standby',
  key: undefined,
  heardAtMs: Number.NEGATIVE_INFINITY,
  isReading: false,
  isWriting: false,
  nextReadAtMs: Number.NEGATIVE_INFINITY,
  nextWriteAtMs: Number.NEGATIVE_INFINITY,
  acknowledgedMs: Number.NEGATIVE_INFINITY,
  revision: 0,
  probeAtMs: Number.NEGATIVE_INFINITY,
  isProbing: false,
  absences: 0,
};

/** To be called before every event is handled: a leader that overslept must find out before it acts. */
export function checkHold(state: LeadershipState, context: LeadershipContext): LeadershipStep {
  if (state.role !== 'holder' || context.nowMs - state.acknowledgedMs <= HOLD_SHARE * context.leaseTtlMs) {
    return { state, effects: [], turn: null };
  }
  return {
    state: { ...state, role: 'standby', key: undefined, nextWriteAtMs: context.nowMs },
    effects: [],
    turn: 'lost',
  };
}

export function advanceLeadership(state: LeadershipState, context: LeadershipContext): LeadershipStep {
  if (state.role === 'holder') return renewHold(state, context);
  if (state.role === 'retired' || state.isReading || state.isWriting) return { state, effects: [], turn: null };
  const { key } = state;
  const { nowMs } = context;
  if (key != null && state.absences >= 2) return campaign(state, key.revision, nowMs);
  const isSilent = nowMs - state.heardAtMs > context.leaseTtlMs;
  if (key === undefined || (key !== null && isSilent)) {
    if (nowMs < state.nextReadAtMs) return { state, effects: [], turn: null };
    return only({ ...state, isReading: true, nextReadAtMs: nowMs + READ_RETRY_MS }, { kind: 'read-leader' });
  }
  if (key === null) return campaign(state, null, nowMs);
  // This very process', from before a lapse: nobody else holds it.
  if (isOwn(key, context)) return campaign(state, key.revision, nowMs);
  // Of my id, but another process: a probe would be answered by myself, so its silence must tell.
  if (key.id === context.id) return { state, effects: [], turn: null };
  if (state.isProbing || nowMs < state.probeAtMs) return { state, effects: [], turn: null };
  const probing = { ...state, isProbing: true, probeAtMs: nowMs + PROBE_EVERY_MS };
  return only(probing, { kind: 'probe-leader', leader: key.id });
}

/** From the watch: a renewal, another leader, or the key's deletion. */
export function observeKey(state: LeadershipState, entry: LeaderEntry | null, nowMs: number): LeadershipState {
  if (state.role !== 'standby') return state;
  if (entry === null) return { ...state, key: null, absences: 0 };
  const known = state.key ?? null;
  if (known !== null && entry.revision < known.revision) return state;
  const isNew = known === null || entry.revision > known.revision;
  return { ...state, key: entry, heardAtMs: isNew ? nowMs : state.heardAtMs, absences: isNew ? 0 : state.absences };
}

/** Read because it fell silent: gone or unchanged, its holder is; renewed, the silence was ours. */
export function receiveKeyRead(
  state: LeadershipState,
  entry: LeaderEntry | null,
  timing: { readonly nowMs: number; readonly leaseTtlMs: number },
): LeadershipStep {
  const { nowMs, leaseTtlMs } = timing;
  const read = { ...state, isReading: false };
  if (read.role !== 'standby') return { state: read, effects: [], turn: null };
  // Unchanged and long silent: a renewal may also have been heard while this read was under way.
  const isSilent = nowMs - state.heardAtMs > leaseTtlMs;
  if (isSilent && entry !== null && entry.revision === read.key?.revision) return campaign(read, entry.revision, nowMs);
  return { state: { ...read, key: entry, heardAtMs: nowMs, absences: 0 }, effects: [], turn: null };
}

export function failKeyRead(state: LeadershipState): LeadershipState {
  return { ...state, isReading: false };
}

export function receiveLeaderProbe(
  state: LeadershipState,
  leader: string,
  answer: ProbeAnswer,
  nowMs: number,
): LeadershipState {
  const probed = { ...state, isProbing: false };
  if (state.role !== 'standby' || state.key?.id !== leader) return probed;
  if (answer.kind !== 'no-responders') return { ...probed, absences: 0 };
  return { ...probed, absences: state.absences + 1, probeAtMs: nowMs };
}

/**
 * The server itself says that the leader's connection is gone: one probe, sent at once, confirms it. One under way is not
 * waited for, since a process that dies while it is asked gives no answer.
 */
export function receiveLeaderDisconnect(state: LeadershipState, client: string, nowMs: number): LeadershipState {
  if (state.role !== 'standby' || state.key?.id !== client) return state;
  return { ...state, absences: Math.max(1, state.absences), isProbing: false, probeAtMs: nowMs };
}

export function receiveWrite(
  state: LeadershipState,
  write: { readonly sentMs: number; readonly outcome: WriteOutcome },
  context: LeadershipContext,
): LeadershipStep {
  const written = { ...state, isWriting: false };
  switch (write.outcome.kind) {
    case 'won': {
      if (state.role === 'retired') {
        return only(written, { kind: 'remove-leader', revision: write.outcome.revision });
      }
      // Answered so late that the hold is over already: look again.
      if (context.nowMs - write.sentMs > HOLD_SHARE * context.leaseTtlMs) {
        const turn = state.role === 'holder' ? 'lost' : null;
        return {
          state: { ...written, role: 'standby', key: undefined, nextReadAtMs: context.nowMs },
          effects: [],
          turn,
        };
      }
      const held = {
        ...written,
        role: 'holder' as const,
        acknowledgedMs: write.sentMs,
        revision: write.outcome.revision,
      };
      const isNew = state.role === 'standby';
      return { state: { ...held, key: null, absences: 0 }, effects: [], turn: isNew ? 'won' : null };
    }
    case 'refused':
      // Somebody else wrote: let go at once, and look who it is.
      return {
        state: {
          ...written,
          role: state.role === 'retired' ? 'retired' : 'standby',
          key: undefined,
          heardAtMs: context.nowMs,
        },
        effects: [],
        turn: state.role === 'holder' ? 'lost' : null,
      };
    case 'failed':
      // Unknown whether it was stored: a standby looks, a holder tries again and lets go by its clock.
      return { state: state.role === 'standby' ? { ...written, key: undefined } : written, effects: [], turn: null };
  }
}

/** Lets the key go: deleted, so that a standby takes over at once. `retire` when it is for good. */
export function letGo(
  state: LeadershipState,
  how: { readonly retire: boolean; readonly nowMs: number; readonly pauseMs: number },
): LeadershipStep {
  // With a renewal under way the revision is about to be another: the key is removed when its outcome is known.
  const isKnown = state.role === 'holder' && !(how.retire && state.isWriting);
  const effects: CoordinatorEffect[] = isKnown ? [{ kind: 'remove-leader', revision: state.revision }] : [];
  const role = how.retire ? 'retired' : 'standby';
  return {
    state: { ...state, role, key: undefined, nextWriteAtMs: how.nowMs + how.pauseMs },
    effects,
    turn: state.role === 'holder' ? 'lost' : null,
  };
}

/** After a reconnect: what the standby knew is old. For `pauseMs` it leaves a key that is gone to others. */
export function forgetKey(
  state: LeadershipState,
  { nowMs, pauseMs }: { readonly nowMs: number; readonly pauseMs: number },
): LeadershipState {
  if (state.role !== 'standby') return { ...state, nextWriteAtMs: nowMs };
  const nextWriteAtMs = nowMs + pauseMs;
  return { ...state, key: undefined, heardAtMs: nowMs, absences: 0, nextReadAtMs: nowMs, nextWriteAtMs };
}

export function leadershipWakeAtMs(state: LeadershipState, context: LeadershipContext): number | null {
  if (state.role === 'retired') return null;
  if (state.role === 'holder') {
    return earliest(
      state.isWriting ? null : state.nextWriteAtMs,
      state.acknowledgedMs + HOLD_SHARE * context.leaseTtlMs + 1,
    );
  }
  if (state.isReading || state.isWriting) return null;
  if (state.key === undefined) return state.nextReadAtMs;
  if (state.key === null || isOwn(state.key, context) || state.absences >= 2) return state.nextWriteAtMs;
  const silentAtMs = Math.max(state.heardAtMs + context.leaseTtlMs + 1, state.nextReadAtMs);
  return earliest(silentAtMs, state.isProbing || state.key.id === context.id ? null : state.probeAtMs);
}

function isOwn(key: LeaderEntry, context: LeadershipContext): boolean {
  return key.id === context.id && key.startedAt === context.startedAt;
}

function renewHold(state: LeadershipState, context: LeadershipContext): LeadershipStep {
  if (state.isWriting || context.nowMs < state.nextWriteAtMs) return { state, effects: [], turn: null };
  const next = { ...state, isWriting: true, nextWriteAtMs: context.nowMs + context.heartbeatMs };
  return only(next, { kind: 'write-leader', epoch: context.epoch, revision: state.revision });
}

function campaign(state: LeadershipState, revision: number | null, nowMs: number): LeadershipStep {
  if (nowMs < state.nextWriteAtMs) return { state, effects: [], turn: null };
  const next = { ...state, isWriting: true, absences: 0, nextWriteAtMs: nowMs + READ_RETRY_MS };
  return only(next, { kind: 'write-leader', epoch: 0, revision });
}

function only(state: LeadershipState, effect: CoordinatorEffect): LeadershipStep {
  return { state, effects: [effect], turn: null };
}
