import type { Liveness } from '../../shared/nats/liveness.ts';
import type { LivenessEntry } from '../../shared/nats/liveness-bucket.ts';
import type { Evidence } from '../../shared/ring/snapshot.ts';
import type { CoordinatorEffect, MemberChange, ProbeAnswer } from './protocol.ts';

/**
 * Who is alive? The liveness bucket is the only truth; evidence only makes it come sooner.
 *
 * A member's life: live → suspected (evidence at hand, being confirmed) → live again, or left. To leave, its key must be
 * seen gone, or be deleted at exactly the revision that was read: a worker that renewed in between wins.
 *
 * Intuition for the guards: when one light in the street goes out, its bulb broke. When all go out, or when I have just
 * opened my eyes, it is I who cannot see.
 *
 * The records of `members` are owned by this machine and updated in place: a copy of the map for each heartbeat would
 * cost the square of the number of workers.
 */
export interface MembershipState {
  readonly members: ReadonlyMap<string, Member>;
  /** Workers put out for standing still, by the tick at which they stood: they are back when it moves. */
  readonly benched: ReadonlyMap<string, number>;
  /** When each lately departed worker was found gone, ms: a read of the bucket that began before that tells old news. */
  readonly departed: ReadonlyMap<string, number>;
  /** No silence counts before this: a reconnect, or a gap in our own acknowledgements, made us blind. */
  readonly blindUntilMs: number;
  readonly sweepAtMs: number;
}

interface Member {
  readonly id: string;
  /** Of the newest put known to be stored; null: heard only. */
  revision: number | null;
  heardAtMs: number;
  tick: number;
  tickMovedAtMs: number;
  probeAtMs: number;
  isProbing: boolean;
  suspicion: Suspicion | null;
}

interface Suspicion {
  readonly evidence: Evidence;
  readonly awaits: 'second-probe' | 'key' | 'deletion' | 'retry';
  readonly retryAtMs: number;
}

export interface MembershipTiming {
  readonly leaseTtlMs: number;
  readonly nowMs: number;
}

export interface MembershipStep {
  readonly state: MembershipState;
  readonly effects: readonly CoordinatorEffect[];
  readonly changes: readonly MemberChange[];
}

const SWEEP_EVERY_MS = 25;
const PROBE_EVERY_MS = 250;
/** All probes together: at most this many a second, however many workers there are. */
const PROBES_PER_SECOND = 500;
const KEY_RETRY_MS = 250;
/** Longer than any read of the bucket takes. */
const DEPARTED_KEPT_MS = 60_000;
const NOT_TICKING_AFTER_MS = 5_000;
/** Others' ticks must have moved within this: else it is Postgres that stands still, not the worker. */
const OTHERS_TICK_WITHIN_MS = 2_000;

/** A new leader's view: what the bucket holds, and for the last snapshot's other workers a lease from now on. */
export function startMembership(
  entries: readonly LivenessEntry[],
  ringWorkers: readonly string[],
  nowMs: number,
): MembershipStep {
  const members = new Map<string, Member>();
  for (const worker of ringWorkers) members.set(worker, newMember(worker, nowMs));
  const state: MembershipState = {
    members,
    benched: new Map(),
    departed: new Map(),
    blindUntilMs: nowMs,
    sweepAtMs: nowMs,
  };
  return receiveEntries(state, entries, { startedMs: nowMs, nowMs });
}

/** The whole bucket: finds what was missed. A missing key accuses nobody; silence and probes will find who is gone. */
export function receiveEntries(
  state: MembershipState,
  entries: readonly LivenessEntry[],
  read: { readonly startedMs: number; readonly nowMs: number },
): MembershipStep {
  const changes: MemberChange[] = [];
  let next = { ...state, departed: forgetOld(state.departed, read.nowMs) };
  for (const entry of entries) {
    if (entry.value === null) continue;
    const known = next.members.get(entry.id);
    // The same put, read again, does not renew the lease twice.
    if (known !== undefined && known.revision !== null && entry.revision <= known.revision) continue;
    const departedAtMs = next.departed.get(entry.id);
    if (departedAtMs !== undefined && departedAtMs >= read.startedMs) continue;
    const step = receiveHeartbeat(next, entry.value, read.nowMs);
    next = step.state;
    changes.push(...step.changes);
    receiveRevision(next, entry.id, entry.revision);
  }
  return { state: next, effects: [], changes };
}

/**
 * The watch tells which revision a put became. It makes no member and renews no lease: it may be many seconds late, and
 * then its puts are older than the deletion that the plain subscription has already told of.
 */
export function receiveRevision(state: MembershipState, worker: string, revision: number): void {
  const member = state.members.get(worker);
  if (member !== undefined) member.revision = Math.max(revision, member.revision ?? 0);
}

