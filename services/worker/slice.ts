import type { ClaimResult } from '../../shared/postgres/fence.ts';
import { compareOrder, type Order, type Snapshot, sliceOf } from '../../shared/ring/snapshot.ts';
import type { WorkerEffect } from './protocol.ts';

/**
 * Which slots are mine: applies snapshots in order, one at a time, and each atomically for the reader of this state.
 *
 * A snapshot passes through: waiting (another is being applied; only the newest waits) → applying (its slots are being
 * claimed in Postgres) → applied (slice and order change in one assignment).
 *
 * Invariants: the applied order only grows. A slot given away stays `lingering`, and is ticked, until the fence says that
 * its new owner has it: so a planned move costs no tick, however long the new owner takes.
 *
 * Only what a snapshot adds is claimed where it follows on the one applied, and what the fence last said is another's. After
 * a gap everything is: a snapshot that never came may have given a slot away which this one has given back.
 */
export interface SliceState {
  readonly applied: Snapshot | null;
  /** Sorted. */
  readonly slots: readonly number[];
  /** Sorted; disjoint from `slots`. */
  readonly lingering: readonly number[];
  readonly applying: Application | null;
  readonly waiting: Snapshot | null;
  /** Since when it has waited, ms; null: none does. */
  readonly waitingSinceMs: number | null;
  /** Sorted. Of the slots, those of which the fence last said that they are another's: the next claim asks for them again. */
  readonly contested: readonly number[];
  /** Slots being claimed again after the fence disagreed. */
  readonly reclaiming: boolean;
}

interface Application {
  readonly snapshot: Snapshot;
  readonly slots: readonly number[];
  /** Of the slots, those to be claimed. */
  readonly claims: readonly number[];
  /** When the snapshot came to hand: it may have waited. */
  readonly startedMs: number;
  readonly attempts: number;
  /** Null while the claim is under way. */
  readonly retryAtMs: number | null;
}

export interface AppliedSlice {
  readonly snapshot: Snapshot;
  readonly gained: readonly number[];
  readonly lost: readonly number[];
  readonly tookMs: number;
}

export interface SliceStep {
  readonly state: SliceState;
  readonly effects: readonly WorkerEffect[];
  readonly applied: AppliedSlice | null;
}

export const NO_SLICE: SliceState = {
  applied: null,
  slots: [],
  lingering: [],
  applying: null,
  waiting: null,
  waitingSinceMs: null,
  contested: [],
  reclaiming: false,
};

const RETRY_FIRST_MS = 50;
const RETRY_LONGEST_MS = 1000;

/** The newest snapshot taken, applied or not yet. */
export function newestOf(state: SliceState): Snapshot | null {
  return state.waiting ?? state.applying?.snapshot ?? state.applied;
}

export function receiveSnapshot(state: SliceState, snapshot: Snapshot, worker: string, nowMs: number): SliceStep {
  const newest = newestOf(state);
  if (newest !== null && compareOrder(snapshot, newest) <= 0) return unchanged(state);
  if (state.applying !== null) return unchanged({ ...state, waiting: snapshot, waitingSinceMs: nowMs });
  return beginApplying(state, snapshot, worker, nowMs);
}

export function finishClaim(
  state: SliceState,
  claim: { readonly order: Order; readonly result: ClaimResult },
  worker: string,
  nowMs: number,
): SliceStep {
  const { applying } = state;
  const { claimed, refused } = claim.result;
  if (applying === null || compareOrder(claim.order, applying.snapshot) !== 0) {
    const others = within(refused, state.slots);
    const mine = claimed.map(({ slot }) => slot);
    return unchanged({ ...state, contested: mergeSlots(state.contested, others, mine), reclaiming: false });
  }
  const done = swapIn(state, applying, refused, nowMs);
  if (state.waiting === null) return reclaimDisputed(done, refused);
  const next = applyWaiting(done.state, state.waiting, worker, nowMs);
  const applied =
    next.applied === null
      ? done.applied
      : makeReport(state, next.state, next.applied.snapshot, nowMs - applying.startedMs);
  return reclaimDisputed({ state: next.state, effects: [...done.effects, ...next.effects], applied }, refused);
}

/** Postgres did not answer: the old slice stays in force, the claim is tried again. */
export function failClaim(state: SliceState, order: Order, worker: string, nowMs: number): SliceStep {
  const { applying } = state;
  if (applying === null || compareOrder(order, applying.snapshot) !== 0) {
    return unchanged({ ...state, reclaiming: false });
  }
  if (state.waiting !== null) return applyWaiting({ ...state, applying: null }, state.waiting, worker, nowMs);
  const attempts = applying.attempts + 1;
  const delayMs = Math.min(RETRY_LONGEST_MS, RETRY_FIRST_MS * 2 ** (attempts - 1));
  return unchanged({ ...state, applying: { ...applying, attempts, retryAtMs: nowMs + delayMs } });
}

/** Postgres never issued the order's epoch: the snapshot is dropped, the old slice stays in force. */
export function abandonClaim(state: SliceState, order: Order, worker: string, nowMs: number): SliceStep {
  const { applying } = state;
  if (applying === null || compareOrder(order, applying.snapshot) !== 0) {
    return unchanged({ ...state, reclaiming: false });
  }
  const abandoned = { ...state, applying: null };
  return state.waiting === null ? unchanged(abandoned) : applyWaiting(abandoned, state.waiting, worker, nowMs);
}

