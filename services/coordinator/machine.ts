import { assertNever, earliest, type Step } from '../../shared/machine/machine.ts';
import type { Unready } from '../../shared/machine/trouble.ts';
import type { RingApplied } from '../../shared/nats/ring-applied.ts';
import type { Recovery } from '../../shared/ring/recovery.ts';
import { compareOrder, type Snapshot, toAssignment } from '../../shared/ring/snapshot.ts';
import {
  advanceLeadership,
  checkHold,
  failKeyRead,
  forgetKey,
  type LeadershipContext,
  type LeadershipState,
  type LeadershipStep,
  leadershipWakeAtMs,
  letGo,
  observeKey,
  receiveKeyRead,
  receiveLeaderDisconnect,
  receiveLeaderProbe,
  receiveWrite,
  STANDBY,
} from './leadership.ts';
import { isUnsettled, type MembershipState, type MembershipStep, plannableWorkers } from './member.ts';
import {
  notePresence,
  receiveDeletion,
  receiveDisconnect,
  receiveEntries,
  receiveHeartbeat,
  receiveKey,
  receiveProbe,
  receiveRemoval,
  receiveRevision,
  restartLeases,
  startMembership,
} from './membership.ts';
import { sweepMembers } from './membership-sweep.ts';
import {
  beginRead,
  hearSnapshot,
  isReadDue,
  judgeNewest,
  type NewestRead,
  readAgain,
  startNewestRead,
} from './newest-read.ts';
import { assignmentOfFence, reportOddities } from './office.ts';
import {
  advancePlanner,
  announceTerm,
  doubtPublish,
  finishPublish,
  isPublishing,
  noteMemberChange,
  noteResize,
  type PlannerContext,
  type PlannerState,
  type PlannerStep,
  planAtMs,
  startPlanner,
} from './planner.ts';
import {
  beginProgressRead,
  finishProgressRead,
  type ProgressRead,
  progressReadAtMs,
  startProgressRead,
} from './progress-read.ts';
import type { CoordinatorConfig, CoordinatorEffect, CoordinatorEvent, CoordinatorReport, Office } from './protocol.ts';
import { judgeCoordinator, NOT_READY_YET, type Readiness, readinessWakeAtMs, watchDependencies } from './readiness.ts';
import {
  advanceRecovery,
  NO_RECOVERY,
  noteAcknowledgement,
  noteCauses,
  noteDecision,
  noteLeaderLoss,
  noteMember,
  noteSuspicions,
  type RecoveryState,
  receiveApplied,
  recoveryWakeAtMs,
} from './recovery.ts';
import { rowsTold } from './row-census.ts';
import { advanceCare, careWakeAtMs, NO_CARE, receiveCheck, receiveMending, type TableCare } from './table-care.ts';
import {
  advanceTable,
  receiveChange,
  receiveCount,
  receivePrune,
  recountTable,
  startTable,
  type TableState,
  type TableStep,
  tableWakeAtMs,
} from './table-size.ts';

/**
 * The whole coordinator as one machine. Leadership decides whether there is a term; a term holds membership, table,
 * planner and recovery, which know nothing of each other: what one must learn of another passes through here.
 *
 * Stages: standing by → taking office (the key is mine, the state of the world being read) → in term → standing by.
 * Invariant: nothing is planned, published, probed or evicted outside a term, and a term ends with the hold on the key.
 */
export interface CoordinatorState {
  readonly config: CoordinatorConfig;
  readonly isStopped: boolean;
  readonly leadership: LeadershipState;
  /** Number of the attempt under way; null: none. Answers to earlier attempts are old news. */
  readonly officeAttempt: number | null;
  readonly attempts: number;
  readonly isLeaving: boolean;
  readonly term: Term | null;
  /** The last term's epoch, to be resumed where nobody led since. */
  readonly lapsedEpoch: number | null;
  /** When this process connected last, at its start or again; null: before its first step. */
  readonly connectedAtMs: number | null;
  /** NATS tells of each lost connection, for certain. */
  readonly areDisconnectsCertain: boolean;
  /** When each worker was last heard in the first TTL since then, ms, in office or not. Updated in place. */
  readonly heardAtMs: Map<string, number>;
  /** Since when the leader has been known to be gone; null: not known. What the next term's announcement is dated by. */
  readonly leaderLostMs: number | null;
  readonly care: TableCare;
  /** It only watches: nothing else depends on it. */
  readonly readiness: Readiness;
}

