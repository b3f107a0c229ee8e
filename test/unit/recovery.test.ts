import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { MemberChange } from '../../services/coordinator/protocol.ts';
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
} from '../../services/coordinator/recovery.ts';
import type { RingApplied } from '../../shared/nats/ring-applied.ts';
import type { Recovery } from '../../shared/ring/recovery.ts';
import { type Snapshot, toAssignment } from '../../shared/ring/snapshot.ts';
import { makeSnapshotOf, type Shares } from '../support/machine-fixtures.ts';

const BEFORE: Shares = { a: [0, 1], b: [2, 3], c: [4, 5, 6, 7] };
const AFTER: Shares = { a: [0, 1, 4, 5], b: [2, 3, 6, 7] };
const cause = { kind: 'worker-left', worker: 'c', evidence: 'connection-closed' } as const;
const ring = (version: number, shares: Shares) => makeSnapshotOf({ epoch: 1, version }, shares, { cause });

/** Decided at 120, evidence at 100. */
function decided(state: RecoveryState = NO_RECOVERY, snapshot: Snapshot = ring(2, AFTER), before = BEFORE) {
  return noteDecision(state, {
    snapshot,
    evidenceMs: 100,
    before: toAssignment(ring(1, before)),
    after: toAssignment(snapshot),
    nowMs: 120,
  });
}

const published = () => noteAcknowledgement(decided(), { epoch: 1, version: 2 }, 123);

function word(worker: string, applied: Partial<RingApplied> = {}): RingApplied {
  return { worker, epoch: 1, version: 2, claimedMs: 4, firstTickMs: 10, slots: 2, rows: 2, missed: 0, ...applied };
}

/** What is summed up at that time, and nothing else. */
function summedUp(state: RecoveryState, nowMs: number): readonly Recovery[] {
  return advanceRecovery(state, nowMs).effects.flatMap((effect) =>
    effect.kind === 'publish-recovery' ? [effect.recovery] : [],
  );
}

describe('recovery: one disruption', () => {
  it('is summed up when the last who gained has told, each phase by the own clock', () => {
    const first = receiveApplied(published(), word('a', { claimedMs: 3, firstTickMs: 9, missed: 2 }), 133);
    assert.deepEqual(summedUp(first, 133), []);
    const both = receiveApplied(first, word('b', { claimedMs: 5, firstTickMs: 12, rows: 3, missed: 3 }), 140);
    const [recovery] = summedUp(both, 140);
    const { moved, at } = ring(2, AFTER);
    assert.deepEqual(recovery, {
      epoch: 1,
      version: 2,
      at,
      cause,
      moved,
      workers: 2,
      slots: 4,
      rows: 5,
      phases: {
        evidenceToDecided: 20,
        decidedToPublished: 3,
        // 140, less the 7 ms that b took from its claim to its first tick.
        publishedToLastClaim: 10,
        lastClaimToLastFirstTick: 7,
        total: 40,
      },
      missed: 5,
      isComplete: true,
      missing: [],
      slowest: 'b',
    });
    const { effects, state } = advanceRecovery(both, 140);
    assert.deepEqual(effects[0], { kind: 'report', report: { kind: 'recovered', recovery } });
    assert.deepEqual([state.disruptions, state.recent], [[], [recovery]]);
  });

  it('waits for no first tick of workers that gained no rows', () => {
    const state = ['a', 'b'].reduce(
      (before, id) => receiveApplied(before, word(id, { firstTickMs: null, rows: 0 }), 130),
      published(),
    );
    const { publishedToLastClaim, lastClaimToLastFirstTick, total } = summedUp(state, 130)[0]!.phases;
    assert.deepEqual([publishedToLastClaim, lastClaimToLastFirstTick, total], [7, null, 30]);
  });

  it('ends with a claim that came after the others’ first ticks', () => {
    const ticked = receiveApplied(published(), word('a'), 130);
    const state = receiveApplied(ticked, word('b', { firstTickMs: null, rows: 0 }), 150);
    const { publishedToLastClaim, lastClaimToLastFirstTick, total } = summedUp(state, 150)[0]!.phases;
    assert.deepEqual([publishedToLastClaim, lastClaimToLastFirstTick, total], [27, 0, 50]);
  });

  it('is incomplete after 5 s: names who did not tell, and leaves out what is not known', () => {
    const state = receiveApplied(published(), word('a', { missed: 2 }), 133);
    assert.equal(recoveryWakeAtMs(state), 5_123);
    assert.deepEqual(summedUp(state, 5_122), []);
    const [recovery] = summedUp(state, 5_123);
    assert.deepEqual([recovery?.isComplete, recovery?.missing, recovery?.missed], [false, ['b'], 2]);
    assert.deepEqual(recovery?.phases, {
      evidenceToDecided: 20,
      decidedToPublished: 3,
      publishedToLastClaim: null,
      lastClaimToLastFirstTick: null,
      total: null,
    });
  });

  it('ends with the publish where nobody gains', () => {
    const same = decided(NO_RECOVERY, ring(2, BEFORE));
    const [recovery] = summedUp(noteAcknowledgement(same, { epoch: 1, version: 2 }, 125), 125);
    assert.deepEqual([recovery?.workers, recovery?.isComplete, recovery?.slowest], [0, true, null]);
    assert.deepEqual([recovery?.phases.publishedToLastClaim, recovery?.phases.total], [null, 25]);
  });

  it('without known evidence has neither that phase nor a total', () => {
    const snapshot = ring(2, BEFORE);
    const assignment = toAssignment(snapshot);
    const decision = { snapshot, evidenceMs: null, before: assignment, after: assignment, nowMs: 120 };
    const state = noteAcknowledgement(noteDecision(NO_RECOVERY, decision), { epoch: 1, version: 2 }, 125);
    const { evidenceToDecided, decidedToPublished, total } = summedUp(state, 125)[0]!.phases;
    assert.deepEqual([evidenceToDecided, decidedToPublished, total], [null, 5, null]);
  });

  it('everybody gains by the first ring', () => {
    const snapshot = ring(1, AFTER);
    const decision = { snapshot, evidenceMs: null, before: null, after: toAssignment(snapshot), nowMs: 1 };
    const [disruption] = noteDecision(NO_RECOVERY, decision).disruptions;
    assert.deepEqual([...(disruption?.awaited ?? [])], ['a', 'b']);
  });
});