/** A put, heard by the plain subscription, or read from the bucket. */
export function receiveHeartbeat(state: MembershipState, value: Liveness, nowMs: number): MembershipStep {
  if (value.state === 'leaving') return removeMember(state, value.id, { evidence: 'left', nowMs });
  // Any other tick is movement, also a lower one: the database's clock may have been set back.
  if (state.benched.get(value.id) === value.tick) return nothing(state);
  const member = state.members.get(value.id);
  if (member === undefined) return addMember(state, value, nowMs);
  member.heardAtMs = nowMs;
  if (value.tick !== member.tick) {
    member.tick = value.tick;
    member.tickMovedAtMs = nowMs;
  }
  if (member.suspicion?.evidence === 'lease-expired' && member.suspicion.awaits !== 'deletion') member.suspicion = null;
  return nothing(state);
}

/**
 * A key was deleted. The watch tells of deletions late, perhaps after the worker put its key again; so its word counts
 * only above the revision known. The plain subscription's (revision null) comes in order with the puts it tells of.
 */
export function receiveRemoval(
  state: MembershipState,
  worker: string,
  told: { readonly revision: number | null; readonly nowMs: number },
): MembershipStep {
  const { revision, nowMs } = told;
  const member = state.members.get(worker);
  if (member === undefined) return nothing(state);
  if (revision !== null && (member.revision === null || revision <= member.revision)) return nothing(state);
  return removeMember(state, worker, { evidence: 'left', nowMs });
}

export function receiveProbe(
  state: MembershipState,
  worker: string,
  answer: ProbeAnswer,
  nowMs: number,
): MembershipStep {
  const member = state.members.get(worker);
  if (member === undefined) return nothing(state);
  member.isProbing = false;
  if (answer.kind === 'answered') {
    if (member.suspicion?.awaits === 'second-probe') member.suspicion = null;
    return answer.value === null ? nothing(state) : receiveHeartbeat(state, answer.value, nowMs);
  }
  if (answer.kind === 'timeout') {
    if (member.suspicion?.awaits === 'second-probe') member.suspicion = null;
    return nothing(state);
  }
  if (nowMs < state.blindUntilMs) return nothing(state);
  if (member.suspicion === null) return probeAgain(state, member);
  if (member.suspicion.awaits !== 'second-probe') return nothing(state);
  return readKey(state, member, 'connection-closed');
}

/** The server itself says that the worker's connection is gone: one probe confirms it. */
export function receiveDisconnect(state: MembershipState, worker: string): MembershipStep {
  const member = state.members.get(worker);
  if (member === undefined || member.suspicion !== null) return nothing(state);
  return probeAgain(state, member);
}

export function receiveKey(
  state: MembershipState,
  worker: string,
  outcome: { readonly entry: LivenessEntry | null } | 'failed',
  nowMs: number,
): MembershipStep {
  const member = state.members.get(worker);
  if (member === undefined || member.suspicion?.awaits !== 'key') return nothing(state);
  const { evidence } = member.suspicion;
  if (outcome === 'failed') return retryLater(state, member, nowMs);
  if (outcome.entry === null) return removeMember(state, worker, { evidence, nowMs });
  const { revision } = outcome.entry;
  // Silence is no renewal heard: a put that we did not know of is one.
  const isRenewed = evidence === 'lease-expired' && revision !== member.revision;
  if (isRenewed) return clear(state, member, { revision, nowMs });
  member.suspicion = { evidence, awaits: 'deletion', retryAtMs: Number.POSITIVE_INFINITY };
  return { state, effects: [{ kind: 'delete-key', worker, revision }], changes: [] };
}

export function receiveDeletion(
  state: MembershipState,
  worker: string,
  outcome: 'deleted' | 'changed' | 'failed',
  nowMs: number,
): MembershipStep {
  const member = state.members.get(worker);
  if (member === undefined || member.suspicion?.awaits !== 'deletion') return nothing(state);
  if (outcome === 'failed') return retryLater(state, member, nowMs);
  if (outcome === 'deleted') return removeMember(state, worker, { evidence: member.suspicion.evidence, nowMs });
  if (member.suspicion.evidence === 'not-ticking') return retryLater(state, member, nowMs);
  return clear(state, member, { revision: null, nowMs });
}

/** Every lease starts anew: after a reconnect, or a gap in our own acknowledgements, silence says nothing. */
export function restartLeases(state: MembershipState, timing: MembershipTiming): MembershipState {
  for (const member of state.members.values()) {
    member.heardAtMs = timing.nowMs;
    member.tickMovedAtMs = timing.nowMs;
    member.suspicion = null;
  }
  return { ...state, blindUntilMs: timing.nowMs + timing.leaseTtlMs };
}