interface Term {
  readonly epoch: number;
  readonly membership: MembershipState;
  readonly table: TableState;
  readonly planner: PlannerState;
  readonly recovery: RecoveryState;
  readonly membersRead: { readonly startedMs: number | null; readonly nextAtMs: number };
  readonly newestRead: NewestRead;
  /** Of the fence: what each worker ticks. */
  readonly progressRead: ProgressRead;
}

interface Change {
  readonly state: CoordinatorState;
  readonly effects: readonly CoordinatorEffect[];
}

const MEMBERS_EVERY_MS = 3_000;
const OFFICE_PAUSE_MS = 1_000;
const REFUSED_PAUSE_MS = 250;
/** Of the TTL. */
const FORMER_LEADER_FIRST_SHARE = 0.5;

export function startCoordinator(config: CoordinatorConfig): CoordinatorState {
  return {
    config,
    isStopped: false,
    leadership: STANDBY,
    officeAttempt: null,
    attempts: 0,
    isLeaving: false,
    term: null,
    lapsedEpoch: null,
    connectedAtMs: null,
    areDisconnectsCertain: false,
    heardAtMs: new Map(),
    leaderLostMs: null,
    care: NO_CARE,
    readiness: NOT_READY_YET,
  };
}

export function stepCoordinator(
  state: CoordinatorState,
  event: CoordinatorEvent,
  nowMs: number,
): Step<CoordinatorState, CoordinatorEffect> {
  if (state.isStopped) return { state, effects: [], wakeAtMs: null };
  // First of all: a leader that overslept its lease must know it before it acts on anything.
  const hold = checkHold(state.leadership, leadershipContext(state, nowMs));
  const held = takeLeadership(state, hold, 'no acknowledgement in time');
  const leaderLostMs = noteLeaderLoss(held.state.leaderLostMs, event, { id: state.config.id, nowMs });
  const connectedAtMs = state.connectedAtMs ?? nowMs;
  const handled = handle({ ...held.state, leaderLostMs, connectedAtMs }, event, nowMs);
  const advanced = advance(handled.state, nowMs);
  const effects = [...held.effects, ...handled.effects, ...advanced.effects];
  const { care } = advanced.state;
  const watched = watchDependencies(state.readiness, { event, effects, care }, nowMs);
  const next = { ...advanced.state, readiness: watched.state };
  for (const report of watched.reports) effects.push({ kind: 'report', report });
  return { state: next, effects, wakeAtMs: wakeAtMs(next, nowMs) };
}

/** Why readiness probes are refused; null: the coordinator is ready. */
export function findUnready(state: CoordinatorState, nowMs: number): Unready | null {
  const { readiness, care, isLeaving, officeAttempt } = state;
  return judgeCoordinator(readiness, { isLeaving, isTakingOffice: officeAttempt !== null, care, nowMs });
}

/** What the ring looks like from here; null outside a term or before its first snapshot. */
export function currentSnapshot(state: CoordinatorState): Snapshot | null {
  return state.term?.planner.published ?? null;
}

/** What this term has summed up, oldest first; null outside a term. */
export function recentRecoveries(state: CoordinatorState): readonly Recovery[] | null {
  return state.term?.recovery.recent ?? null;
}