describe('recovery: messages early, late, twice or not at all', () => {
  it('a word before the acknowledgement proves that the snapshot was out, but ends nothing', () => {
    const told = ['a', 'b'].reduce((before, id) => receiveApplied(before, word(id), 130), decided());
    assert.deepEqual(summedUp(told, 9_999), []);
    assert.equal(recoveryWakeAtMs(told), null);
    const [recovery] = summedUp(noteAcknowledgement(told, { epoch: 1, version: 2 }, 140), 140);
    assert.equal(recovery?.phases.decidedToPublished, 4);
    assert.equal(recovery?.phases.publishedToLastClaim, 0);
  });

  it('a word told twice counts once, and those of strangers, other terms and later snapshots not at all', () => {
    const once = receiveApplied(published(), word('a', { missed: 2 }), 130);
    for (const stranger of [word('a', { missed: 2 }), word('x'), word('b', { epoch: 2 }), word('b', { version: 1 })]) {
      assert.equal(receiveApplied(once, stranger, 131).disruptions, once.disruptions);
    }
  });

  it('who applied only the newest of two snapshots has told of both, with the figures for the newest', () => {
    const third = ring(3, { a: [0, 1, 4, 5, 6, 7], b: [2, 3] });
    const both = noteAcknowledgement(decided(published(), third, AFTER), { epoch: 1, version: 3 }, 125);
    const toldOnce = receiveApplied(both, word('a', { version: 3, slots: 4, missed: 6 }), 135);
    const recoveries = summedUp(receiveApplied(toldOnce, word('b'), 136), 136);
    assert.deepEqual(
      recoveries.map(({ version, isComplete, missed, slots }) => ({ version, isComplete, missed, slots })),
      [
        { version: 2, isComplete: true, missed: 0, slots: 2 },
        { version: 3, isComplete: true, missed: 6, slots: 4 },
      ],
    );
  });

  it('a duration that cannot be true dates no claim before the decision', () => {
    const state = receiveApplied(published(), word('a', { firstTickMs: 80_000 }), 130);
    const [recovery] = summedUp(receiveApplied(state, word('b', { firstTickMs: 80_000 }), 131), 131);
    assert.equal(recovery?.phases.decidedToPublished, 0);
  });

  it('the last 256 are kept', () => {
    let state: RecoveryState = NO_RECOVERY;
    for (let version = 2; version < 302; version += 1) {
      const noted = decided(state, ring(version, BEFORE));
      state = advanceRecovery(noteAcknowledgement(noted, { epoch: 1, version }, 130), 130).state;
    }
    assert.deepEqual([state.recent.length, state.recent[0]?.version, state.recent.at(-1)?.version], [256, 46, 301]);
  });
});

