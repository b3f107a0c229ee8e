import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  advanceLeadership,
  checkHold,
  failKeyRead,
  forgetKey,
  type LeadershipContext,
  type LeadershipState,
  leadershipWakeAtMs,
  letGo,
  observeKey,
  receiveKeyRead,
  receiveLeaderDisconnect,
  receiveLeaderProbe,
  receiveWrite,
  STANDBY,
} from '../../services/coordinator/leadership.ts';
import type { ProbeAnswer } from '../../services/coordinator/protocol.ts';
import type { LeaderEntry } from '../../shared/nats/leadership-bucket.ts';
import { HEARTBEAT_MS, LEASE_TTL_MS } from '../support/machine-fixtures.ts';

const NOBODY: ProbeAnswer = { kind: 'no-responders' };

function context(nowMs: number): LeadershipContext {
  return {
    id: 'me',
    startedAt: '2026-11-23T09:30:00.000Z',
    epoch: 3,
    leaseTtlMs: LEASE_TTL_MS,
    heartbeatMs: HEARTBEAT_MS,
    nowMs,
  };
}

function entry(id: string, revision: number): LeaderEntry {
  return { id, revision, epoch: 3, startedAt: '2026-11-23T09:00:00.000Z' };
}

/** A standby that has just read the key. */
function watching(key: LeaderEntry | null, nowMs = 0): LeadershipState {
  const asked = advanceLeadership(STANDBY, context(nowMs)).state;
  return receiveKeyRead(asked, key, context(nowMs)).state;
}

/** The holder of revision 7 whose last renewal was sent at 0. */
const HOLDER: LeadershipState = {
  ...STANDBY,
  role: 'holder',
  key: null,
  revision: 7,
  acknowledgedMs: 0,
  nextWriteAtMs: 500,
};

describe('leadership: winning the key', () => {
  it('looks first, then makes the key where there is none', () => {
    const looked = advanceLeadership(STANDBY, context(0));
    assert.deepEqual(looked.effects, [{ kind: 'read-leader' }]);
    const step = advanceLeadership(watching(null), context(0));
    assert.deepEqual(step.effects, [{ kind: 'write-leader', epoch: 0, revision: null }]);
    assert.deepEqual(advanceLeadership(step.state, context(9_000)).effects, [], 'one write under way');
  });

  it('is the holder when the write won, with the hold counted from when it was sent', () => {
    const written = advanceLeadership(watching(null), context(0)).state;
    const won = receiveWrite(written, { sentMs: 0, outcome: { kind: 'won', revision: 4 } }, context(30));
    assert.equal(won.turn, 'won');
    assert.deepEqual([won.state.role, won.state.revision, won.state.acknowledgedMs], ['holder', 4, 0]);
  });

  it('refused: somebody else was faster; looks who it is', () => {
    const written = advanceLeadership(watching(null), context(0)).state;
    const step = receiveWrite(written, { sentMs: 0, outcome: { kind: 'refused' } }, context(5));
    assert.deepEqual([step.turn, step.state.role, step.state.key], [null, 'standby', undefined]);
    assert.deepEqual(advanceLeadership(step.state, context(250)).effects, [{ kind: 'read-leader' }]);
  });

  it('not known whether it was stored: looks, and takes its own key by its revision', () => {
    const written = advanceLeadership(watching(null), context(0)).state;
    const failed = receiveWrite(written, { sentMs: 0, outcome: { kind: 'failed' } }, context(1_000));
    assert.equal(failed.state.key, undefined);
    const looked = advanceLeadership(failed.state, context(1_000));
    assert.deepEqual(looked.effects, [{ kind: 'read-leader' }]);
    const found = receiveKeyRead(looked.state, { ...entry('me', 4), startedAt: context(0).startedAt }, context(1_001));
    assert.deepEqual(advanceLeadership(found.state, context(1_001)).effects, [
      { kind: 'write-leader', epoch: 0, revision: 4 },
    ]);
  });

  it('makes the key at once when its deletion is seen', () => {
    const seen = observeKey(watching(entry('other', 5)), null, 10);
    assert.deepEqual(advanceLeadership(seen, context(10)).effects, [
      { kind: 'write-leader', epoch: 0, revision: null },
    ]);
  });
});

