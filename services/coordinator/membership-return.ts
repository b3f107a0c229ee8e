import type { Liveness } from '../../shared/nats/liveness.ts';
import { type Bench, hasMoved, probationAfter } from './bench.ts';
import { addMember, type MembershipState, type MembershipStep, nothing } from './member.ts';
import type { ProbeAnswer } from './protocol.ts';

/**
 * How evicted workers come back: benched → (a value is seen, and the pause is over) → probed → readmitted, or benched until
 * the next value. Only what the worker itself answers readmits it, so that a key renewed by somebody else does not.
 */

const PROBE_EVERY_MS = 250;

/** A value of a benched worker was seen, put just now or read from the bucket. */
export function considerReturn(state: MembershipState, bench: Bench, value: Liveness, nowMs: number): MembershipStep {
  const isAlone = state.members.size === 0;
  // No row is without an owner while a worker lives: where nobody else does, there is nothing to lose.
  if (isAlone && bench.evidence !== 'not-ticking') return addMember(state, value, nowMs);
  const seen = { ...bench, seenAtMs: Math.max(nowMs, bench.seenAtMs) };
  const isPaused = !isAlone && nowMs < bench.untilMs;
  if (isPaused || bench.isProbing || nowMs < bench.probeAtMs || !hasMoved(bench, value)) {
    return nothing(withBench(state, value.id, seen));
  }
  return {
    state: withBench(state, value.id, { ...seen, isProbing: true, probeAtMs: nowMs + PROBE_EVERY_MS }),
    effects: [{ kind: 'probe-worker', worker: value.id }],
    changes: [],
  };
}

/** A worker that is no member was probed. */
export function receiveReturn(
  state: MembershipState,
  worker: string,
  answer: ProbeAnswer,
  nowMs: number,
): MembershipStep {
  const bench = state.benched.get(worker);
  if (bench === undefined) return nothing(state);
  const value = answer.kind === 'answered' ? answer.value : null;
  const mayReturn = bench.isProbing && value !== null && value.state !== 'leaving' && hasMoved(bench, value);
  if (!mayReturn) return nothing(withBench(state, worker, { ...bench, isProbing: false }));
  const added = addMember(state, value, nowMs);
  const member = added.state.members.get(worker);
  if (member === undefined) return added;
  member.presentAtMs = nowMs;
  member.isDoubted = false;
  member.probation = probationAfter(bench, nowMs);
  return added;
}

function withBench(state: MembershipState, worker: string, bench: Bench): MembershipState {
  return { ...state, benched: new Map(state.benched).set(worker, bench) };
}
