import type { Liveness } from '../../shared/nats/liveness.ts';
import type { LivenessEntry } from '../../shared/nats/liveness-bucket.ts';
import { forgetOldBenches } from './bench.ts';
import {
  addMember,
  askKey,
  deleteKey,
  isUnseen,
  type Member,
  type MembershipState,
  type MembershipStep,
  type MembershipTiming,
  newMember,
  nothing,
  probeToConfirm,
  readKey,
  removeMember,
  renewLease,
  retryLater,
  type Suspicion,
  setDrained,
} from './member.ts';
import { judgeAnew } from './membership-progress.ts';
import { considerReturn, receiveReturn } from './membership-return.ts';
import type { CoordinatorEffect, CoordinatorReport, MemberChange, ProbeAnswer } from './protocol.ts';

/**
 * Who is alive? The liveness bucket is the only truth; evidence only makes it come sooner.
 *
 * A member's life: live → suspected (evidence at hand, being confirmed) → live again, or left. To leave, its key must be
 * seen gone, or be deleted at exactly the revision that was read: a worker that renewed in between wins.
 *
 * Intuition for the guards: when one light in the street goes out, its bulb broke. When all go out, or when I have just
 * opened my eyes, it is I who cannot see.
 *
 * What is heard comes in here; what the clock alone says is found by `sweepMembers`.
 */
/** Longer than any read of the bucket takes. */
const DEPARTED_KEPT_MS = 60_000;

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
    blindFromMs: nowMs,
    blindUntilMs: nowMs,
    massSilenceAtMs: Number.NEGATIVE_INFINITY,
    standstillAtMs: Number.NEGATIVE_INFINITY,
    progressAtMs: Number.NEGATIVE_INFINITY,
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
  const effects: CoordinatorEffect[] = [];
  let next = {
    ...state,
    departed: forgetOld(state.departed, read.nowMs),
    benched: forgetOldBenches(state.benched, read.nowMs),
  };
  for (const entry of entries) {
    if (entry.value === null) continue;
    const known = next.members.get(entry.id);
    // The same put, read again, does not renew the lease twice.
    if (known !== undefined && known.revision !== null && entry.revision <= known.revision) continue;
    const toldAtMs = known?.statedAtMs ?? next.departed.get(entry.id) ?? Number.NEGATIVE_INFINITY;
    if (toldAtMs >= read.startedMs) continue;
    const step = takeValue(next, entry.value, read.nowMs);
    next = step.state;
    changes.push(...step.changes);
    effects.push(...step.effects);
    receiveRevision(next, entry.id, entry.revision);
  }
  return { state: next, effects, changes };
}

/**
 * The watch tells which revision a put became. It makes no member and renews no lease: it may be many seconds late, and
 * then its puts are older than the deletion that the plain subscription has already told of.
 */
export function receiveRevision(state: MembershipState, worker: string, revision: number): void {
  const member = state.members.get(worker);
  if (member !== undefined) member.revision = Math.max(revision, member.revision ?? 0);
}

/** What a worker says of itself just now: a put, heard by the plain subscription, or the answer to a probe. */
export function receiveHeartbeat(state: MembershipState, value: Liveness, nowMs: number): MembershipStep {
  const step = takeValue(state, value, nowMs);
  const member = step.state.members.get(value.id);
  if (member === undefined) return step;
  member.presentAtMs = nowMs;
  member.isDoubted = false;
  return step;
}

/** Also where it was read from the bucket. */
function takeValue(state: MembershipState, value: Liveness, nowMs: number): MembershipStep {
  if (value.state === 'leaving') return removeMember(state, value.id, { evidence: 'left', nowMs });
  const member = state.members.get(value.id);
  if (member === undefined) {
    const bench = state.benched.get(value.id);
    return bench === undefined ? addMember(state, value, nowMs) : considerReturn(state, bench, value, nowMs);
  }
  renewLease(member, nowMs);
  member.rows = value.rows;
  member.ring = value.ring;
  if (value.tick !== member.tick) {
    member.tick = value.tick;
    member.tickMovedAtMs = nowMs;
  }
  if (member.suspicion !== null && isRefutedByRenewal(member.suspicion)) member.suspicion = null;
  return setDrained(state, member, { isDrained: value.state === 'drained', nowMs });
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
  const { suspicion } = member;
  const isDeleting = suspicion?.awaits === 'deletion';
  const isOld = revision !== null && (member.revision === null ? !isDeleting : revision <= member.revision);
  if (isOld) return nothing(state);
  // Our own deletion, told of before its outcome came: the evidence it was done on counts.
  return removeMember(state, worker, { evidence: isDeleting ? suspicion.evidence : 'left', nowMs });
}

