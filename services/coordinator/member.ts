import type { Liveness } from '../../shared/nats/liveness.ts';
import type { Evidence } from '../../shared/ring/snapshot.ts';
import { type Bench, makeBench, type Probation } from './bench.ts';
import type { CoordinatorEffect, CoordinatorReport, MemberChange } from './protocol.ts';

/** The membership's state, and the few transitions of a member that everything else is made of. */
/**
 * The records of `members` are owned by this machine and updated in place: a copy of the map for each heartbeat would
 * cost the square of the number of workers.
 */
export interface MembershipState {
  readonly members: ReadonlyMap<string, Member>;
  /** Evicted workers, of which each must answer a probe to come back. */
  readonly benched: ReadonlyMap<string, Bench>;
  /** When each lately departed worker was found gone, ms: a read of the bucket that began before that tells old news. */
  readonly departed: ReadonlyMap<string, number>;
  /**
   * A connect, or a gap in our own acknowledgements, made us blind: no silence counts before the end, and nobody's absence who has
   * not been heard since the beginning, for whoever has not may only be on the way back.
   */
  readonly blindFromMs: number;
  readonly blindUntilMs: number;
  /** When more than half were silent together last, ms. */
  readonly massSilenceAtMs: number;
  /** When nobody ticked last, ms. */
  readonly standstillAtMs: number;
  /** When the newest read of the fence's progress began, ms. */
  readonly progressAtMs: number;
  readonly sweepAtMs: number;
}

export interface Member {
  readonly id: string;
  /** Of the newest put known to be stored; null: heard only. */
  revision: number | null;
  heardAtMs: number;
  /** When it was last heard itself, its put or its answer; a key read tells of a former time. */
  presentAtMs: number;
  /** What the bucket's newest put was known to be when the worker had been quiet for most of the TTL; null: it is not quiet. */
  quiet: { readonly revision: number | null } | null;
  /** What its liveness value says. Never the reason for an eviction. */
  tick: number;
  tickMovedAtMs: number;
  /** What its liveness value says, too: how many rows it watches, and by which ring. */
  rows: number;
  ring: number;
  /** The newest tick of its slots in the fence; null: it has none there, or was not read yet. */
  fenceTick: number | null;
  fenceMovedAtMs: number;
  /** Since when its progress is judged: see `membership-progress.ts`. */
  standsSinceMs: number;
  /** Since when it is known, while it stands, that its slots have rows; null: not known. */
  rowsKnownSinceMs: number | null;
  /** Its slots had no rows when that was asked last. */
  isIdle: boolean;
  /** It was readmitted after it had not ticked; null: it never was. */
  probation: Probation | null;
  /** It lives, and wants no slots. */
  isDrained: boolean;
  /** When it was heard to join, to be drained or not: a read of the bucket that began before that tells old news of it. */
  statedAtMs: number;
  probeAtMs: number;
  isProbing: boolean;
  /** It has not been heard itself since we began to listen, or since it was asked in vain. */
  isDoubted: boolean;
  suspicion: Suspicion | null;
}

