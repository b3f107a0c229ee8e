import type { Evidence } from '../../shared/ring/snapshot.ts';
import {
  type Member,
  type MembershipState,
  type MembershipStep,
  type MembershipTiming,
  nothing,
  probeToConfirm,
  readKey,
} from './member.ts';
import { isNotTicking, isStandstill } from './membership-progress.ts';
import type { CoordinatorEffect } from './protocol.ts';

const SWEEP_EVERY_MS = 25;
const PROBE_EVERY_MS = 250;
/**
 * Where NATS itself tells of lost connections, probes are for what it cannot tell, such as a server that went with its clients:
 * who was heard lately is asked so much later. Who was not is asked as ever: an answer speaks for it where its renewals get lost.
 * So is who is doubted: whoever went before this leader listened was told of to nobody, and the end of a connection to another
 * server of a cluster may be told of before that server knows.
 */
const LATER_WHILE_TOLD_MS = 750;
/** Of the TTL: more than a heartbeat, with the usual settings. */
const LATELY_SHARE = 0.4;
/** All probes together: 480 a second, less than 1000 messages with their answers, however many workers there are. */
const PROBES_PER_SWEEP = 12;
/** Of the TTL. */
const QUIET_SHARE = 0.6;

export interface SweepTiming extends MembershipTiming {
  /** NATS tells of each lost connection, for certain. @default false */
  readonly areDisconnectsCertain?: boolean;
}

/** Looks through all members for deadlines that passed. Cheap enough for every 25 ms, too dear for every event. */
export function sweepMembers(state: MembershipState, timing: SweepTiming): MembershipStep {
  const { nowMs, leaseTtlMs } = timing;
  if (nowMs < state.sweepAtMs) return nothing(state);
  const effects: CoordinatorEffect[] = [];
  const members = [...state.members.values()];
  const standstillAtMs = isStandstill(members, nowMs) ? nowMs : state.standstillAtMs;
  // Those who fell silent together are noticed up to a heartbeat apart: who is quiet for most of the TTL counts too.
  const quiet = members.filter((member) => nowMs - member.heardAtMs > QUIET_SHARE * leaseTtlMs);
  for (const member of quiet) member.quiet ??= { revision: member.revision };
  const isMassSilence = members.length > 1 && quiet.length * 2 > members.length;
  // They come back one by one as well, and are soon less than half: the last of them keep the patience of all.
  const massSilenceAtMs = isMassSilence ? nowMs : state.massSilenceAtMs;
  const patienceMs = nowMs - massSilenceAtMs < leaseTtlMs ? 2 * leaseTtlMs : leaseTtlMs;
  for (const member of members) {
    if (member.suspicion?.awaits === 'retry' && nowMs >= member.suspicion.retryAtMs) {
      effects.push(...confirmAgain(state, member, member.suspicion.evidence).effects);
    } else if (member.suspicion === null && nowMs >= state.blindUntilMs) {
      const evidence = accuse({ ...state, standstillAtMs }, member, { patienceMs, nowMs });
      if (evidence !== null) effects.push(...readKey(state, member, evidence).effects);
    }
  }
  effects.push(...probeDue(members, timing));
  const next = { ...state, massSilenceAtMs, standstillAtMs, sweepAtMs: nowMs + SWEEP_EVERY_MS };
  return { state: next, effects, changes: [] };
}

/** Those whose turn it is, the longest overdue first: where there are too many for one period, each has its turn all the same. */
function probeDue(members: readonly Member[], timing: SweepTiming): CoordinatorEffect[] {
  const { nowMs, leaseTtlMs, areDisconnectsCertain } = timing;
  const isLate = (member: Member) => nowMs >= member.probeAtMs + LATER_WHILE_TOLD_MS;
  const isSilent = (member: Member) => nowMs - member.heardAtMs > LATELY_SHARE * leaseTtlMs;
  const due = members.filter(
    (member) =>
      !member.isProbing &&
      nowMs >= member.probeAtMs &&
      (areDisconnectsCertain !== true || isLate(member) || isSilent(member) || member.isDoubted),
  );
  if (due.length > PROBES_PER_SWEEP) due.sort((a, b) => a.probeAtMs - b.probeAtMs);
  return due.slice(0, PROBES_PER_SWEEP).map((member) => {
    member.isProbing = true;
    member.probeAtMs = nowMs + PROBE_EVERY_MS;
    return { kind: 'probe-worker', worker: member.id };
  });
}

/** An absence is old evidence by now: whoever had no responders is asked itself, before its key. */
function confirmAgain(state: MembershipState, member: Member, evidence: Evidence): MembershipStep {
  return evidence === 'connection-closed' ? probeToConfirm(state, member) : readKey(state, member, evidence);
}

/** What the clock alone says against a member. */
function accuse(
  state: MembershipState,
  member: Member,
  timing: { readonly patienceMs: number; readonly nowMs: number },
): Evidence | null {
  const { nowMs } = timing;
  if (nowMs - member.heardAtMs > timing.patienceMs) return 'lease-expired';
  return isNotTicking(state, member) ? 'not-ticking' : null;
}