function handle(state: CoordinatorState, event: CoordinatorEvent, nowMs: number): Change {
  switch (event.kind) {
    case 'wake':
      return only(state);
    case 'leader-observed':
      return withLeadership(state, observeKey(state.leadership, event.entry, nowMs));
    case 'leader-read':
      return takeLeadership(state, receiveKeyRead(state.leadership, event.entry, leadershipContext(state, nowMs)), '');
    case 'leader-read-failed':
      return withLeadership(state, failKeyRead(state.leadership));
    case 'disconnected':
      return only(state);
    case 'table-checked':
      return only({ ...state, care: receiveCheck(state.care, event, nowMs) });
    case 'table-mended':
      return takeMended(state, event, nowMs);
    case 'leader-probed':
      return withLeadership(state, receiveLeaderProbe(state.leadership, event.leader, event.answer, nowMs));
    case 'leader-written':
      return finishLeaderWrite(state, event, nowMs);
    case 'connection-closed': {
      const told = { ...state, leadership: receiveLeaderDisconnect(state.leadership, event.client, nowMs) };
      return inTerm(told, (term) => handleInTerm(term, event, { state: told, nowMs }), nowMs);
    }
    case 'disconnects-certain':
      return only({ ...state, areDisconnectsCertain: event.isCertain });
    case 'office-ready':
      return event.attempt === state.officeAttempt ? takeOffice(state, event.office, nowMs) : only(state);
    case 'office-failed':
      return event.attempt === state.officeAttempt ? declineOffice(state, event.reason, nowMs) : only(state);
    case 'reconnected': {
      // After an outage the former leader comes first: its term goes on, and no snapshot tells of a change that is none.
      const wasLeader = state.term !== null || state.lapsedEpoch !== null;
      const pauseMs = wasLeader ? 0 : FORMER_LEADER_FIRST_SHARE * state.config.leaseTtlMs;
      const leadership = forgetKey(state.leadership, { nowMs, pauseMs });
      const reconnected = { ...state, leadership, connectedAtMs: nowMs, heardAtMs: new Map() };
      return inTerm(reconnected, (term) => unchanged(blind(term, state.config.leaseTtlMs, nowMs)), nowMs);
    }
    case 'worker-heard':
      if (isYoung(state, nowMs)) state.heardAtMs.set(event.value.id, nowMs);
      return inTerm(state, (term) => handleInTerm(term, event, { state, nowMs }), nowMs);
    case 'leave-requested': {
      const step = letGo(state.leadership, { retire: true, nowMs, pauseMs: 0 });
      const left = takeLeadership(state, step, 'asked to leave');
      return { state: { ...left.state, isLeaving: true }, effects: left.effects };
    }
    default:
      return inTerm(state, (term) => handleInTerm(term, event, { state, nowMs }), nowMs);
  }
}

type TermEvent = Exclude<
  CoordinatorEvent,
  {
    kind:
      | 'wake'
      | 'disconnects-certain'
      | 'leader-observed'
      | 'leader-read'
      | 'leader-read-failed'
      | 'disconnected'
      | 'table-checked'
      | 'table-mended'
      | 'leader-probed'
      | 'leader-written'
      | 'office-ready'
      | 'office-failed'
      | 'reconnected'
      | 'leave-requested';
  }
>;

interface TermContext {
  readonly state: CoordinatorState;
  readonly nowMs: number;
}

interface TermChange {
  readonly term: Term;
  readonly effects: readonly CoordinatorEffect[];
  /** The stream refused: somebody else leads, or the stream is another. */
  readonly refusal?: string;
}

