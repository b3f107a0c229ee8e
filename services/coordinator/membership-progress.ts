import { proveTicking } from './bench.ts';
import { type Member, type MembershipState, type MembershipStep, nothing } from './member.ts';
import type { FenceProgress } from './protocol.ts';

/**
 * Does each worker tick? The fence decides: any client with the right login can put a liveness value.
 *
 * A member's progress: moving → standing (its newest tick in the fence stays the same) → asked about (do its slots have rows?)
 * → with rows: not ticking; without rows: judged again from now on. If no worker's tick moves, Postgres is stalled and all workers
 * are judged again from then on: an eviction helps only if another worker could do better.
 *
 * Only the newest tick counts: a worker that ticks all its rows but some is healthy.
 */

/**
 * Why so long: when Postgres comes back after an outage, workers begin again up to a second and a half apart. Evicting
 * earlier would hit workers that merely reconnected last.
 */
const NOT_TICKING_AFTER_MS = 5_000;
/** A worker that stands for so long is asked about: most have no rows. */
const ASKED_ABOUT_AFTER_MS = 1_500;
/** Its rows may just have come: they are known for so long, and two rounds have missed them. */
const ROWS_KNOWN_FOR_MS = 3_000;
/** Somebody's ticks must have moved within this. The fence is read once a second, and two reads may see one tick. */
const OTHERS_TICK_WITHIN_MS = 3_000;

export function receiveProgress(
  state: MembershipState,
  { ticks, asked, idle }: FenceProgress,
  read: { readonly startedMs: number; readonly nowMs: number },
): MembershipStep {
  const { startedMs, nowMs } = read;
  const newest = new Map(ticks.map(({ worker, tick }) => [worker, tick]));
  const withoutRows = new Set(idle);
  for (const member of state.members.values()) noteTick(member, newest.get(member.id) ?? null, nowMs);
  for (const worker of asked) {
    const member = state.members.get(worker);
    if (member === undefined || member.standsSinceMs === nowMs) continue;
    member.isIdle = withoutRows.has(worker);
    if (member.isIdle) judgeAnew(member, nowMs);
    else member.rowsKnownSinceMs ??= nowMs;
  }
  // What happened since the read began is not known: nobody has stood still for longer than until then.
  return nothing({ ...state, progressAtMs: startedMs });
}

/** Those of whom the next read is to say whether their slots have rows. */
export function standingWorkers(state: MembershipState, nowMs: number): readonly string[] {
  const standing = [...state.members.values()].filter(
    (member) => standsForMs(state, member, nowMs) >= ASKED_ABOUT_AFTER_MS,
  );
  return standing.map(({ id }) => id);
}

/** While nobody ticks it is Postgres that stands still. A worker without rows shows by its empty rounds that Postgres answers. */
export function isStandstill(members: readonly Member[], nowMs: number): boolean {
  return members.every(
    ({ fenceMovedAtMs, isIdle, tickMovedAtMs }) =>
      nowMs - Math.max(fenceMovedAtMs, isIdle ? tickMovedAtMs : fenceMovedAtMs) >= OTHERS_TICK_WITHIN_MS,
  );
}

/** As of the newest read: what was not read since accuses nobody. */
export function isNotTicking(state: MembershipState, member: Member): boolean {
  const { progressAtMs } = state;
  const { rowsKnownSinceMs } = member;
  if (rowsKnownSinceMs === null || progressAtMs - rowsKnownSinceMs < ROWS_KNOWN_FOR_MS) return false;
  return standsForMs(state, member, progressAtMs) > NOT_TICKING_AFTER_MS;
}

/** It stands from now on: nothing that was known of it before counts. */
export function judgeAnew(member: Member, nowMs: number): void {
  member.standsSinceMs = nowMs;
  member.rowsKnownSinceMs = null;
}

/** Any other tick is movement, also a lower one: the database's clock may have been set back. */
function noteTick(member: Member, tick: number | null, nowMs: number): void {
  if (tick !== null && tick !== member.fenceTick) {
    member.fenceMovedAtMs = nowMs;
    member.isIdle = false;
    if (member.fenceTick !== null) member.probation = proveTicking(member.probation);
    judgeAnew(member, nowMs);
    const { suspicion } = member;
    // Once the deletion is under way its outcome decides.
    if (suspicion?.evidence === 'not-ticking' && suspicion.awaits !== 'deletion') member.suspicion = null;
  }
  member.fenceTick = tick;
}

function standsForMs(state: MembershipState, member: Member, untilMs: number): number {
  return untilMs - Math.max(member.standsSinceMs, state.standstillAtMs);
}
