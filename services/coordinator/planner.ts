import { type Assignment, assign, isUneven, measureMovement, rowsPerWorker } from '../../shared/ring/assignment.ts';
import { type Cause, compareOrder, makeSnapshot, type Order, type Snapshot } from '../../shared/ring/snapshot.ts';
import type { CoordinatorEffect, MemberChange } from './protocol.ts';

/**
 * When does a change become a snapshot, and which? Changes that follow each other closely become one; while a snapshot is
 * being published, further ones wait for it. Rows without an owner wait for nothing but others that are about to have none:
 * their snapshot comes as soon as no other worker is under suspicion. Nothing waits longer than the window, but for the rest
 * of many who die together: the more there are, the longer their end takes, and the rest of them become one snapshot.
 *
 * States: settled (no causes) → collecting (until `planAt`) → publishing → settled.
 * Invariant: `assignment` is what the last published snapshot says; a plan that the stream refused leaves no trace.
 */
export interface PlannerState {
  readonly epoch: number;
  /** The last version known to be used, here or in Postgres. */
  readonly version: number;
  /** Sequence of the newest message on the snapshots' subject: what a publish must expect. */
  readonly sequence: number;
  readonly assignment: Assignment | null;
  readonly published: Snapshot | null;
  readonly causes: readonly Cause[];
  /** When the first of the causes came; null: there is none. */
  readonly collectingSinceMs: number | null;
  /** When the last of them came. */
  readonly lastCauseMs: number;
  /** When rows without an owner were last planned for. */
  readonly orphansPlannedMs: number;
  readonly publishing: Publishing | null;
}

interface Publishing {
  readonly snapshot: Snapshot;
  readonly assignment: Assignment;
  /** It went without an answer: stored or not. */
  readonly isInDoubt: boolean;
}

export interface PlannerContext {
  /** Live workers. */
  readonly workers: readonly string[];
  /** Rows per slot. */
  readonly weights: Float64Array;
  /** A worker is being found dead just now: it may soon be one more cause. */
  readonly isUnsettled: boolean;
  /** ISO wall time for the snapshot's `at`; nothing is decided by it. */
  readonly at: string;
  readonly nowMs: number;
}

export interface PlannerStep {
  readonly state: PlannerState;
  readonly effects: readonly CoordinatorEffect[];
}

/** Changes that come together (a scale-down, a node's end) become one snapshot, which moves less than several. */
const WINDOW_MS = 20;
/** Signals sent at once arrive within a few milliseconds; whoever comes later than this did not come together. */
const QUIET_MS = 5;
/** Who dies so soon after another may have died with it. */
const BURST_MS = 250;
/** Ten processes that are killed at one instant on two cores are gone one after the other, within some 100 ms. */
const BURST_QUIET_MS_PER_OTHER = 4;
const BURST_QUIET_MOST_MS = 100;
const BURST_WINDOW_MS = 200;

/** A new term. `base` is the assignment found in force; it is published under the term's epoch before all else. */
export function startPlanner(term: {
  readonly epoch: number;
  readonly version: number;
  readonly sequence: number;
  readonly base: Assignment | null;
}): PlannerState {
  return {
    epoch: term.epoch,
    version: term.version,
    sequence: term.sequence,
    assignment: term.base,
    published: null,
    causes: [],
    collectingSinceMs: null,
    lastCauseMs: Number.NEGATIVE_INFINITY,
    orphansPlannedMs: Number.NEGATIVE_INFINITY,
    publishing: null,
  };
}

/** Publishes the assignment in force anew, under this term's epoch. */
export function announceTerm(state: PlannerState, context: PlannerContext): PlannerStep {
  if (state.assignment === null) return { state, effects: [] };
  return publish(state, state.assignment, { kind: 'leader-changed' }, context);
}