function handleInTerm(term: Term, event: TermEvent, context: TermContext): TermChange {
  const { nowMs } = context;
  const { membership } = term;
  switch (event.kind) {
    case 'worker-heard':
      return takeMembers(term, receiveHeartbeat(membership, event.value, nowMs), nowMs);
    case 'worker-stored':
      receiveRevision(membership, event.worker, event.revision);
      return unchanged(term);
    case 'worker-removed':
      return takeMembers(term, receiveRemoval(membership, event.worker, { revision: event.revision, nowMs }), nowMs);
    case 'members-read':
      return finishMembersRead(term, event.entries, nowMs);
    case 'worker-probed':
      return takeMembers(term, receiveProbe(membership, event.worker, event.answer, nowMs), nowMs);
    case 'connection-closed':
      return takeMembers(term, receiveDisconnect(membership, event.client, nowMs), nowMs);
    case 'key-read':
      return takeMembers(term, receiveKey(membership, event.worker, event.outcome, nowMs), nowMs);
    case 'key-deleted':
      return takeMembers(term, receiveDeletion(membership, event.worker, event.outcome, nowMs), nowMs);
    case 'progress-read':
      return takeProgress(term, event, nowMs);
    case 'table-counted':
      return takeTable(term, receiveCount(term.table, event.table, nowMs), nowMs);
    case 'table-changed':
      return takeTable(term, receiveChange(term.table, event.since, event.change, nowMs), nowMs);
    case 'table-pruned':
      return takeTable(term, receivePrune(term.table, event.at, event.outcome, nowMs), nowMs);
    case 'snapshot-published':
      return finishPublishing(term, finishPublish(term.planner, event), nowMs);
    case 'snapshot-refused':
      return isPublishing(term.planner, event.order) ? { term, effects: [], refusal: event.reason } : unchanged(term);
    case 'snapshot-failed':
      return {
        term: {
          ...term,
          planner: doubtPublish(term.planner, event.order),
          newestRead: readAgain(term.newestRead, nowMs),
        },
        effects: [{ kind: 'report', report: { kind: 'publish-failed', reason: event.reason } }],
      };
    case 'newest-read':
      return finishNewestRead(term, event, context);
    case 'snapshot-heard':
      return unchanged({
        ...term,
        newestRead: hearSnapshot(term.newestRead, term.planner, { order: event.order, nowMs }),
      });
    case 'ring-applied':
      return takeApplied(term, event.applied, nowMs);
    default:
      return assertNever(event);
  }
}

function advance(state: CoordinatorState, nowMs: number): Change {
  if (state.isLeaving && !state.leadership.isWriting) {
    return { state: { ...state, isStopped: true }, effects: [{ kind: 'stop', code: 0, reason: 'asked to leave' }] };
  }
  const led = takeLeadership(state, advanceLeadership(state.leadership, leadershipContext(state, nowMs)), '');
  const worked = inTerm(led.state, (term) => advanceTerm(term, state, nowMs), nowMs);
  const cared = advanceCare(worked.state.care, {
    mayMend: mayMend(worked.state),
    knownEpoch: knownEpoch(worked.state),
    nowMs,
  });
  const effects = [...led.effects, ...worked.effects, ...cared.effects];
  return { state: { ...worked.state, care: cared.state }, effects };
}

/** The highest that this coordinator knows of: its own term's, or the leader's. */
function knownEpoch({ term, lapsedEpoch, leadership }: CoordinatorState): number {
  return Math.max(term?.epoch ?? 0, lapsedEpoch ?? 0, leadership.key?.epoch ?? 0);
}

/** The leader mends. Without one, everybody may: nobody takes office while schema `scaler` is gone. */
function mayMend({ leadership, isLeaving }: CoordinatorState): boolean {
  return !isLeaving && (leadership.role === 'holder' || leadership.key == null);
}

/**
 * A schema that was created again knows no epochs and no owners: a new term begins, above the epochs in the stream. A table
 * that got its triggers again is counted again.
 */
function takeMended(
  state: CoordinatorState,
  event: Extract<CoordinatorEvent, { kind: 'table-mended' }>,
  nowMs: number,
): Change {
  const { outcome } = event;
  const cared = { ...state, care: receiveMending(state.care, event, nowMs) };
  if (outcome.kind !== 'mended') return only(cared);
  if (outcome.slots !== state.config.slots) {
    const reason = `the table was adopted again with ${outcome.slots} slots, this process counts ${state.config.slots}; starting again reads the new number`;
    return { state: { ...cared, isStopped: true }, effects: [{ kind: 'stop', code: 1, reason }] };
  }
  const report: CoordinatorEffect = { kind: 'report', report: { kind: 'table-mended', what: outcome.what } };
  const changed = inTerm(
    cared,
    (term) =>
      outcome.what === 'schema'
        ? { term, effects: [], refusal: 'schema scaler was created again' }
        : unchanged({ ...term, table: recountTable(term.table, nowMs) }),
    nowMs,
  );
  return { state: changed.state, effects: [report, ...changed.effects] };
}