export interface Suspicion {
  readonly evidence: Evidence;
  readonly awaits: 'second-probe' | 'key' | 'deletion' | 'retry';
  readonly retryAtMs: number;
  /** The newest put known when the evidence was complete: a later one speaks for the worker. Null: none was known. */
  readonly revision: number | null;
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

const KEY_RETRY_MS = 250;

/**
 * Whom the ring may name: all but the drained. Where all are drained, all of them, since no row may be without an owner
 * while a worker lives: this holds whatever was drained at once, or died after another was drained.
 */
export function plannableWorkers({ members }: MembershipState): string[] {
  const all = [...members.values()];
  const active = all.filter(({ isDrained }) => !isDrained);
  return (active.length > 0 ? active : all).map(({ id }) => id);
}

/** Some member is under suspicion, and may be found gone within a few round trips. */
export function isUnsettled({ members }: MembershipState): boolean {
  for (const { suspicion } of members.values()) if (suspicion !== null && suspicion.awaits !== 'retry') return true;
  return false;
}

export function addMember(state: MembershipState, value: Liveness, nowMs: number): MembershipStep {
  const isDrained = value.state === 'drained';
  const { tick, rows, ring } = value;
  const member = { ...newMember(value.id, nowMs), tick, rows, ring, isDrained, statedAtMs: nowMs };
  const members = new Map(state.members).set(value.id, member);
  const added = { ...state, members, benched: without(state.benched, value.id) };
  const isPlanned = plannableWorkers(added).includes(value.id);
  return { state: added, effects: [], changes: isPlanned ? [{ kind: 'joined', worker: value.id }] : [] };
}

/** To the ring a drained worker has left, and an undrained one has joined; its lease is watched all the while. */
export function setDrained(
  state: MembershipState,
  member: Member,
  told: { readonly isDrained: boolean; readonly nowMs: number },
): MembershipStep {
  if (member.isDrained === told.isDrained) return nothing(state);
  member.isDrained = told.isDrained;
  member.statedAtMs = told.nowMs;
  const { id: worker } = member;
  const change: MemberChange = told.isDrained
    ? { kind: 'left', worker, evidence: 'drained' }
    : { kind: 'joined', worker };
  return { state, effects: [], changes: [change] };
}

export function removeMember(
  state: MembershipState,
  worker: string,
  found: { readonly evidence: Evidence; readonly nowMs: number },
): MembershipStep {
  const member = state.members.get(worker);
  if (member === undefined) return nothing(state);
  const { evidence, nowMs } = found;
  const members = without(state.members, worker);
  const departed = new Map(state.departed).set(worker, nowMs);
  const bench = makeBench({ evidence, tick: member.tick, probation: member.probation }, nowMs);
  const benched = bench === null ? state.benched : new Map(state.benched).set(worker, bench);
  return {
    state: { ...state, members, benched, departed },
    effects: [],
    changes: [{ kind: 'left', worker, evidence }],
  };
}

export function newMember(id: string, nowMs: number): Member {
  return {
    id,
    revision: null,
    heardAtMs: nowMs,
    presentAtMs: Number.NEGATIVE_INFINITY,
    quiet: null,
    tick: 0,
    tickMovedAtMs: nowMs,
    rows: 0,
    ring: 0,
    fenceTick: null,
    fenceMovedAtMs: Number.NEGATIVE_INFINITY,
    standsSinceMs: nowMs,
    rowsKnownSinceMs: null,
    isIdle: false,
    probation: null,
    isDrained: false,
    statedAtMs: Number.NEGATIVE_INFINITY,
    probeAtMs: nowMs,
    isProbing: false,
    isDoubted: true,
    suspicion: null,
  };
}

/** May its absence be an effect of what made us blind? */
export function isUnseen(state: MembershipState, member: Member, nowMs: number): boolean {
  return nowMs < state.blindUntilMs && member.presentAtMs <= state.blindFromMs;
}

/** Its lease begins anew. */
export function renewLease(member: Member, nowMs: number): void {
  member.heardAtMs = nowMs;
  member.quiet = null;
}

export function readKey(state: MembershipState, member: Member, evidence: Evidence): MembershipStep {
  const isNew = member.suspicion === null;
  const { effects } = askKey(state, member, { evidence, revision: member.revision });
  if (!isNew) return { state, effects, changes: [] };
  const report: CoordinatorReport = { kind: 'member-suspected', worker: member.id, evidence };
  return { state, effects: [{ kind: 'report', report }, ...effects], changes: [] };
}

export function askKey(
  state: MembershipState,
  member: Member,
  known: Pick<Suspicion, 'evidence' | 'revision'>,
): MembershipStep {
  const { evidence, revision } = known;
  member.suspicion = { evidence, revision, awaits: 'key', retryAtMs: Number.POSITIVE_INFINITY };
  return { state, effects: [{ kind: 'read-key', worker: member.id }], changes: [] };
}

export function deleteKey(
  state: MembershipState,
  member: Member,
  known: { readonly evidence: Evidence; readonly revision: number },
): MembershipStep {
  const { evidence, revision } = known;
  member.suspicion = { evidence, revision, awaits: 'deletion', retryAtMs: Number.POSITIVE_INFINITY };
  return { state, effects: [{ kind: 'delete-key', worker: member.id, revision }], changes: [] };
}

/** Asks the worker itself, at once: only when it has no responders now is its key looked at. */
export function probeToConfirm(state: MembershipState, member: Member): MembershipStep {
  const evidence = 'connection-closed';
  member.suspicion = { evidence, awaits: 'second-probe', retryAtMs: Number.POSITIVE_INFINITY, revision: null };
  member.isProbing = true;
  return { state, effects: [{ kind: 'probe-worker', worker: member.id }], changes: [] };
}

export function retryLater(state: MembershipState, member: Member, nowMs: number): MembershipStep {
  if (member.suspicion !== null) {
    member.suspicion = { ...member.suspicion, awaits: 'retry', retryAtMs: nowMs + KEY_RETRY_MS };
  }
  return nothing(state);
}

function without<Value>(map: ReadonlyMap<string, Value>, key: string): ReadonlyMap<string, Value> {
  if (!map.has(key)) return map;
  const copy = new Map(map);
  copy.delete(key);
  return copy;
}

export function nothing(state: MembershipState): MembershipStep {
  return { state, effects: [], changes: [] };
}
