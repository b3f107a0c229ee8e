import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  receiveDeletion,
  receiveDisconnect,
  receiveEntries,
  receiveHeartbeat,
  receiveRemoval,
  receiveRevision,
  restartLeases,
  startMembership,
} from '../../services/coordinator/membership.ts';
import { sweepMembers } from '../../services/coordinator/membership-sweep.ts';
import type { ProbeAnswer } from '../../services/coordinator/protocol.ts';
import { LEASE_TTL_MS, makeEntry, makeLiveness } from '../support/machine-fixtures.ts';
import { Members } from '../support/membership-fixture.ts';

const NOBODY: ProbeAnswer = { kind: 'no-responders' };
const TIMEOUT: ProbeAnswer = { kind: 'timeout' };

const left = (worker: string, evidence: string) => [{ kind: 'left', worker, evidence }];
const deleteKey = (worker: string, revision: number) => [{ kind: 'delete-key', worker, revision }];
const cleared = (worker: string, evidence: string) => [
  { kind: 'report', report: { kind: 'member-cleared', worker, evidence } },
];

describe('membership: the start of a term', () => {
  it('joins whom the bucket holds, and gives the ring’s other workers a lease from now on', () => {
    const step = startMembership([makeEntry('a', 1), makeEntry('new', 2)], ['a', 'b'], 50);
    assert.deepEqual(step.changes, [{ kind: 'joined', worker: 'new' }]);
    assert.deepEqual([...step.state.members.keys()], ['a', 'b', 'new']);
    assert.equal(step.state.members.get('b')?.heardAtMs, 50);
  });

  it('leaves out a worker of the ring that is leaving, and keeps out garbage', () => {
    const garbage = { id: 'bad', revision: 3, value: null, reason: 'not JSON' };
    const step = startMembership([makeEntry('a', 1, { state: 'leaving' }), garbage], ['a', 'b'], 0);
    assert.deepEqual(step.changes, left('a', 'left'));
    assert.deepEqual([...step.state.members.keys()], ['b']);
  });
});

describe('membership: who said so', () => {
  it('DESIGN §6: plans at once without a worker whose key was deleted, or that says it is leaving', () => {
    const members = new Members('a', 'b');
    assert.deepEqual(
      members.take(receiveRemoval(members.state, 'a', { revision: null, nowMs: 1 })).changes,
      left('a', 'left'),
    );
    const leaving = makeLiveness('b', { state: 'leaving' });
    assert.deepEqual(members.take(receiveHeartbeat(members.state, leaving, 1)).changes, left('b', 'left'));
    assert.deepEqual(members.ids, []);
  });

  it('joins a worker with the first put heard', () => {
    const members = new Members('a');
    assert.deepEqual(members.hear('b', 5).changes, [{ kind: 'joined', worker: 'b' }]);
    assert.deepEqual(members.hear('b', 6).changes, []);
  });

  it('DESIGN §6: a deletion that the watch tells of late does not unseat a worker that put its key again', () => {
    const members = new Members('a');
    receiveRevision(members.state, 'a', 9);
    for (const revision of [8, 9]) {
      assert.deepEqual(receiveRemoval(members.state, 'a', { revision, nowMs: 1 }).changes, []);
    }
    assert.deepEqual(receiveRemoval(members.state, 'a', { revision: 10, nowMs: 1 }).changes, left('a', 'left'));
  });

  it('DESIGN §6: a stored put that the watch tells of late does not resurrect a worker, nor renew its lease', () => {
    const members = new Members('a', 'b');
    members.take(receiveRemoval(members.state, 'a', { revision: null, nowMs: 1 }));
    receiveRevision(members.state, 'a', 7);
    assert.deepEqual(members.ids, ['b']);
    receiveRevision(members.state, 'b', 8);
    assert.deepEqual([members.state.members.get('b')?.heardAtMs, members.state.members.get('b')?.revision], [0, 8]);
  });

  it('DESIGN §6: a read of the bucket that began before a worker was gone does not bring it back; a later one does', () => {
    const members = new Members('a', 'b');
    members.take(receiveRemoval(members.state, 'a', { revision: null, nowMs: 100 }));
    const read = (startedMs: number) =>
      members.take(receiveEntries(members.state, [makeEntry('a', 5)], { startedMs, nowMs: 200 })).changes;
    assert.deepEqual(read(90), []);
    assert.deepEqual(read(101), [{ kind: 'joined', worker: 'a' }]);
  });

  it('DESIGN §6: a read of the bucket finds renewals that were missed, but renews no lease with a put known already', () => {
    const members = new Members('a');
    const read = (revision: number, nowMs: number) =>
      members.take(receiveEntries(members.state, [makeEntry('a', revision)], { startedMs: nowMs, nowMs }));
    read(1, 900);
    assert.equal(members.state.members.get('a')?.heardAtMs, 0);
    read(2, 1_000);
    assert.equal(members.state.members.get('a')?.heardAtMs, 1_000);
  });

  it('a key missing from the bucket accuses nobody', () => {
    const members = new Members('a', 'b');
    const read = { startedMs: 10, nowMs: 20 };
    assert.deepEqual(receiveEntries(members.state, [], read).changes, []);
    assert.deepEqual(members.ids, ['a', 'b']);
  });
});