function advanceTerm(term: Term, state: CoordinatorState, nowMs: number): TermChange {
  const { config, areDisconnectsCertain } = state;
  const effects: CoordinatorEffect[] = [];
  let next = term;
  if (next.membersRead.startedMs === null && nowMs >= next.membersRead.nextAtMs) {
    next = { ...next, membersRead: { ...next.membersRead, startedMs: nowMs } };
    effects.push({ kind: 'read-members' });
  }
  const progress = beginProgressRead(next.progressRead, { ...next, assignment: next.planner.assignment }, nowMs);
  next = { ...next, progressRead: progress.read };
  effects.push(...progress.effects);
  if (isReadDue(next.newestRead, nowMs)) {
    next = { ...next, newestRead: beginRead(next.newestRead, nowMs) };
    effects.push({ kind: 'read-newest' });
  }
  const timing = { leaseTtlMs: config.leaseTtlMs, areDisconnectsCertain, nowMs };
  const members = takeMembers(next, sweepMembers(next.membership, timing), nowMs);
  const told = () => rowsTold(members.term.membership, members.term.planner.published);
  const table = takeTable(members.term, advanceTable(members.term.table, nowMs, told), nowMs);
  const planned = plan(table.term, config, nowMs);
  const newestRead = { ...table.term.newestRead, isStale: table.term.newestRead.isStale || planned.effects.length > 0 };
  const recovery = advanceRecovery(followPlan(table.term, planned.state, nowMs), nowMs);
  return {
    term: { ...table.term, planner: planned.state, recovery: recovery.state, newestRead },
    effects: [...effects, ...members.effects, ...table.effects, ...planned.effects, ...recovery.effects],
  };
}

/** Most steps are heartbeats: without a cause nobody looks through all members. */
function plan(term: Term, config: CoordinatorConfig, nowMs: number): PlannerStep {
  if (term.planner.collectingSinceMs === null) return { state: term.planner, effects: [] };
  return advancePlanner(term.planner, plannerContext(term, config, nowMs));
}

/** Causes that became a snapshot, or came to nothing. */
function followPlan({ planner, recovery }: Term, planned: PlannerState, nowMs: number): RecoveryState {
  const { publishing } = planned;
  const isDecided = publishing !== null && publishing !== planner.publishing;
  const decision = { evidenceMs: recovery.evidenceMs, before: planner.assignment, nowMs };
  const decided = isDecided
    ? noteDecision(recovery, { ...decision, snapshot: publishing.snapshot, after: publishing.assignment })
    : recovery;
  return noteCauses(decided, { before: planner.causes.length, after: planned.causes.length, evidenceMs: null });
}

function wakeAtMs(state: CoordinatorState, nowMs: number): number | null {
  if (state.isStopped) return null;
  const { term } = state;
  const outsideTermMs = earliest(
    leadershipWakeAtMs(state.leadership, leadershipContext(state, nowMs)),
    careWakeAtMs(state.care, { mayMend: mayMend(state) }),
    ...readinessWakeAtMs(state.readiness),
  );
  if (term === null) return outsideTermMs;
  return earliest(
    outsideTermMs,
    term.membership.sweepAtMs,
    tableWakeAtMs(term.table),
    term.planner.collectingSinceMs === null
      ? null
      : planAtMs(term.planner, { isUnsettled: isUnsettled(term.membership) }),
    term.membersRead.startedMs === null ? term.membersRead.nextAtMs : null,
    term.newestRead.isBusy ? null : term.newestRead.nextAtMs,
    progressReadAtMs(term.progressRead),
    recoveryWakeAtMs(term.recovery),
  );
}