/** Where the stream has lost the snapshot in force, the very same is published again, so that late readers find it. */
export function restorePublished(
  state: PlannerState,
  newest: { readonly sequence: number; readonly snapshot: Snapshot | null },
): PlannerStep {
  const { published, assignment } = state;
  if (published === null || assignment === null || state.publishing !== null) return { state, effects: [] };
  if (newest.snapshot !== null && compareOrder(newest.snapshot, published) >= 0) return { state, effects: [] };
  return send({ ...state, sequence: newest.sequence }, { snapshot: published, assignment, isInDoubt: false });
}

/**
 * Somebody else published in this term's epoch. Workers may have applied it, so what is in force, or was just being
 * published, is published again above it.
 */
export function overrule(
  state: PlannerState,
  foreign: { readonly sequence: number; readonly snapshot: Snapshot },
  context: PlannerContext,
): PlannerStep {
  const { publishing } = state;
  const version = Math.max(state.version, foreign.snapshot.version);
  const next: PlannerState = { ...state, version, sequence: foreign.sequence, publishing: null };
  const assignment = publishing?.assignment ?? state.assignment;
  if (assignment === null) return { state: next, effects: [] };
  return publish(next, assignment, publishing?.snapshot.cause ?? { kind: 'leader-changed' }, context);
}

/** Is the stream's newest somebody else's, though of this term's epoch and not older than what is in force? */
export function isForeign(
  { epoch, sequence, published, publishing }: PlannerState,
  newest: { readonly sequence: number; readonly snapshot: Snapshot | null },
): boolean {
  const { snapshot } = newest;
  if (snapshot === null || snapshot.epoch !== epoch) return false;
  if (publishing !== null) return compareOrder(snapshot, publishing.snapshot) > 0;
  return newest.sequence !== sequence && (published === null || compareOrder(snapshot, published) >= 0);
}

export function noteMemberChange(state: PlannerState, change: MemberChange, nowMs: number): PlannerState {
  const cause: Cause =
    change.kind === 'joined'
      ? { kind: state.assignment === null ? 'bootstrap' : 'worker-joined', worker: change.worker }
      : { kind: 'worker-left', worker: change.worker, evidence: change.evidence };
  return noteCause(state, cause, nowMs);
}

/** Rows came or went: a new snapshot only where the shares drifted apart (growth hysteresis). */
export function noteResize(state: PlannerState, weights: Float64Array, nowMs: number): PlannerState {
  if (state.assignment === null || state.assignment.workers.length === 0) return state;
  if (state.causes.some(({ kind }) => kind === 'table-resized')) return state;
  if (!isUneven(rowsPerWorker(state.assignment, weights))) return state;
  return noteCause(state, { kind: 'table-resized' }, nowMs);
}

export function advancePlanner(state: PlannerState, context: PlannerContext): PlannerStep {
  const atMs = planAtMs(state, context);
  if (atMs === null || context.nowMs < atMs) return { state, effects: [] };
  const cause = mergeCauses(state.causes);
  const orphansPlannedMs = state.causes.some(leavesOrphans) ? context.nowMs : state.orphansPlannedMs;
  const settled = { ...state, causes: [], collectingSinceMs: null, orphansPlannedMs };
  const next = assign({ weights: context.weights, workers: context.workers, previous: state.assignment });
  if (cause === null || isSameAssignment(state.assignment, next)) return { state: settled, effects: [] };
  return publish(settled, next, cause, context);
}

/** When the causes at hand become a snapshot; null: there are none, or one is being published. */
export function planAtMs(state: PlannerState, { isUnsettled }: Pick<PlannerContext, 'isUnsettled'>): number | null {
  const { collectingSinceMs } = state;
  if (collectingSinceMs === null || state.publishing !== null) return null;
  // A poll of the table has brought together what came before it: to wait again would only be late.
  if (state.causes.every(({ kind }) => kind === 'table-resized')) return collectingSinceMs;
  const atTheLatestMs = collectingSinceMs + WINDOW_MS;
  if (!state.causes.some(leavesOrphans)) return Math.min(atTheLatestMs, state.lastCauseMs + QUIET_MS);
  if (collectingSinceMs - state.orphansPlannedMs < BURST_MS) {
    // Of those left one may die, and another is needed to go on: what more there are may go with it.
    const others = Math.max(0, (state.assignment?.workers.length ?? 0) - 2);
    const quietMs = Math.min(BURST_QUIET_MS_PER_OTHER * others, BURST_QUIET_MOST_MS);
    return Math.min(collectingSinceMs + BURST_WINDOW_MS, state.lastCauseMs + quietMs);
  }
  return isUnsettled ? atTheLatestMs : collectingSinceMs;
}

