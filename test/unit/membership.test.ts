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

  it('DESIGN §6: of those who were silent together, the last to be heard again keep the TTL that all were given', () => {
    const members = new Members('a', 'b', 'c');
    assert.deepEqual(members.sweep(2_100), []);
    members.hear('b', 2_110);
    members.hear('c', 2_120);
    assert.deepEqual(members.sweep(2_130), []);
    for (const id of ['b', 'c']) members.hear(id, 4_000);
    assert.deepEqual(
      members.sweep(4_001).filter(({ kind }) => kind === 'read-key'),
      [{ kind: 'read-key', worker: 'a' }],
    );
  });

  it('DESIGN §6: puts that only the watch tells of speak for a silent worker, once its key is read', () => {
    const members = new Members('a', 'b', 'c');
    receiveRevision(members.state, 'a', 4);
    members.hear('b', 1_300);
    members.hear('c', 1_300);
    assert.deepEqual(members.sweep(1_325), []);
    receiveRevision(members.state, 'a', 7);
    members.suspectSilence('a', 2_026);
    assert.deepEqual(members.readKey('a', { entry: makeEntry('a', 7) }, 2_030).effects, cleared('a', 'lease-expired'));
    members.suspectSilence('a', 4_055);
    assert.deepEqual(members.readKey('a', { entry: makeEntry('a', 7) }, 4_060).effects, deleteKey('a', 7));
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
    for (const id of ['b', 'c']) members.hear(id, 3_000);
    assert.deepEqual(members.sweep(4_002), []);
    members.suspectSilence('a', 4_027);
  });
});