function finishLeaderWrite(
  state: CoordinatorState,
  event: Extract<CoordinatorEvent, { kind: 'leader-written' }>,
  nowMs: number,
): Change {
  const gapMs = event.sentMs - state.leadership.acknowledgedMs;
  const step = receiveWrite(state.leadership, event, leadershipContext(state, nowMs));
  const written = takeLeadership(state, step, 'the leader key was taken');
  const wasBlind = event.outcome.kind === 'won' && step.turn === null && gapMs > 2 * state.config.heartbeatMs;
  if (!wasBlind) return written;
  const seeing = inTerm(written.state, (term) => unchanged(blind(term, state.config.leaseTtlMs, nowMs)), nowMs);
  return { state: seeing.state, effects: [...written.effects, ...seeing.effects] };
}

/** Takes over what leadership became: the key won means taking office, the key lost ends the term. */
function takeLeadership(state: CoordinatorState, step: LeadershipStep, reason: string): Change {
  const next = { ...state, leadership: step.state };
  if (step.turn === null) return { state: next, effects: step.effects };
  if (step.turn === 'won') {
    const attempt = state.attempts + 1;
    const takeOffice: CoordinatorEffect = { kind: 'take-office', attempt, lapsedEpoch: state.lapsedEpoch };
    return { state: { ...next, attempts: attempt, officeAttempt: attempt }, effects: [...step.effects, takeOffice] };
  }
  return {
    state: { ...next, officeAttempt: null, term: null, lapsedEpoch: resumableEpoch(state) },
    effects: [...step.effects, { kind: 'report', report: { kind: 'stepped-down', reason } }],
  };
}

/** A term whose last publish is in doubt is not gone on with: workers may have heard what the stream does not hold. */
function resumableEpoch({ term, lapsedEpoch }: CoordinatorState): number | null {
  if (term === null) return lapsedEpoch;
  return term.planner.publishing === null ? term.epoch : null;
}

function takeOffice(state: CoordinatorState, given: Office, nowMs: number): Change {
  if (state.leadership.role !== 'holder') return only(state);
  const table = startTable(given.table, given.epoch, nowMs);
  const office: Office = { ...given, table: table.size };
  const { leaseTtlMs, slots } = state.config;
  const { snapshot, sequence } = office.newest;
  const { order } = office.fence;
  const isResumed = office.epoch === state.lapsedEpoch && snapshot?.epoch === office.epoch;
  // A snapshot of another number of slots is another table's: the stream was not made for this one.
  const own = snapshot?.slots === slots ? snapshot : null;
  const isFenceAhead = order !== null && (own === null || compareOrder(order, own) > 0);
  const base = isFenceAhead ? assignmentOfFence(office) : own === null ? null : toAssignment(own);
  const version = Math.max(snapshot?.version ?? 0, order?.version ?? 0);
  const members = startMembership(office.members, base?.workers ?? [], nowMs);
  notePresence(members.state, state.heardAtMs);
  const planner = startPlanner({ epoch: office.epoch, version, sequence, base });
  const resized = noteResize({ ...planner, published: isResumed ? own : null }, office.table.weights, nowMs);
  const begun: Term = {
    epoch: office.epoch,
    membership: members.state,
    table,
    planner: resized,
    recovery: noteCauses(NO_RECOVERY, { before: 0, after: resized.causes.length, evidenceMs: nowMs }),
    membersRead: { startedMs: null, nextAtMs: nowMs + MEMBERS_EVERY_MS },
    newestRead: startNewestRead(office, nowMs),
    progressRead: startProgressRead(nowMs),
  };
  const joined = takeMembers(begun, members, nowMs);
  // Who is missing may only be slower than this one.
  const fromMs = isResumed ? nowMs : (state.connectedAtMs ?? nowMs);
  const term = isResumed || isYoung(state, nowMs) ? blind(joined.term, leaseTtlMs, nowMs, fromMs) : joined.term;
  const announced = isResumed ? null : announceTerm(term.planner, plannerContext(term, state.config, nowMs));
  const report: CoordinatorReport = {
    kind: 'leading',
    epoch: office.epoch,
    isResumed,
    workers: term.membership.members.size,
    rows: office.table.rows,
  };
  // Whoever asks a standby learns the size from the stream, also where the table has not changed for long.
  const size: CoordinatorEffect = { kind: 'publish-size', rows: office.table.rows, added: 0, removed: 0 };
  return {
    state: {
      ...state,
      officeAttempt: null,
      lapsedEpoch: null,
      leaderLostMs: null,
      term:
        announced === null ? term : noteAnnouncement(term, announced.state, { evidenceMs: state.leaderLostMs, nowMs }),
    },
    effects: [
      ...reportOddities(office),
      { kind: 'report', report },
      ...(announced?.effects ?? []),
      ...joined.effects,
      size,
    ],
  };
}