export function receiveProbe(
  state: MembershipState,
  worker: string,
  answer: ProbeAnswer,
  nowMs: number,
): MembershipStep {
  const member = state.members.get(worker);
  if (member === undefined) return receiveReturn(state, worker, answer, nowMs);
  member.isProbing = false;
  if (answer.kind === 'answered') {
    if (member.suspicion?.awaits === 'second-probe') member.suspicion = null;
    return answer.value === null ? nothing(state) : receiveHeartbeat(state, answer.value, nowMs);
  }
  if (answer.kind === 'timeout') {
    member.isDoubted = true;
    if (member.suspicion?.awaits === 'second-probe') member.suspicion = null;
    return nothing(state);
  }
  if (isUnseen(state, member, nowMs)) return nothing(state);
  if (member.suspicion === null) return probeAgain(state, member);
  if (member.suspicion.awaits !== 'second-probe') return nothing(state);
  const { revision } = member;
  // Whoever renews in between is at another revision by then: reading it first would only take longer.
  return revision === null
    ? readKey(state, member, 'connection-closed')
    : deleteKey(state, member, { evidence: 'connection-closed', revision });
}

/**
 * The server itself says that the worker's connection is gone: one probe confirms it, also where another is under way,
 * which may have been asked of the dead. The word may be late, doubled, or of a connection that another has replaced.
 */
export function receiveDisconnect(state: MembershipState, worker: string, nowMs: number): MembershipStep {
  const member = state.members.get(worker);
  if (member === undefined || member.suspicion !== null || isUnseen(state, member, nowMs)) return nothing(state);
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
  const { evidence, revision: known } = member.suspicion;
  if (outcome === 'failed') return retryLater(state, member, nowMs);
  if (outcome.entry === null) return removeMember(state, worker, { evidence, nowMs });
  const { revision } = outcome.entry;
  // Silence is no renewal heard: a put that we did not know of is one, also where only the watch has told of it since.
  const isRenewed = evidence === 'lease-expired' && revision !== (member.quiet ?? member).revision;
  if (isRenewed) return clear(state, member, { revision, nowMs });
  if (evidence === 'connection-closed' && revision !== known) {
    // Put after nobody answered, or told of late: only a key older than the evidence is deleted for it.
    member.revision = revision;
    return probeToConfirm(state, member);
  }
  return deleteKey(state, member, { evidence, revision });
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
  switch (member.suspicion.evidence) {
    case 'not-ticking':
      // A renewal proves nothing here: any client may have put it, and the slots still stand.
      return removeMember(state, worker, { evidence: 'not-ticking', nowMs });
    case 'connection-closed':
      // Renewed after all, or expired: what the bucket says of it now decides, held against what was to be deleted.
      return askKey(state, member, member.suspicion);
    default:
      return clear(state, member, { revision: null, nowMs });
  }
}

/** Whom a standby has heard before it took office. */
export function notePresence({ members }: MembershipState, heardAtMs: ReadonlyMap<string, number>): void {
  for (const member of members.values()) {
    member.presentAtMs = Math.max(member.presentAtMs, heardAtMs.get(member.id) ?? Number.NEGATIVE_INFINITY);
  }
}

/**
 * Every lease starts anew: after a reconnect, or a gap in our own acknowledgements, silence says nothing. `fromMs`: when what
 * made us blind was over.
 * @default now
 */
export function restartLeases(
  state: MembershipState,
  timing: MembershipTiming & { readonly fromMs?: number },
): MembershipState {
  for (const member of state.members.values()) {
    renewLease(member, timing.nowMs);
    member.tickMovedAtMs = timing.nowMs;
    judgeAnew(member, timing.nowMs);
    member.suspicion = null;
    // What was lost meanwhile nobody has told of.
    member.isDoubted = true;
  }
  const { nowMs, leaseTtlMs, fromMs = nowMs } = timing;
  return { ...state, blindFromMs: fromMs, blindUntilMs: nowMs + leaseTtlMs };
}

function probeAgain(state: MembershipState, member: Member): MembershipStep {
  const report: CoordinatorReport = { kind: 'member-suspected', worker: member.id, evidence: 'connection-closed' };
  const { effects } = probeToConfirm(state, member);
  return { state, effects: [{ kind: 'report', report }, ...effects], changes: [] };
}

function clear(
  state: MembershipState,
  member: Member,
  found: { readonly revision: number | null; readonly nowMs: number },
): MembershipStep {
  const evidence = member.suspicion?.evidence ?? 'lease-expired';
  member.suspicion = null;
  renewLease(member, found.nowMs);
  if (found.revision !== null) member.revision = found.revision;
  return {
    state,
    effects: [{ kind: 'report', report: { kind: 'member-cleared', worker: member.id, evidence } }],
    changes: [],
  };
}

function forgetOld(departed: ReadonlyMap<string, number>, nowMs: number): ReadonlyMap<string, number> {
  return new Map([...departed].filter(([, atMs]) => nowMs - atMs < DEPARTED_KEPT_MS));
}

/** Once the deletion is under way its outcome decides. */
function isRefutedByRenewal({ evidence, awaits }: Suspicion): boolean {
  return evidence === 'lease-expired' && awaits !== 'deletion';
}
