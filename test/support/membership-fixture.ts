import assert from 'node:assert/strict';
import type { MembershipState, MembershipStep } from '../../services/coordinator/member.ts';
import { receiveHeartbeat, receiveKey, receiveProbe, startMembership } from '../../services/coordinator/membership.ts';
import { sweepMembers } from '../../services/coordinator/membership-sweep.ts';
import type { CoordinatorEffect, ProbeAnswer } from '../../services/coordinator/protocol.ts';
import { LEASE_TTL_MS, makeEntry, makeLiveness } from './machine-fixtures.ts';

/** A membership under a fake clock. Records are updated in place, so each test makes its own. */
export class Members {
  state: MembershipState;
  nowMs = 0;

  constructor(...ids: readonly string[]) {
    this.state = startMembership(
      ids.map((id, index) => makeEntry(id, index + 1)),
      ids,
      0,
    ).state;
  }

  get ids(): string[] {
    return [...this.state.members.keys()];
  }

  take(step: MembershipStep): MembershipStep {
    this.state = step.state;
    return step;
  }

  /** Sweeps at a time; returns what was begun against members. Probes are left out. */
  sweep(nowMs: number): CoordinatorEffect[] {
    this.nowMs = nowMs;
    const { effects } = this.take(sweepMembers(this.state, { leaseTtlMs: LEASE_TTL_MS, nowMs }));
    return effects.filter(({ kind }) => kind !== 'probe-worker');
  }

  hear(id: string, nowMs: number, tick = 100): MembershipStep {
    return this.take(receiveHeartbeat(this.state, makeLiveness(id, { tick }), nowMs));
  }

  /** Lets a worker fall silent until its key is asked for. */
  suspectSilence(id: string, nowMs: number): void {
    for (const other of this.ids) if (other !== id) this.hear(other, nowMs);
    assert.deepEqual(this.sweep(nowMs), [
      { kind: 'report', report: { kind: 'member-suspected', worker: id, evidence: 'lease-expired' } },
      { kind: 'read-key', worker: id },
    ]);
  }

  readKey(id: string, outcome: Parameters<typeof receiveKey>[2], nowMs: number): MembershipStep {
    return this.take(receiveKey(this.state, id, outcome, nowMs));
  }

  probe(id: string, answer: ProbeAnswer, nowMs: number): MembershipStep {
    return this.take(receiveProbe(this.state, id, answer, nowMs));
  }
}