/** Looks through all members for deadlines that passed. Cheap enough for every 25 ms, too dear for every event. */
export function sweepMembers(state: MembershipState, timing: MembershipTiming): MembershipStep {
  const { nowMs, leaseTtlMs } = timing;
  if (nowMs < state.sweepAtMs) return nothing(state);
  const effects: CoordinatorEffect[] = [];
  const members = [...state.members.values()];
  const silent = members.filter((member) => nowMs - member.heardAtMs > leaseTtlMs);
  const isMassSilence = members.length > 1 && silent.length * 2 > members.length;
  const patienceMs = isMassSilence ? 2 * leaseTtlMs : leaseTtlMs;
  const probeEveryMs = Math.max(PROBE_EVERY_MS, (members.length * 1000) / PROBES_PER_SECOND);
  for (const member of members) {
    if (member.suspicion?.awaits === 'retry' && nowMs >= member.suspicion.retryAtMs) {
      effects.push(...readKey(state, member, member.suspicion.evidence).effects);
    } else if (member.suspicion === null && nowMs >= state.blindUntilMs) {
      const evidence = accuse(member, members, { patienceMs, nowMs });
      if (evidence !== null) effects.push(...readKey(state, member, evidence).effects);
    }
    if (!member.isProbing && nowMs >= member.probeAtMs) {
      member.isProbing = true;
      member.probeAtMs = nowMs + probeEveryMs;
      effects.push({ kind: 'probe-worker', worker: member.id });
    }
  }
  return { state: { ...state, sweepAtMs: nowMs + SWEEP_EVERY_MS }, effects, changes: [] };
}

/** What the clock alone says against a member. */
function accuse(
  member: Member,
  members: readonly Member[],
  timing: { readonly patienceMs: number; readonly nowMs: number },
): Evidence | null {
  const { nowMs } = timing;
  if (nowMs - member.heardAtMs > timing.patienceMs) return 'lease-expired';
  if (nowMs - member.tickMovedAtMs <= NOT_TICKING_AFTER_MS) return null;
  const doOthersTick = members.some((other) => other !== member && nowMs - other.tickMovedAtMs < OTHERS_TICK_WITHIN_MS);
  return doOthersTick ? 'not-ticking' : null;
}

function probeAgain(state: MembershipState, member: Member): MembershipStep {
  member.suspicion = { evidence: 'connection-closed', awaits: 'second-probe', retryAtMs: Number.POSITIVE_INFINITY };
  member.isProbing = true;
  return {
    state,
    effects: [
      { kind: 'report', report: { kind: 'member-suspected', worker: member.id, evidence: 'connection-closed' } },
      { kind: 'probe-worker', worker: member.id },
    ],
    changes: [],
  };
}

function readKey(state: MembershipState, member: Member, evidence: Evidence): MembershipStep {
  const effects: CoordinatorEffect[] = [{ kind: 'read-key', worker: member.id }];
  if (member.suspicion === null) {
    effects.unshift({ kind: 'report', report: { kind: 'member-suspected', worker: member.id, evidence } });
  }
  member.suspicion = { evidence, awaits: 'key', retryAtMs: Number.POSITIVE_INFINITY };
  return { state, effects, changes: [] };
}

function retryLater(state: MembershipState, member: Member, nowMs: number): MembershipStep {
  if (member.suspicion !== null) {
    member.suspicion = { ...member.suspicion, awaits: 'retry', retryAtMs: nowMs + KEY_RETRY_MS };
  }
  return nothing(state);
}

function clear(
  state: MembershipState,
  member: Member,
  found: { readonly revision: number | null; readonly nowMs: number },
): MembershipStep {
  const evidence = member.suspicion?.evidence ?? 'lease-expired';
  member.suspicion = null;
  member.heardAtMs = found.nowMs;
  if (found.revision !== null) member.revision = found.revision;
  return {
    state,
    effects: [{ kind: 'report', report: { kind: 'member-cleared', worker: member.id, evidence } }],
    changes: [],
  };
}

function addMember(state: MembershipState, value: Liveness, nowMs: number): MembershipStep {
  const member = { ...newMember(value.id, nowMs), tick: value.tick };
  const members = new Map(state.members).set(value.id, member);
  const benched = without(state.benched, value.id);
  return { state: { ...state, members, benched }, effects: [], changes: [{ kind: 'joined', worker: value.id }] };
}

function removeMember(
  state: MembershipState,
  worker: string,
  found: { readonly evidence: Evidence; readonly nowMs: number },
): MembershipStep {
  const member = state.members.get(worker);
  if (member === undefined) return nothing(state);
  const { evidence, nowMs } = found;
  const members = without(state.members, worker);
  const departed = new Map(state.departed).set(worker, nowMs);
  const benched = evidence === 'not-ticking' ? new Map(state.benched).set(worker, member.tick) : state.benched;
  return {
    state: { ...state, members, benched, departed },
    effects: [],
    changes: [{ kind: 'left', worker, evidence }],
  };
}

function newMember(id: string, nowMs: number): Member {
  return {
    id,
    revision: null,
    heardAtMs: nowMs,
    tick: 0,
    tickMovedAtMs: nowMs,
    probeAtMs: nowMs,
    isProbing: false,
    suspicion: null,
  };
}

function forgetOld(departed: ReadonlyMap<string, number>, nowMs: number): ReadonlyMap<string, number> {
  return new Map([...departed].filter(([, atMs]) => nowMs - atMs < DEPARTED_KEPT_MS));
}

function without<Value>(map: ReadonlyMap<string, Value>, key: string): ReadonlyMap<string, Value> {
  if (!map.has(key)) return map;
  const copy = new Map(map);
  copy.delete(key);
  return copy;
}

function nothing(state: MembershipState): MembershipStep {
  return { state, effects: [], changes: [] };
}