describe('leadership: taking over', () => {
  /** A standby whose probe is under way, so that only silence is left to move it. */
  const probing = { ...watching(entry('other', 5)), isProbing: true };

  it('DESIGN §6: silence counts beyond the TTL only, and reads the key first', () => {
    assert.equal(leadershipWakeAtMs(probing, context(0)), 2_001);
    assert.deepEqual(advanceLeadership(probing, context(2_000)).effects, []);
    assert.deepEqual(advanceLeadership(probing, context(2_001)).effects, [{ kind: 'read-leader' }]);
  });

  it('DESIGN §6: the key unchanged after the TTL: taken over, by that revision', () => {
    const looked = advanceLeadership(probing, context(2_001)).state;
    const step = receiveKeyRead(looked, entry('other', 5), context(2_003));
    assert.deepEqual(step.effects, [{ kind: 'write-leader', epoch: 0, revision: 5 }]);
  });

  it('DESIGN §6: the key gone: made anew; the key renewed: the silence was ours', () => {
    const looked = advanceLeadership(probing, context(2_001)).state;
    const gone = receiveKeyRead(looked, null, context(2_003)).state;
    assert.deepEqual(advanceLeadership(gone, context(2_003)).effects, [
      { kind: 'write-leader', epoch: 0, revision: null },
    ]);
    const renewed = receiveKeyRead(looked, entry('other', 6), context(2_003));
    assert.deepEqual([renewed.effects, renewed.state.heardAtMs], [[], 2_003]);
    assert.deepEqual(advanceLeadership(renewed.state, context(2_004)).effects, []);
  });

  it('a renewal heard while the key is read ends the silence, even where the read saw the key before it', () => {
    const looked = advanceLeadership(probing, context(2_001)).state;
    const heard = observeKey(looked, entry('other', 6), 2_002);
    assert.deepEqual(receiveKeyRead(heard, entry('other', 5), context(2_003)).effects, []);
  });

  it('no answer: not silent; asked again after a pause', () => {
    const failed = failKeyRead(advanceLeadership(probing, context(2_001)).state);
    assert.equal(leadershipWakeAtMs(failed, context(2_101)), 2_251);
    assert.deepEqual(advanceLeadership(failed, context(2_250)).effects, []);
    assert.deepEqual(advanceLeadership(failed, context(2_251)).effects, [{ kind: 'read-leader' }]);
  });

  it('each renewal seen starts the lease anew; one seen again does not, nor one older than known', () => {
    const state = watching(entry('other', 5));
    assert.equal(observeKey(state, entry('other', 6), 400).heardAtMs, 400);
    assert.equal(observeKey(state, entry('other', 5), 400).heardAtMs, 0);
    assert.deepEqual(observeKey(state, entry('older', 4), 400), state);
  });

  it('DESIGN §7: two probes in a row that find nobody: taken over by CAS, without waiting for the TTL', () => {
    const first = advanceLeadership(watching(entry('other', 5)), context(10));
    assert.deepEqual(first.effects, [{ kind: 'probe-leader', leader: 'other' }]);
    const once = receiveLeaderProbe(first.state, 'other', NOBODY, 12);
    const second = advanceLeadership(once, context(12));
    assert.deepEqual(second.effects, [{ kind: 'probe-leader', leader: 'other' }]);
    const twice = receiveLeaderProbe(second.state, 'other', NOBODY, 14);
    assert.deepEqual(advanceLeadership(twice, context(14)).effects, [{ kind: 'write-leader', epoch: 0, revision: 5 }]);
  });

  it('an answer, a timeout or a renewal between them begins the count anew', () => {
    const absent = { ...watching(entry('other', 5)), absences: 1 };
    assert.equal(receiveLeaderProbe(absent, 'other', { kind: 'answered', value: null }, 10).absences, 0);
    assert.equal(receiveLeaderProbe(absent, 'other', { kind: 'timeout' }, 10).absences, 0);
    assert.equal(observeKey(absent, entry('other', 6), 10).absences, 0);
    assert.equal(receiveLeaderProbe(absent, 'former', NOBODY, 10).absences, 1, 'of a former leader');
  });

  it('DESIGN §7: the server’s word that the leader’s connection is gone needs one probe, at once, to confirm it', () => {
    const told = receiveLeaderDisconnect(probing, 'other', 20);
    const probed = advanceLeadership(told, context(20));
    assert.deepEqual(probed.effects, [{ kind: 'probe-leader', leader: 'other' }], 'also where one is under way');
    const absent = receiveLeaderProbe(probed.state, 'other', NOBODY, 22);
    assert.deepEqual(advanceLeadership(absent, context(22)).effects, [{ kind: 'write-leader', epoch: 0, revision: 5 }]);
  });

  it('the server’s word about a leader that is there again, about anybody else, or told twice, moves nothing', () => {
    const told = receiveLeaderDisconnect(receiveLeaderDisconnect(probing, 'other', 20), 'other', 20);
    const probed = advanceLeadership(told, context(20)).state;
    assert.equal(probed.absences, 1);
    const answered = receiveLeaderProbe(probed, 'other', { kind: 'answered', value: null }, 22);
    assert.deepEqual([answered.absences, advanceLeadership(answered, context(22)).effects], [0, []]);
    assert.equal(receiveLeaderDisconnect(probing, 'former', 20), probing);
    assert.equal(receiveLeaderDisconnect(HOLDER, 'me', 20), HOLDER);
  });

  it('probes a leader every 250 ms', () => {
    const probed = advanceLeadership(watching(entry('other', 5)), context(10)).state;
    const answered = receiveLeaderProbe(probed, 'other', { kind: 'answered', value: null }, 12);
    assert.equal(leadershipWakeAtMs(answered, context(12)), 260);
    assert.deepEqual(advanceLeadership(answered, context(259)).effects, []);
    assert.equal(advanceLeadership(answered, context(260)).effects.length, 1);
  });

  it('DESIGN §6: after a reconnect a standby looks anew, and every lease starts anew', () => {
    const forgot = forgetKey({ ...probing, absences: 1 }, { nowMs: 5_000, pauseMs: 0 });
    assert.deepEqual([forgot.key, forgot.heardAtMs, forgot.absences], [undefined, 5_000, 0]);
    assert.deepEqual(advanceLeadership(forgot, context(5_000)).effects, [{ kind: 'read-leader' }]);
  });

  it('wakes for what it may do next, never for something it has to wait for', () => {
    const looked = advanceLeadership({ ...probing, absences: 1 }, context(2_001)).state;
    const absent = receiveLeaderProbe(looked, 'other', NOBODY, 2_002);
    const failed = failKeyRead(absent);
    // Two absences are evidence enough, whatever the read says.
    const step = advanceLeadership(failed, context(2_003));
    assert.deepEqual(step.effects, [{ kind: 'write-leader', epoch: 0, revision: 5 }]);
    assert.equal(leadershipWakeAtMs(step.state, context(2_003)), null);
  });

  it('a key of my id that another process wrote is another’s', () => {
    const other = { ...entry('me', 5), startedAt: '2026-11-23T08:00:00.000Z' };
    const state = observeKey(watching(other), { ...other, revision: 6 }, 400);
    assert.deepEqual(
      advanceLeadership(state, context(400)).effects.filter(({ kind }) => kind === 'write-leader'),
      [],
    );
  });
});

