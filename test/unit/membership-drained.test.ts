import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { plannableWorkers } from '../../services/coordinator/member.ts';
import {
  receiveEntries,
  receiveHeartbeat,
  receiveRemoval,
  startMembership,
} from '../../services/coordinator/membership.ts';
import { makeEntry, makeLiveness } from '../support/machine-fixtures.ts';
import { Members } from '../support/membership-fixture.ts';

const joined = (worker: string) => [{ kind: 'joined', worker }];
const drained = (worker: string) => [{ kind: 'left', worker, evidence: 'drained' }];

function hear(members: Members, id: string, state: 'active' | 'drained', nowMs: number) {
  return members.take(receiveHeartbeat(members.state, makeLiveness(id, { state }), nowMs)).changes;
}

describe('membership: drained workers', () => {
  it('a worker that says it is drained leaves the ring and stays a member; undrained, it joins', () => {
    const members = new Members('a', 'b');
    assert.deepEqual(hear(members, 'b', 'drained', 10), drained('b'));
    assert.deepEqual(hear(members, 'b', 'drained', 510), [], 'said again');
    assert.deepEqual([members.ids, plannableWorkers(members.state)], [['a', 'b'], ['a']]);
    assert.deepEqual(hear(members, 'b', 'active', 600), joined('b'));
    assert.deepEqual(plannableWorkers(members.state), ['a', 'b']);
  });

  it('its lease is watched on: silent beyond the TTL, it is suspected as any other', () => {
    const members = new Members('a', 'b', 'c');
    hear(members, 'c', 'drained', 0);
    members.suspectSilence('c', 2_001);
    const gone = members.readKey('c', { entry: null }, 2_003);
    assert.deepEqual(gone.changes, [{ kind: 'left', worker: 'c', evidence: 'lease-expired' }]);
  });

  it('a probe’s reply tells of it too, as where the renewal was lost', () => {
    const members = new Members('a', 'b');
    const answer = { kind: 'answered', value: makeLiveness('b', { state: 'drained' }) } as const;
    assert.deepEqual(members.probe('b', answer, 10).changes, drained('b'));
  });

  it('DESIGN §3: where all are drained, all are planned with all the same, until one is not', () => {
    const members = new Members('a', 'b', 'c');
    for (const id of ['a', 'b', 'c']) assert.deepEqual(hear(members, id, 'drained', 10), drained(id));
    assert.deepEqual(plannableWorkers(members.state), ['a', 'b', 'c']);
    assert.deepEqual(hear(members, 'b', 'active', 20), joined('b'));
    assert.deepEqual(plannableWorkers(members.state), ['b']);
    members.take(receiveRemoval(members.state, 'b', { revision: null, nowMs: 30 }));
    assert.deepEqual(plannableWorkers(members.state), ['a', 'c']);
  });

  it('a new leader finds who is drained in the bucket: known by the ring or not, it is no cause for one', () => {
    const entries = [
      makeEntry('a', 1),
      makeEntry('b', 2, { state: 'drained' }),
      makeEntry('c', 3, { state: 'drained' }),
    ];
    const step = startMembership(entries, ['a', 'b'], 50);
    assert.deepEqual(step.changes, drained('b'));
    assert.deepEqual([[...step.state.members.keys()], plannableWorkers(step.state)], [['a', 'b', 'c'], ['a']]);
  });

  it('DESIGN §3: a drained worker that lives alone is planned with from the start', () => {
    const step = startMembership([makeEntry('a', 1, { state: 'drained' })], [], 50);
    assert.deepEqual([step.changes, plannableWorkers(step.state)], [joined('a'), ['a']]);
  });

  it('a read of the bucket that began before a worker was drained, or undrained, does not undo it', () => {
    const members = new Members('a', 'b');
    const read = (state: 'active' | 'drained', revision: number, startedMs: number) =>
      members.take(
        receiveEntries(members.state, [makeEntry('b', revision, { state })], { startedMs, nowMs: startedMs + 50 }),
      ).changes;
    hear(members, 'b', 'drained', 100);
    assert.deepEqual(read('active', 5, 90), []);
    assert.deepEqual(read('active', 6, 101), joined('b'), 'a later one tells what was missed');
    assert.deepEqual(read('drained', 7, 140), [], 'begun before that was told');
    assert.deepEqual(read('drained', 8, 160), drained('b'));
  });
});