export function retryClaim(state: SliceState, nowMs: number): SliceStep {
  const { applying } = state;
  if (applying === null || applying.retryAtMs === null || nowMs < applying.retryAtMs) return unchanged(state);
  return {
    state: { ...state, applying: { ...applying, retryAtMs: null } },
    effects: [claimEffect(applying.snapshot, applying.claims)],
    applied: null,
  };
}

/**
 * The fence named another worker for slots that this one ticked. For lingering ones that is the expected end. For the
 * slice's own it means a newer owner, or a claim that got lost: claim again and look for a newer snapshot.
 */
export function loseSlots(
  state: SliceState,
  lost: readonly number[],
): SliceStep & { readonly disputed: readonly number[] } {
  const lingering = without(state.lingering, lost);
  const disputed = within(state.slots, lost);
  const contested = mergeSlots(state.contested, disputed);
  const mayReclaim = disputed.length > 0 && state.applied !== null && state.applying === null && !state.reclaiming;
  if (!mayReclaim || state.applied === null) return { ...unchanged({ ...state, lingering, contested }), disputed };
  return {
    state: { ...state, lingering, contested, reclaiming: true },
    effects: [claimEffect(state.applied, disputed), { kind: 'read-newest' }],
    applied: null,
    disputed,
  };
}

export function sliceWakeAtMs(state: SliceState): number | null {
  return state.applying?.retryAtMs ?? null;
}

/** Sorted union of two sorted lists, less what is in `excluded`. */
export function mergeSlots(
  a: readonly number[],
  b: readonly number[],
  excluded: readonly number[] = [],
): readonly number[] {
  const both = b.length === 0 ? a : [...new Set([...a, ...b])].sort((x, y) => x - y);
  return without(both, excluded);
}

/** Those of the slots that are wanted, in their order. */
export function within(slots: readonly number[], wanted: readonly number[]): readonly number[] {
  // Mostly none were lost or refused, and then no set is made of a whole slice.
  if (slots.length === 0 || wanted.length === 0) return [];
  const set = new Set(wanted);
  return slots.filter((slot) => set.has(slot));
}

function applyWaiting(state: SliceState, waiting: Snapshot, worker: string, nowMs: number): SliceStep {
  const startedMs = state.waitingSinceMs ?? nowMs;
  return beginApplying({ ...state, waiting: null, waitingSinceMs: null }, waiting, worker, nowMs, startedMs);
}

function beginApplying(
  state: SliceState,
  snapshot: Snapshot,
  worker: string,
  nowMs: number,
  startedMs = nowMs,
): SliceStep {
  const slots = sliceOf(snapshot, worker);
  const claims = slotsToClaim(state, snapshot, slots);
  const applying: Application = { snapshot, slots, claims, startedMs, attempts: 0, retryAtMs: null };
  // Nothing to claim: whoever takes my slots stamps them.
  if (claims.length === 0) return swapIn(state, applying, [], nowMs);
  return { state: { ...state, applying }, effects: [claimEffect(snapshot, claims)], applied: null };
}

function slotsToClaim(state: SliceState, snapshot: Snapshot, slots: readonly number[]): readonly number[] {
  const { applied } = state;
  const follows = applied !== null && snapshot.epoch === applied.epoch && snapshot.version === applied.version + 1;
  return follows ? without(slots, without(state.slots, state.contested)) : slots;
}

/** What the fence disputed while a claim was under way that had not asked for it. */
function reclaimDisputed(step: SliceStep, refused: readonly number[]): SliceStep {
  const { state } = step;
  const disputed = without(state.contested, refused);
  if (disputed.length === 0 || state.applied === null || state.applying !== null || state.reclaiming) return step;
  const effects = [...step.effects, claimEffect(state.applied, disputed)];
  return { ...step, state: { ...state, reclaiming: true }, effects };
}

function swapIn(state: SliceState, applying: Application, refused: readonly number[], nowMs: number): SliceStep {
  const { snapshot, slots, claims, startedMs } = applying;
  const lost = without(state.slots, slots);
  const next: SliceState = {
    ...state,
    applied: snapshot,
    slots,
    lingering: mergeSlots(state.lingering, lost, slots),
    applying: null,
    // Disputed while the claim was under way, and not part of it: those still are.
    contested: mergeSlots(without(state.contested, [...lost, ...claims]), refused),
  };
  return { state: next, effects: [], applied: makeReport(state, next, snapshot, nowMs - startedMs) };
}

/** Where two snapshots are applied at once, the second claiming nothing, one report stands for both: else what the first gave is never told of. */
function makeReport(before: SliceState, after: SliceState, snapshot: Snapshot, tookMs: number): AppliedSlice {
  return {
    snapshot,
    gained: without(after.slots, before.slots),
    lost: without(before.slots, after.slots),
    tookMs,
  };
}

function without(slots: readonly number[], excluded: readonly number[]): readonly number[] {
  if (slots.length === 0 || excluded.length === 0) return slots;
  const set = new Set(excluded);
  return slots.filter((slot) => !set.has(slot));
}

function claimEffect(order: Order, slots: readonly number[]): WorkerEffect {
  return { kind: 'claim', order: { epoch: order.epoch, version: order.version }, slots };
}

function unchanged(state: SliceState): SliceStep {
  return { state, effects: [], applied: null };
}