describe('membership: a connection that is gone', () => {
  it('DESIGN §6: while blind, the absence of one heard since counts, and of one whose key alone was read does not', () => {
    const members = new Members('a', 'b');
    members.state = restartLeases(members.state, { leaseTtlMs: LEASE_TTL_MS, nowMs: 100 });
    members.take(receiveEntries(members.state, [makeEntry('a', 8, { tick: 101 })], { startedMs: 101, nowMs: 105 }));
    members.hear('b', 110);
    assert.deepEqual(members.probe('a', NOBODY, 120).effects, []);
    assert.equal(members.probe('b', NOBODY, 120).effects.length, 2);
  });

  it('DESIGN §6: no responders is confirmed by a second probe, then the key is deleted by its revision', () => {
    const members = new Members('a', 'b');
    members.sweep(0);
    assert.deepEqual(members.probe('a', NOBODY, 3).effects, [
      { kind: 'report', report: { kind: 'member-suspected', worker: 'a', evidence: 'connection-closed' } },
      { kind: 'probe-worker', worker: 'a' },
    ]);
    assert.deepEqual(members.probe('a', NOBODY, 6).effects, deleteKey('a', 1));
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

  it('where the revision is not known the key is read first', () => {
    const members = new Members('a', 'b');
    members.hear('new', 1);
    members.probe('new', NOBODY, 3);
    assert.deepEqual(members.probe('new', NOBODY, 6).effects, [{ kind: 'read-key', worker: 'new' }]);
  });

  it('DESIGN §6: `changed`: a worker that came back and renewed wins', () => {
    const members = new Members('a', 'b');
    members.probe('a', NOBODY, 3);
    members.probe('a', NOBODY, 6);
    const changed = members.take(receiveDeletion(members.state, 'a', 'changed', 10));
    assert.deepEqual([changed.effects, changed.changes], [[{ kind: 'read-key', worker: 'a' }], []]);
    // Told of meanwhile or not: it is later than what was to be deleted, so its worker is asked once more.
    receiveRevision(members.state, 'a', 7);
    assert.deepEqual(members.readKey('a', { entry: makeEntry('a', 7) }, 12).effects, [
      { kind: 'probe-worker', worker: 'a' },
    ]);
    members.probe('a', { kind: 'answered', value: makeLiveness('a') }, 14);
    assert.deepEqual([members.ids, members.state.members.get('a')?.suspicion], [['a', 'b'], null]);
  });

  it('`changed` by the end of its lease: it is gone', () => {
    const members = new Members('a', 'b');
    members.probe('a', NOBODY, 3);
    members.probe('a', NOBODY, 6);
    members.take(receiveDeletion(members.state, 'a', 'changed', 10));
    assert.deepEqual(members.readKey('a', { entry: null }, 12).changes, left('a', 'connection-closed'));
  });

  it('a late word of an earlier deletion is not that of the deletion under way', () => {
    const members = new Members('a', 'b');
    receiveRevision(members.state, 'a', 7);
    members.probe('a', NOBODY, 3);
    members.probe('a', NOBODY, 6);
    assert.deepEqual(members.take(receiveRemoval(members.state, 'a', { revision: 5, nowMs: 7 })).changes, []);
    assert.deepEqual(
      members.take(receiveRemoval(members.state, 'a', { revision: 8, nowMs: 8 })).changes,
      left('a', 'connection-closed'),
    );
  });

  it('DESIGN §6: the server’s own word needs one probe to confirm it', () => {
    const members = new Members('a', 'b');
    const told = members.take(receiveDisconnect(members.state, 'a', 3));
    assert.deepEqual(told.effects.at(-1), { kind: 'probe-worker', worker: 'a' });
    assert.deepEqual(receiveDisconnect(members.state, 'a', 3).effects, [], 'doubled: already being confirmed');
    assert.deepEqual(members.probe('a', NOBODY, 4).effects, deleteKey('a', 1));
    assert.deepEqual(receiveDisconnect(members.state, 'a', 5).effects, [], 'doubled: already being confirmed');
    assert.deepEqual(receiveDisconnect(members.state, 'stranger', 5).effects, []);
  });

  it('DESIGN §6: the server’s word of a connection that was replaced meanwhile evicts nobody, however often it comes', () => {
    const members = new Members('a', 'b');
    for (const nowMs of [3, 30, 300]) {
      assert.equal(members.take(receiveDisconnect(members.state, 'a', nowMs)).effects.length, 2);
      assert.deepEqual(members.probe('a', { kind: 'answered', value: makeLiveness('a') }, nowMs + 2).effects, []);
    }
    assert.deepEqual([members.ids, members.state.members.get('a')?.suspicion], [['a', 'b'], null]);
  });

  it('DESIGN §6: after a reconnect, when everybody is missing, the server’s word counts as little as a probe', () => {
    const members = new Members('a', 'b');
    members.state = restartLeases(members.state, { leaseTtlMs: LEASE_TTL_MS, nowMs: 100 });
    assert.deepEqual(receiveDisconnect(members.state, 'a', 2_099).effects, []);
    assert.equal(receiveDisconnect(members.state, 'a', 2_100).effects.length, 2);
  });

  it('DESIGN §6: the server’s word does not wait for the answer to a probe that the dead was asked', () => {
    const members = new Members('a', 'b');
    assert.equal(sweepMembers(members.state, { leaseTtlMs: LEASE_TTL_MS, nowMs: 0 }).effects.length, 2);
    const told = members.take(receiveDisconnect(members.state, 'a', 3));
    assert.deepEqual(told.effects.at(-1), { kind: 'probe-worker', worker: 'a' });
    assert.deepEqual(members.probe('a', NOBODY, 4).effects, deleteKey('a', 1));
    assert.deepEqual(members.probe('a', TIMEOUT, 5).effects, [], 'the first one’s');
  });

  it('DESIGN §6: a key put since nobody answered is not deleted before its worker was asked again', () => {
    const suspected = () => {
      const members = new Members('b');
      members.hear('a', 1);
      members.take(receiveDisconnect(members.state, 'a', 3));
      members.probe('a', NOBODY, 4);
      // The watch tells of the put before the key is read: known, but later than the evidence.
      receiveRevision(members.state, 'a', 7);
      const read = members.readKey('a', { entry: makeEntry('a', 7) }, 6);
      assert.deepEqual(read.effects, [{ kind: 'probe-worker', worker: 'a' }]);
      return members;
    };
    const back = suspected();
    back.probe('a', { kind: 'answered', value: makeLiveness('a') }, 8);
    assert.deepEqual([back.ids, back.state.members.get('a')?.suspicion], [['b', 'a'], null]);

    const dead = suspected();
    assert.deepEqual(dead.probe('a', NOBODY, 8).effects, deleteKey('a', 7));
  });

  it('DESIGN §6: a key that could not be read, or not be deleted, is tried again only after another probe', () => {
    const members = new Members('a', 'b');
    members.take(receiveDisconnect(members.state, 'a', 3));
    members.probe('a', NOBODY, 4);
    members.take(receiveDeletion(members.state, 'a', 'failed', 1_004));
    const { effects } = members.take(sweepMembers(members.state, { leaseTtlMs: LEASE_TTL_MS, nowMs: 1_254 }));
    assert.deepEqual(effects, [
      { kind: 'probe-worker', worker: 'a' },
      { kind: 'probe-worker', worker: 'b' },
    ]);
    assert.deepEqual(members.probe('a', NOBODY, 1_257).effects, deleteKey('a', 1));
  });

  it('a probe’s reply is as good as a renewal, and a reply `leaving` as good as a deletion', () => {
    const members = new Members('a', 'b');
    members.probe('a', { kind: 'answered', value: makeLiveness('a', { tick: 105 }) }, 700);
    assert.deepEqual([members.state.members.get('a')?.heardAtMs, members.state.members.get('a')?.tick], [700, 105]);
    const step = members.probe('b', { kind: 'answered', value: makeLiveness('b', { state: 'leaving' }) }, 701);
    assert.deepEqual(step.changes, left('b', 'left'));
  });
});

describe('membership: the pace of probes', () => {
  /** Lets time pass, all renewing and every probe answered within the sweep it was sent in; returns when each was probed. */
  function probeFor(members: Members, untilMs: number, told = {}): Map<string, number[]> {
    const probed = new Map<string, number[]>(members.ids.map((id) => [id, []]));
    for (let nowMs = 0; nowMs < untilMs; nowMs += 25) {
      if (nowMs % 500 === 0) for (const id of members.ids) members.hear(id, nowMs, nowMs);
      const { effects } = members.take(sweepMembers(members.state, { leaseTtlMs: LEASE_TTL_MS, nowMs, ...told }));
      for (const effect of effects) {
        if (effect.kind !== 'probe-worker') continue;
        probed.get(effect.worker)?.push(nowMs);
        members.probe(effect.worker, { kind: 'answered', value: makeLiveness(effect.worker, { tick: nowMs }) }, nowMs);
      }
    }
    return probed;
  }

  const crowd = (size: number) => new Members(...Array.from({ length: size }, (_, index) => `w${index}`));
  const gaps = (timesMs: readonly number[]) => timesMs.slice(1).map((atMs, index) => atMs - (timesMs[index] ?? 0));

  it('probes one at a time: the next one waits for the answer', () => {
    const members = new Members('a');
    const probes = (nowMs: number) =>
      members
        .take(sweepMembers(members.state, { leaseTtlMs: LEASE_TTL_MS, nowMs }))
        .effects.filter(({ kind }) => kind === 'probe-worker').length;
    assert.equal(probes(0), 1);
    assert.equal(probes(300), 0, 'the first has not been answered');
    members.probe('a', TIMEOUT, 310);
    assert.equal(probes(325), 1);
  });

  it('DESIGN §6: up to a hundred workers are probed every 250 ms each', () => {
    for (const size of [1, 100]) {
      for (const timesMs of probeFor(crowd(size), 5_000).values()) {
        assert.deepEqual([...new Set(gaps(timesMs))], [250], `of ${size}`);
      }
    }
  });

  it('where NATS tells of lost connections for certain, each is probed once a second', () => {
    for (const timesMs of probeFor(crowd(100), 5_000, { areDisconnectsCertain: true }).values()) {
      assert.deepEqual([...new Set(gaps(timesMs))], [1_000]);
    }
  });

  const isProbed = (members: Members, nowMs: number) =>
    members
      .take(sweepMembers(members.state, { leaseTtlMs: LEASE_TTL_MS, areDisconnectsCertain: true, nowMs }))
      .effects.some(({ kind }) => kind === 'probe-worker');

  it('who has not been heard lately is asked four times a second all the same: an answer speaks for it', () => {
    const members = new Members('a');
    const probedMs: number[] = [];
    for (let nowMs = 0; nowMs < LEASE_TTL_MS; nowMs += 25) {
      if (!isProbed(members, nowMs)) continue;
      probedMs.push(nowMs);
      // It answered, with what cannot be read: that renews no lease.
      members.probe('a', { kind: 'answered', value: null }, nowMs);
    }
    assert.deepEqual(probedMs.slice(-3), [1_250, 1_500, 1_750]);
  });

  it('who has not been heard since the term began, or since a gap, is asked at once: its end may have been told before', () => {
    const members = new Members('a');
    assert.ok(isProbed(members, 0));
    members.probe('a', { kind: 'answered', value: makeLiveness('a', { tick: 1 }) }, 10);
    assert.ok(!isProbed(members, 250));
    members.state = restartLeases(members.state, { leaseTtlMs: LEASE_TTL_MS, nowMs: 300 });
    // A key read tells of a former time.
    members.take(receiveEntries(members.state, [makeEntry('a', 9)], { startedMs: 310, nowMs: 320 }));
    assert.ok(isProbed(members, 325));
  });

  it('who did not answer is asked four times a second, too, until it is heard', () => {
    const members = new Members('a');
    members.hear('a', 500, 500);
    assert.ok(isProbed(members, 750));
    members.probe('a', TIMEOUT, 760);
    assert.ok(isProbed(members, 1_000), 'neither silent nor late');
    members.probe('a', TIMEOUT, 1_010);
    members.hear('a', 1_020, 1_020);
    assert.deepEqual(
      [1_250, 1_500, 1_750].map((nowMs) => isProbed(members, nowMs)),
      [false, false, false],
    );
  });

  it('all together make less than 1000 messages in any second, answers included, and each has its turn', () => {
    for (const size of [100, 101, 400, 1_000]) {
      const probed = [...probeFor(crowd(size), 10_000).values()];
      const atMs = probed.flat();
      for (let fromMs = 0; fromMs <= 9_000; fromMs += 25) {
        const messages = 2 * atMs.filter((ms) => ms >= fromMs && ms < fromMs + 1_000).length;
        assert.ok(messages < 1_000, `${messages} messages for ${size} workers in the second from ${fromMs} ms`);
      }
      const longestMs = Math.max(...probed.flatMap(gaps));
      assert.ok(
        longestMs <= Math.max(250, (size / 480) * 1000 + 50),
        `${size} workers: ${longestMs} ms between probes`,
      );
    }
  });
});
