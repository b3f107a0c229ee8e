import assert from 'node:assert/strict';
import type { MembershipState, MembershipStep } from '../../services/coordinator/member.ts';
import { receiveHeartbeat, receiveKey, receiveProbe, startMembership } from '../../services/coordinator/membership.ts';
import { receiveProgress, standingWorkers } from '../../services/coordinator/membership-progress.ts';
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

  /** The fence as the leader reads it. `asked`: of whom it is asked whether they have rows; all have but the idle. */
  readFence(
    nowMs: number,
    ticks: Readonly<Record<string, number>>,
    { asked = standingWorkers(this.state, nowMs), idle = [] as readonly string[] } = {},
  ): MembershipStep {
    this.nowMs = nowMs;
    const list = Object.entries(ticks).map(([worker, tick]) => ({ worker, tick }));
    return this.take(
      receiveProgress(
        this.state,
        { ticks: list, asked, idle: idle.filter((id) => asked.includes(id)) },
        { startedMs: nowMs, nowMs },
      ),
    );
  }

  readKey(id: string, outcome: Parameters<typeof receiveKey>[2], nowMs: number): MembershipStep {
    return this.take(receiveKey(this.state, id, outcome, nowMs));
  }

  probe(id: string, answer: ProbeAnswer, nowMs: number): MembershipStep {
    return this.take(receiveProbe(this.state, id, answer, nowMs));
  }
}