describe('leadership: holding and letting go', () => {
  it('renews every heartbeat under the term’s epoch, by the revision it holds', () => {
    assert.deepEqual(advanceLeadership(HOLDER, context(499)).effects, []);
    const step = advanceLeadership(HOLDER, context(500));
    assert.deepEqual(step.effects, [{ kind: 'write-leader', epoch: 3, revision: 7 }]);
    assert.deepEqual(advanceLeadership(step.state, context(1_200)).effects, []);
    const renewed = receiveWrite(step.state, { sentMs: 500, outcome: { kind: 'won', revision: 8 } }, context(505));
    assert.equal(renewed.turn, null);
    assert.deepEqual([renewed.state.revision, renewed.state.acknowledgedMs], [8, 500]);
  });

  it('DESIGN §7: lets go by its own clock after 0.75 of the TTL without an acknowledgement', () => {
    const waiting = { ...HOLDER, isWriting: true };
    assert.equal(leadershipWakeAtMs(waiting, context(600)), 1_501);
    assert.equal(checkHold(waiting, context(1_500)).turn, null);
    const lost = checkHold(waiting, context(1_501));
    assert.deepEqual([lost.turn, lost.state.role, lost.state.key, lost.effects], ['lost', 'standby', undefined, []]);
  });

  it('DESIGN §7: refused: somebody else wrote; steps down at once and looks', () => {
    const step = receiveWrite(
      { ...HOLDER, isWriting: true },
      { sentMs: 500, outcome: { kind: 'refused' } },
      context(505),
    );
    assert.deepEqual([step.turn, step.state.role, step.state.key], ['lost', 'standby', undefined]);
  });

  it('a renewal without an answer is tried again, the hold running on from the last acknowledgement', () => {
    const state = { ...HOLDER, isWriting: true, nextWriteAtMs: 1_000 };
    const step = receiveWrite(state, { sentMs: 500, outcome: { kind: 'failed' } }, context(900));
    assert.deepEqual([step.turn, step.state.role, step.state.acknowledgedMs], [null, 'holder', 0]);
    assert.equal(leadershipWakeAtMs(step.state, context(900)), 1_000);
  });

  it('lets go by deleting the key at its revision; pauses before it runs again, or retires for good', () => {
    const paused = letGo(HOLDER, { retire: false, nowMs: 100, pauseMs: 1_000 });
    assert.deepEqual([paused.effects, paused.turn], [[{ kind: 'remove-leader', revision: 7 }], 'lost']);
    const vacant = receiveKeyRead(advanceLeadership(paused.state, context(100)).state, null, context(101)).state;
    assert.deepEqual(advanceLeadership(vacant, context(1_099)).effects, []);
    assert.equal(advanceLeadership(vacant, context(1_100)).effects.length, 1);

    const retired = letGo(HOLDER, { retire: true, nowMs: 100, pauseMs: 0 }).state;
    assert.deepEqual(advanceLeadership(retired, context(9_000)).effects, []);
    assert.equal(leadershipWakeAtMs(retired, context(9_000)), null);
    assert.deepEqual(letGo(watching(null), { retire: true, nowMs: 0, pauseMs: 0 }).effects, [], 'nothing to let go');
  });

  it('a key won after retiring is given back', () => {
    const retired: LeadershipState = { ...STANDBY, role: 'retired', isWriting: true };
    const step = receiveWrite(retired, { sentMs: 0, outcome: { kind: 'won', revision: 9 } }, context(5));
    assert.deepEqual([step.effects, step.turn], [[{ kind: 'remove-leader', revision: 9 }], null]);
  });

  it('a holder does not heed the watch, which may tell of its own key’s past', () => {
    assert.equal(observeKey(HOLDER, null, 10), HOLDER);
    assert.deepEqual(receiveKeyRead({ ...HOLDER, isReading: true }, null, context(10)).state, HOLDER);
  });

  it('renews at once after a reconnect', () => {
    assert.equal(advanceLeadership(forgetKey(HOLDER, { nowMs: 100, pauseMs: 0 }), context(100)).effects.length, 1);
  });
});