describe('membership: silence', () => {
  it('DESIGN §6: silence counts from beyond the TTL on, and reads the key before anything else', () => {
    const members = new Members('a', 'b', 'c');
    members.hear('b', 2_000);
    members.hear('c', 2_000);
    assert.deepEqual(members.sweep(2_000), []);
    members.suspectSilence('a', 2_025);
    assert.deepEqual(members.ids, ['a', 'b', 'c']);
    assert.deepEqual(members.sweep(2_050), [], 'asked once');
  });

  it('DESIGN §6: the key gone: planned without it', () => {
    const members = new Members('a', 'b', 'c');
    members.suspectSilence('a', 2_001);
    assert.deepEqual(members.readKey('a', { entry: null }, 2_003).changes, left('a', 'lease-expired'));
    assert.deepEqual(members.ids, ['b', 'c']);
  });

  it('DESIGN §6: the key at the revision known: deleted by that revision, and only then planned without it', () => {
    const members = new Members('a', 'b', 'c');
    members.suspectSilence('a', 2_001);
    const read = members.readKey('a', { entry: makeEntry('a', 1) }, 2_003);
    assert.deepEqual([read.effects, read.changes], [deleteKey('a', 1), []]);
    const gone = members.take(receiveDeletion(members.state, 'a', 'deleted', 2_005));
    assert.deepEqual(gone.changes, left('a', 'lease-expired'));
  });

  it('DESIGN §6: a key renewed meanwhile: not silent', () => {
    const members = new Members('a', 'b', 'c');
    members.suspectSilence('a', 2_001);
    const read = members.readKey('a', { entry: makeEntry('a', 4) }, 2_003);
    assert.deepEqual([read.effects, read.changes], [cleared('a', 'lease-expired'), []]);
    assert.equal(members.state.members.get('a')?.heardAtMs, 2_003);
    assert.equal(members.state.members.get('a')?.revision, 4);
  });

  it('DESIGN §6: no answer: not silent; asked again', () => {
    const members = new Members('a', 'b', 'c');
    members.suspectSilence('a', 2_001);
    assert.deepEqual(members.readKey('a', 'failed', 2_101).changes, []);
    assert.deepEqual(members.sweep(2_350), []);
    assert.deepEqual(members.sweep(2_375), [{ kind: 'read-key', worker: 'a' }]);
  });

  it('DESIGN §6: a deletion that found another revision clears it; one without an answer is tried again', () => {
    const members = new Members('a', 'b', 'c');
    members.suspectSilence('a', 2_001);
    members.readKey('a', { entry: makeEntry('a', 1) }, 2_003);
    assert.deepEqual(members.take(receiveDeletion(members.state, 'a', 'failed', 2_005)).changes, []);
    assert.deepEqual(members.sweep(2_275), [{ kind: 'read-key', worker: 'a' }]);
    members.readKey('a', { entry: makeEntry('a', 1) }, 2_280);
    const changed = members.take(receiveDeletion(members.state, 'a', 'changed', 2_285));
    assert.deepEqual([changed.effects, changed.changes], [cleared('a', 'lease-expired'), []]);
    assert.equal(members.state.members.get('a')?.heardAtMs, 2_285);
  });

  it('a renewal heard while the key is being read ends the suspicion', () => {
    const members = new Members('a', 'b', 'c');
    members.suspectSilence('a', 2_001);
    members.hear('a', 2_002);
    const read = members.readKey('a', { entry: null }, 2_003);
    assert.deepEqual([read.effects, read.changes], [[], []]);
    assert.deepEqual(members.ids, ['a', 'b', 'c']);
  });

  it('DESIGN §6: more than half silent together get one more TTL first', () => {
    const members = new Members('a', 'b', 'c');
    members.hear('c', 1_900);
    assert.deepEqual(members.sweep(2_025), []);
    members.hear('c', 3_900);
    assert.deepEqual(members.sweep(4_000), []);
    assert.deepEqual(
      members.sweep(4_025).filter(({ kind }) => kind === 'read-key'),
      [
        { kind: 'read-key', worker: 'a' },
        { kind: 'read-key', worker: 'b' },
      ],
    );
  });

  it('just half of them silent get no more time, nor does the only one', () => {
    const pair = new Members('a', 'b');
    pair.suspectSilence('a', 2_001);
    const alone = new Members('a');
    alone.suspectSilence('a', 2_001);
  });

  it('DESIGN §6: after a reconnect every lease starts anew, and what was being confirmed is forgotten', () => {
    const members = new Members('a', 'b', 'c');
    members.suspectSilence('a', 2_001);
    members.state = restartLeases(members.state, { leaseTtlMs: LEASE_TTL_MS, nowMs: 2_002 });
    assert.deepEqual(members.readKey('a', { entry: null }, 2_003).changes, []);
    assert.deepEqual(members.probe('a', NOBODY, 2_004).effects, [], 'blind: nothing counts');
    assert.deepEqual(members.sweep(4_002), []);
    members.suspectSilence('a', 4_027);
  });
});