function noteAnnouncement(
  term: Term,
  planner: PlannerState,
  when: { readonly evidenceMs: number | null; readonly nowMs: number },
): Term {
  const { publishing } = planner;
  if (publishing === null) return { ...term, planner };
  const { snapshot, assignment } = publishing;
  // The very assignment in force: nobody gains.
  const decision = { ...when, snapshot, before: assignment, after: assignment };
  return { ...term, planner, recovery: noteDecision(term.recovery, decision) };
}

function declineOffice(state: CoordinatorState, reason: string, nowMs: number): Change {
  const step = letGo(state.leadership, { retire: false, nowMs, pauseMs: OFFICE_PAUSE_MS });
  const report: CoordinatorReport = { kind: 'office-failed', reason };
  return {
    state: { ...state, leadership: step.state, officeAttempt: null },
    effects: [...step.effects, { kind: 'report', report }],
  };
}

function inTerm(state: CoordinatorState, act: (term: Term) => TermChange, nowMs: number): Change {
  if (state.term === null) return only(state);
  const change = act(state.term);
  const next = { ...state, term: change.term };
  if (change.refusal === undefined) return { state: next, effects: change.effects };
  const step = letGo(state.leadership, { retire: false, nowMs, pauseMs: REFUSED_PAUSE_MS });
  const stepped = takeLeadership(next, step, `the ring is not this term's any more: ${change.refusal}`);
  return { state: { ...stepped.state, lapsedEpoch: null }, effects: [...change.effects, ...stepped.effects] };
}

function takeMembers(term: Term, step: MembershipStep, nowMs: number): TermChange {
  let { planner } = term;
  let recovery = noteSuspicions(term.recovery, step.effects, nowMs);
  const effects = [...step.effects];
  for (const change of step.changes) {
    const before = planner.causes.length;
    planner = noteMemberChange(planner, change, nowMs);
    const isSuspected = term.membership.members.get(change.worker)?.suspicion != null;
    recovery = noteMember(recovery, change, { isSuspected, before, after: planner.causes.length, nowMs });
    effects.push({ kind: 'report', report: { kind: 'member-changed', change } });
  }
  return { term: { ...term, membership: step.state, planner, recovery }, effects };
}

function takeTable(term: Term, step: TableStep, nowMs: number): TermChange {
  const planner = step.isChanged ? noteResize(term.planner, step.state.size.weights, nowMs) : term.planner;
  const recovery = noteCauses(term.recovery, {
    before: term.planner.causes.length,
    after: planner.causes.length,
    evidenceMs: step.evidenceMs,
  });
  return { term: { ...term, table: step.state, planner, recovery }, effects: step.effects };
}

function finishMembersRead(
  term: Term,
  entries: Extract<CoordinatorEvent, { kind: 'members-read' }>['entries'],
  nowMs: number,
): TermChange {
  const { startedMs } = term.membersRead;
  const next = { ...term, membersRead: { startedMs: null, nextAtMs: nowMs + MEMBERS_EVERY_MS } };
  if (entries === null || startedMs === null) return unchanged(next);
  return takeMembers(next, receiveEntries(next.membership, entries, { startedMs, nowMs }), nowMs);
}

