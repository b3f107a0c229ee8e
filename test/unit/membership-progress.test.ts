import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  receiveDeletion,
  receiveRemoval,
  receiveRevision,
  restartLeases,
} from '../../services/coordinator/membership.ts';
import { standingWorkers } from '../../services/coordinator/membership-progress.ts';
import type { CoordinatorEffect } from '../../services/coordinator/protocol.ts';
import { LEASE_TTL_MS, makeEntry } from '../support/machine-fixtures.ts';
import { Members } from '../support/membership-fixture.ts';

const left = (worker: string, evidence: string) => [{ kind: 'left', worker, evidence }];
const deleteKey = (worker: string, revision: number) => [{ kind: 'delete-key', worker, revision }];
const SUSPECTED: CoordinatorEffect[] = [
  { kind: 'report', report: { kind: 'member-suspected', worker: 'a', evidence: 'not-ticking' } },
  { kind: 'read-key', worker: 'a' },
];

interface Standing {
  /** Until when `b` ticks. @default the end */
  readonly tickingUntilMs?: number;
  readonly idle?: readonly string[];
  /** Until when the fence can be read. @default the end */
  readonly readUntilMs?: number;
}

/** Both renew, and say that they tick; the fence knows no newer tick of `a`. Returns what was begun at the sweeps. */
function stand(members: Members, untilMs: number, standing: Standing = {}): CoordinatorEffect[] {
  const { tickingUntilMs = untilMs, idle = [], readUntilMs = untilMs } = standing;
  const begun: CoordinatorEffect[] = [];
  for (let nowMs = members.nowMs + 250; nowMs <= untilMs; nowMs += 250) {
    const second = 100 + Math.floor(Math.min(nowMs, tickingUntilMs) / 1_000);
    members.hear('a', nowMs, 100 + nowMs);
    members.hear('b', nowMs, second);
    if (nowMs % 1_000 === 0 && nowMs <= readUntilMs) members.readFence(nowMs, { a: 100, b: second }, { idle });
    begun.push(...members.sweep(nowMs));
  }
  return begun;
}

/** Both have ticked once, by the fence. */
function ticking(): Members {
  const members = new Members('a', 'b');
  members.readFence(0, { a: 99, b: 99 });
  members.readFence(0, { a: 100, b: 100 });
  return members;
}

describe('membership: progress by the fence', () => {
  it('DESIGN §6: evicts a worker whose rows get no tick for 5 s while others’ do, whatever its key says', () => {
    const members = ticking();
    assert.deepEqual(stand(members, 5_750), []);
    assert.deepEqual(stand(members, 6_250), SUSPECTED);
    assert.deepEqual(members.readKey('a', { entry: makeEntry('a', 12) }, 6_252).effects, deleteKey('a', 12));
    const gone = members.take(receiveDeletion(members.state, 'a', 'deleted', 6_255));
    assert.deepEqual(gone.changes, left('a', 'not-ticking'));
  });

  it('evicts it also when its key is renewed so often that it cannot be deleted', () => {
    const members = ticking();
    stand(members, 6_250);
    members.readKey('a', { entry: makeEntry('a', 12) }, 6_252);
    const gone = members.take(receiveDeletion(members.state, 'a', 'changed', 6_255));
    assert.deepEqual(gone.changes, left('a', 'not-ticking'));
  });

  it('evicts a worker that has rows in the ring and never claimed any slot', () => {
    const members = new Members('a', 'b');
    const begun: CoordinatorEffect[] = [];
    for (let nowMs = 250; nowMs <= 7_000; nowMs += 250) {
      for (const id of members.ids) members.hear(id, nowMs, nowMs);
      if (nowMs % 1_000 === 0) members.readFence(nowMs, { b: nowMs });
      begun.push(...members.sweep(nowMs));
    }
    assert.deepEqual(begun, SUSPECTED);
  });

  it('DESIGN §6: while nobody ticks it is Postgres that stands still: nobody is evicted', () => {
    const members = ticking();
    assert.deepEqual(stand(members, 30_000, { tickingUntilMs: 1_000 }), []);
    assert.deepEqual(members.ids, ['a', 'b']);
  });

  it('evicts nobody while the fence cannot be read', () => {
    const members = ticking();
    assert.deepEqual(stand(members, 30_000, { readUntilMs: 4_000 }), []);
  });

  it('DESIGN §6: when Postgres is back after an outage the first to tick does not evict the others', () => {
    const members = ticking();
    stand(members, 10_000, { tickingUntilMs: 1_000 });
    members.readFence(10_100, { a: 100, b: 110 });
    assert.deepEqual(members.sweep(10_125), []);
    members.nowMs = 10_250;
    assert.deepEqual(stand(members, 15_000), []);
  });

  it('does not judge a worker without rows; once rows come it has three seconds at least', () => {
    const members = ticking();
    assert.deepEqual(stand(members, 60_000, { idle: ['a'] }), []);
    assert.deepEqual(stand(members, 63_000), []);
    assert.deepEqual(stand(members, 67_000), SUSPECTED);
  });

  it('counts the empty rounds of others: the only worker with rows is evicted for standing still too', () => {
    const members = ticking();
    const begun: CoordinatorEffect[] = [];
    for (let nowMs = 250; nowMs <= 12_000; nowMs += 250) {
      members.hear('a', nowMs, 100);
      members.hear('b', nowMs, 100 + Math.floor(nowMs / 1_000));
      if (nowMs % 1_000 === 0) members.readFence(nowMs, { a: 100, b: 100 }, { asked: ['a', 'b'], idle: ['b'] });
      begun.push(...members.sweep(nowMs));
    }
    assert.deepEqual(begun, SUSPECTED);
  });

  it('any other tick in the fence is movement, also a lower one, and ends the suspicion while the key is being read', () => {
    for (const tick of [101, 40]) {
      const members = ticking();
      assert.deepEqual(stand(members, 6_250), SUSPECTED);
      members.readFence(6_251, { a: tick, b: 107 });
      assert.deepEqual(members.readKey('a', { entry: makeEntry('a', 12) }, 6_252).effects, []);
      assert.deepEqual(standingWorkers(members.state, 7_000), []);
    }
  });

  it('a leader that was cut off judges all workers again from then on', () => {
    const members = ticking();
    stand(members, 4_750);
    members.state = restartLeases(members.state, { leaseTtlMs: LEASE_TTL_MS, nowMs: 4_800 });
    assert.deepEqual(stand(members, 9_750), []);
  });

  it('a removal reported while its own deletion is unanswered keeps the evidence', () => {
    const members = ticking();
    stand(members, 6_250);
    members.readKey('a', { entry: makeEntry('a', 12) }, 6_252);
    receiveRevision(members.state, 'a', 12);
    const gone = members.take(receiveRemoval(members.state, 'a', { revision: 13, nowMs: 6_254 }));
    assert.deepEqual(gone.changes, left('a', 'not-ticking'));
    assert.deepEqual(members.take(receiveDeletion(members.state, 'a', 'deleted', 6_255)).changes, []);
  });
});