describe('recovery: when the evidence came', () => {
  const suspect = (state: RecoveryState, worker: string, nowMs: number) =>
    noteSuspicions(
      state,
      [{ kind: 'report', report: { kind: 'member-suspected', worker, evidence: 'lease-expired' } }],
      nowMs,
    );

  it('a departure is dated by the last suspicion, an own word and a join by themselves', () => {
    const state = suspect(suspect(NO_RECOVERY, 'c', 50), 'c', 100);
    const lost = { kind: 'left', worker: 'c', evidence: 'lease-expired' } as const;
    const dated = (change: MemberChange, isSuspected = true) =>
      noteMember(state, change, { isSuspected, before: 0, after: 1, nowMs: 130 });
    assert.equal(dated(lost).evidenceMs, 100);
    assert.equal(dated(lost, false).evidenceMs, 130, 'the suspicion was cleared, and hard evidence came');
    assert.equal(dated({ ...lost, evidence: 'left' }).evidenceMs, 130);
    assert.equal(dated({ kind: 'joined', worker: 'c' }).evidenceMs, 130);
    assert.equal(dated({ ...lost, worker: 'b' }).evidenceMs, 130);
    assert.deepEqual([...dated(lost).suspectedMs.keys()], [], 'who left is forgotten');
  });

  it('the first cause brings it, further ones change nothing, and it goes with the last', () => {
    const first = noteCauses(NO_RECOVERY, { before: 0, after: 1, evidenceMs: 100 });
    const second = noteCauses(first, { before: 1, after: 2, evidenceMs: 110 });
    assert.deepEqual([first.evidenceMs, second.evidenceMs], [100, 100]);
    assert.equal(noteCauses(second, { before: 2, after: 0, evidenceMs: null }).evidenceMs, null);
  });

  it('a leader is known to be gone by a probe without responders or by its key gone, until it is seen again', () => {
    const me = { id: 'me' };
    const entry = { id: 'other', epoch: 1, startedAt: 'then', revision: 5 };
    const nobody = { kind: 'leader-probed', leader: 'other', answer: { kind: 'no-responders' } } as const;
    const lost = noteLeaderLoss(null, nobody, { ...me, nowMs: 100 });
    assert.equal(lost, 100);
    assert.equal(noteLeaderLoss(lost, nobody, { ...me, nowMs: 103 }), 100);
    assert.equal(noteLeaderLoss(lost, { kind: 'leader-read', entry }, { ...me, nowMs: 105 }), 100);
    assert.equal(noteLeaderLoss(lost, { kind: 'leader-observed', entry }, { ...me, nowMs: 106 }), null);
    const own = { ...entry, id: 'me' };
    assert.equal(noteLeaderLoss(lost, { kind: 'leader-observed', entry: own }, { ...me, nowMs: 107 }), 100);
    for (const kind of ['leader-observed', 'leader-read'] as const) {
      assert.equal(noteLeaderLoss(null, { kind, entry: null }, { ...me, nowMs: 100 }), 100);
    }
    const answered = { ...nobody, answer: { kind: 'answered', value: null } } as const;
    assert.equal(noteLeaderLoss(lost, answered, { ...me, nowMs: 108 }), null);
    assert.equal(noteLeaderLoss(lost, { kind: 'wake' }, { ...me, nowMs: 109 }), 100);
  });
});

describe('recovery: missed ticks that no takeover reports', () => {
  const only = (missed: number, applied: Partial<RingApplied> = {}) =>
    word('a', { claimedMs: 0, firstTickMs: null, slots: 0, rows: 0, missed, ...applied });

  const strays = (state: RecoveryState, nowMs: number) =>
    advanceRecovery(state, nowMs).effects.flatMap((effect) =>
      effect.kind === 'report' && effect.report.kind === 'ticks-missed' ? [effect.report] : [],
    );

  it('count for the disruption under way, and complete nothing', () => {
    const state = receiveApplied(published(), only(3), 130);
    assert.equal(state.strayMisses, null);
    const told = ['a', 'b'].reduce((before, id) => receiveApplied(before, word(id, { missed: 1 }), 140), state);
    assert.deepEqual([summedUp(state, 130), summedUp(told, 140)[0]?.missed], [[], 5]);
  });

  it('are reported by themselves where none is, or where it was summed up already', () => {
    const over = advanceRecovery(receiveApplied(published(), word('a'), 130), 6_000).state;
    for (const [state, report] of [
      [NO_RECOVERY, only(3)],
      [over, word('b', { missed: 3 })],
      [published(), only(3, { epoch: 9 })],
    ] as const) {
      const told = receiveApplied(state, report, 6_001);
      assert.deepEqual(strays(told, 9_000), []);
      assert.deepEqual(strays(told, 9_001), [{ kind: 'ticks-missed', missed: 3, workers: [report.worker] }]);
    }
    assert.equal(receiveApplied(NO_RECOVERY, word('a'), 1).strayMisses, null);
  });

  it('are reported once for all workers after an outage, and again for later ones', () => {
    const first = receiveApplied(NO_RECOVERY, only(3), 1_000);
    const both = ['c', 'b', 'c'].reduce((state, id) => receiveApplied(state, only(2, { worker: id }), 2_500), first);
    const reported = [{ kind: 'ticks-missed', missed: 9, workers: ['a', 'b', 'c'] }];
    assert.deepEqual(strays(both, 4_000), reported);
    const { state } = advanceRecovery(both, 4_000);
    assert.deepEqual([strays(state, 9_000), recoveryWakeAtMs(state)], [[], null]);
    assert.equal(recoveryWakeAtMs(receiveApplied(state, only(1), 10_000)), 13_000);
  });
});