function takeProgress(term: Term, { progress }: Extract<CoordinatorEvent, { kind: 'progress-read' }>, nowMs: number) {
  const { read, step } = finishProgressRead(term.progressRead, { ...term, progress }, nowMs);
  const next = { ...term, progressRead: read };
  return step === null ? unchanged(next) : takeMembers(next, step, nowMs);
}

function finishPublishing(term: Term, settled: PlannerState, nowMs: number): TermChange {
  // Rows that came or went meanwhile were held against the assignment before this one.
  const planner = noteResize(settled, term.table.size.weights, nowMs);
  const { published } = planner;
  // When their evidence came is not known any more.
  const causes = { before: settled.causes.length, after: planner.causes.length, evidenceMs: null };
  const recovery = noteCauses(term.recovery, causes);
  if (published === null || published === term.planner.published) return unchanged({ ...term, planner, recovery });
  return {
    term: { ...term, planner, recovery: noteAcknowledgement(recovery, published, nowMs) },
    effects: [{ kind: 'report', report: { kind: 'published', snapshot: published } }],
  };
}

function finishNewestRead(
  term: Term,
  event: Extract<CoordinatorEvent, { kind: 'newest-read' }>,
  { state, nowMs }: TermContext,
): TermChange {
  const { planner } = term;
  const verdict = judgeNewest(term.newestRead, planner, event, plannerContext(term, state.config, nowMs));
  const { refusal, step, isOverruled } = verdict;
  const read = { ...term, newestRead: verdict.read };
  if (refusal !== null) return { term: read, effects: [], refusal };
  if (step === null) return unchanged(read);
  // What was in doubt goes out under another version: whoever applies that has applied this.
  const doubted = isOverruled ? planner.publishing : null;
  const recovery = doubted === null ? read.recovery : noteAcknowledgement(read.recovery, doubted.snapshot, nowMs);
  const settled = finishPublishing({ ...read, recovery }, step.state, nowMs);
  const reports = verdict.reports.map((report): CoordinatorEffect => ({ kind: 'report', report }));
  return { ...settled, effects: [...reports, ...settled.effects, ...step.effects] };
}

/** Figures only, but no worker can have applied what this term has not published. */
function takeApplied(term: Term, applied: RingApplied, nowMs: number): TermChange {
  if (applied.epoch > term.epoch || (applied.epoch === term.epoch && applied.version > term.planner.version)) {
    return { term, effects: [{ kind: 'report', report: { kind: 'applied-rejected', applied } }] };
  }
  return unchanged({ ...term, recovery: receiveApplied(term.recovery, applied, nowMs) });
}

/** Just connected, perhaps with everybody after an outage. */
function isYoung({ connectedAtMs, config }: CoordinatorState, nowMs: number): boolean {
  return nowMs - (connectedAtMs ?? nowMs) < config.leaseTtlMs;
}

function blind(term: Term, leaseTtlMs: number, nowMs: number, fromMs = nowMs): Term {
  return {
    ...term,
    membership: restartLeases(term.membership, { leaseTtlMs, nowMs, fromMs }),
    membersRead: { ...term.membersRead, nextAtMs: nowMs },
  };
}

function plannerContext(term: Term, config: CoordinatorConfig, nowMs: number): PlannerContext {
  return {
    workers: plannableWorkers(term.membership),
    weights: term.table.size.weights,
    isUnsettled: isUnsettled(term.membership),
    at: new Date(nowMs + config.wallOffsetMs).toISOString(),
    nowMs,
  };
}

function leadershipContext(state: CoordinatorState, nowMs: number): LeadershipContext {
  const { id, startedAt, leaseTtlMs, heartbeatMs } = state.config;
  return { id, startedAt, epoch: state.term?.epoch ?? 0, leaseTtlMs, heartbeatMs, nowMs };
}

function withLeadership(state: CoordinatorState, leadership: LeadershipState): Change {
  return only({ ...state, leadership });
}

function only(state: CoordinatorState): Change {
  return { state, effects: [] };
}

function unchanged(term: Term): TermChange {
  return { term, effects: [] };
}