export function finishPublish(
  state: PlannerState,
  done: { readonly order: Order; readonly sequence: number },
): PlannerState {
  const { publishing } = state;
  if (publishing === null || !isPublishing(state, done.order)) return state;
  return {
    ...state,
    sequence: done.sequence,
    assignment: publishing.assignment,
    published: publishing.snapshot,
    publishing: null,
  };
}

export function doubtPublish(state: PlannerState, order: Order): PlannerState {
  return isPublishing(state, order) && state.publishing !== null
    ? { ...state, publishing: { ...state.publishing, isInDoubt: true } }
    : state;
}

/** Is it this very snapshot's outcome that is awaited? Answers of former terms and of settled publishes are old news. */
export function isPublishing(state: PlannerState, order: Order): boolean {
  return state.publishing !== null && compareOrder(state.publishing.snapshot, order) === 0;
}

/** Not known to be stored: after what the stream holds now it is taken as published, or the very same is sent again. */
export function resolvePublish(
  state: PlannerState,
  newest: { readonly sequence: number; readonly snapshot: Snapshot | null },
): PlannerStep {
  const { publishing } = state;
  if (publishing === null || !publishing.isInDoubt) return { state, effects: [] };
  if (newest.snapshot !== null && compareOrder(newest.snapshot, publishing.snapshot) === 0) {
    return { state: finishPublish(state, { order: publishing.snapshot, sequence: newest.sequence }), effects: [] };
  }
  return send({ ...state, sequence: newest.sequence }, { ...publishing, isInDoubt: false });
}

function noteCause(state: PlannerState, cause: Cause, nowMs: number): PlannerState {
  const collectingSinceMs = state.collectingSinceMs ?? nowMs;
  return { ...state, causes: [...state.causes, cause], collectingSinceMs, lastCauseMs: nowMs };
}

/** Who says that it leaves, or is drained, ticks on until its successors have its slots: nothing is lost by waiting. */
function leavesOrphans(cause: Cause): boolean {
  return cause.kind === 'worker-left' && cause.evidence !== 'left' && cause.evidence !== 'drained';
}

function publish(state: PlannerState, next: Assignment, cause: Cause, context: PlannerContext): PlannerStep {
  const { weights, workers, at } = context;
  const moved = measureMovement({ weights, workers, previous: state.assignment }, next);
  const order = { epoch: state.epoch, version: state.version + 1 };
  const snapshot = makeSnapshot({ order, at, cause, assignment: next, weights, moved });
  // The version is used up even if the publish fails: no two different snapshots ever carry one (epoch, version).
  return send({ ...state, version: order.version }, { snapshot, assignment: next, isInDoubt: false });
}

function send(state: PlannerState, publishing: Publishing): PlannerStep {
  return {
    state: { ...state, publishing },
    effects: [{ kind: 'publish-snapshot', snapshot: publishing.snapshot, expectedSequence: state.sequence }],
  };
}

/** The first names the snapshot, the others stand beside it. */
function mergeCauses(causes: readonly Cause[]): Cause | null {
  const flat = causes.flatMap(({ others, ...cause }) => [cause, ...(others ?? [])]);
  const [first, ...others] = flat;
  if (first === undefined) return null;
  return others.length === 0 ? first : { ...first, others };
}

function isSameAssignment(a: Assignment | null, b: Assignment): boolean {
  if (a === null || a.workers.length !== b.workers.length) return false;
  if (!a.workers.every((worker, index) => worker === b.workers[index])) return false;
  return a.owners.every((owner, slot) => owner === b.owners[slot]);
}