describe('membership: a connection that is gone', () => {
  it('DESIGN §6: no responders is confirmed by a second probe, then the key is read and deleted by its revision', () => {
    const members = new Members('a', 'b');
    members.sweep(0);
    assert.deepEqual(members.probe('a', NOBODY, 3).effects, [
      { kind: 'report', report: { kind: 'member-suspected', worker: 'a', evidence: 'connection-closed' } },
      { kind: 'probe-worker', worker: 'a' },
    ]);
    assert.deepEqual(members.probe('a', NOBODY, 6).effects, [{ kind: 'read-key', worker: 'a' }]);
    assert.deepEqual(members.readKey('a', { entry: makeEntry('a', 3) }, 8).effects, deleteKey('a', 3));
    const gone = members.take(receiveDeletion(members.state, 'a', 'deleted', 10));
    assert.deepEqual(gone.changes, left('a', 'connection-closed'));
  });

  it('DESIGN §6: a second probe that is answered, or times out, clears it', () => {
    for (const answer of [{ kind: 'answered', value: makeLiveness('a') } as const, TIMEOUT]) {
      const members = new Members('a', 'b');
      members.probe('a', NOBODY, 3);
      assert.deepEqual(members.probe('a', answer, 6).effects, []);
      assert.equal(members.state.members.get('a')?.suspicion, null);
      assert.deepEqual(members.probe('a', NOBODY, 9).effects.length, 2, 'the next one is a first one again');
    }
  });

  it('DESIGN §6: `changed` clears it: a worker that came back and renewed wins', () => {
    const members = new Members('a', 'b');
    members.probe('a', NOBODY, 3);
    members.probe('a', NOBODY, 6);
    members.readKey('a', { entry: makeEntry('a', 1) }, 8);
    const changed = members.take(receiveDeletion(members.state, 'a', 'changed', 10));
    assert.deepEqual([changed.effects, changed.changes], [cleared('a', 'connection-closed'), []]);
    assert.deepEqual(members.ids, ['a', 'b']);
  });

  it('DESIGN §6: the server’s own word needs one probe to confirm it', () => {
    const members = new Members('a', 'b');
    const told = members.take(receiveDisconnect(members.state, 'a'));
    assert.deepEqual(told.effects.at(-1), { kind: 'probe-worker', worker: 'a' });
    assert.deepEqual(members.probe('a', NOBODY, 4).effects, [{ kind: 'read-key', worker: 'a' }]);
    assert.deepEqual(receiveDisconnect(members.state, 'a').effects, [], 'already being confirmed');
    assert.deepEqual(receiveDisconnect(members.state, 'stranger').effects, []);
  });

  it('a probe’s reply is as good as a renewal, and a reply `leaving` as good as a deletion', () => {
    const members = new Members('a', 'b');
    members.probe('a', { kind: 'answered', value: makeLiveness('a', { tick: 105 }) }, 700);
    assert.deepEqual([members.state.members.get('a')?.heardAtMs, members.state.members.get('a')?.tick], [700, 105]);
    const step = members.probe('b', { kind: 'answered', value: makeLiveness('b', { state: 'leaving' }) }, 701);
    assert.deepEqual(step.changes, left('b', 'left'));
  });

  it('probes each member every 250 ms, one at a time, and all together at most 500 times a second', () => {
    const members = new Members('a');
    const probes = (nowMs: number) =>
      members
        .take(sweepMembers(members.state, { leaseTtlMs: LEASE_TTL_MS, nowMs }))
        .effects.filter(({ kind }) => kind === 'probe-worker').length;
    assert.equal(probes(0), 1);
    assert.equal(probes(300), 0, 'the first has not been answered');
    members.probe('a', TIMEOUT, 310);
    assert.equal(probes(325), 1);

    const crowd = new Members(...Array.from({ length: 1_000 }, (_, index) => `w${index}`));
    crowd.sweep(0);
    assert.equal(crowd.state.members.get('w0')?.probeAtMs, 2_000);
  });
});
