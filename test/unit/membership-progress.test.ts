import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  receiveDeletion,
  receiveEntries,
  receiveRemoval,
  receiveRevision,
} from '../../services/coordinator/membership.ts';
import type { CoordinatorEffect } from '../../services/coordinator/protocol.ts';
import { makeEntry } from '../support/machine-fixtures.ts';
import { Members } from '../support/membership-fixture.ts';

const left = (worker: string, evidence: string) => [{ kind: 'left', worker, evidence }];
const deleteKey = (worker: string, revision: number) => [{ kind: 'delete-key', worker, revision }];
describe('membership: no progress', () => {
  /** `a` renews but stands still; `b` ticks until `tickingUntilMs`. Returns what was begun at each sweep that began something. */
  function stand(members: Members, untilMs: number, tickingUntilMs = untilMs): CoordinatorEffect[] {
    const begun: CoordinatorEffect[] = [];
    for (let nowMs = members.nowMs + 250; nowMs <= untilMs; nowMs += 250) {
      members.hear('a', nowMs, 100);
      members.hear('b', nowMs, 100 + Math.floor(Math.min(nowMs, tickingUntilMs) / 1_000));
      begun.push(...members.sweep(nowMs));
    }
    return begun;
  }

  const SUSPECTED: CoordinatorEffect[] = [
    { kind: 'report', report: { kind: 'member-suspected', worker: 'a', evidence: 'not-ticking' } },
    { kind: 'read-key', worker: 'a' },
  ];

  it('DESIGN §6: a worker that renews while its tick stands still for 5 s, others ticking, is put out by its revision', () => {
    const members = new Members('a', 'b');
    members.hear('a', 0, 100);
    assert.deepEqual(stand(members, 5_000), []);
    assert.deepEqual(stand(members, 5_250), SUSPECTED);
    assert.deepEqual(members.readKey('a', { entry: makeEntry('a', 12) }, 5_252).effects, deleteKey('a', 12));
    const gone = members.take(receiveDeletion(members.state, 'a', 'deleted', 5_255));
    assert.deepEqual(gone.changes, left('a', 'not-ticking'));
  });

  it('DESIGN §6: while nobody ticks it is Postgres that stands still: nobody is put out', () => {
    const members = new Members('a', 'b');
    assert.deepEqual(stand(members, 30_000, 1_000), []);
    assert.deepEqual(members.ids, ['a', 'b']);
  });

  it('a renewal does not clear it, and one that came between reading and deleting makes it try again', () => {
    const members = new Members('a', 'b');
    members.hear('a', 0, 100);
    assert.deepEqual(stand(members, 5_250), SUSPECTED);
    members.hear('a', 5_251, 100);
    members.readKey('a', { entry: makeEntry('a', 12) }, 5_252);
    const changed = members.take(receiveDeletion(members.state, 'a', 'changed', 5_255));
    assert.deepEqual([changed.effects, changed.changes], [[], []]);
    assert.deepEqual(members.sweep(5_505), [{ kind: 'read-key', worker: 'a' }]);
  });

  it('DESIGN §6: stays benched until its tick moves, in either direction', () => {
    for (const moved of [101, 90]) {
      const members = new Members('a', 'b');
      members.hear('a', 0, 100);
      stand(members, 5_250);
      members.readKey('a', { entry: null }, 5_252);
      assert.deepEqual(members.ids, ['b']);
      assert.deepEqual(members.hear('a', 5_500, 100).changes, []);
      const entry = [makeEntry('a', 20, { tick: 100 })];
      assert.deepEqual(receiveEntries(members.state, entry, { startedMs: 5_600, nowMs: 5_601 }).changes, []);
      assert.deepEqual(members.hear('a', 6_000, moved).changes, [{ kind: 'joined', worker: 'a' }]);
      assert.equal(members.state.benched.size, 0);
    }
  });

  it('DESIGN §6: when Postgres is back after an outage the first to tick does not put out the others', () => {
    const members = new Members('a', 'b');
    stand(members, 10_000, 1_000);
    members.hear('b', 10_100, 110);
    assert.deepEqual(members.sweep(10_125), []);
  });

  it('a tick that moves while the key is being read or deleted ends the suspicion', () => {
    const members = new Members('a', 'b');
    members.hear('a', 0, 100);
    assert.deepEqual(stand(members, 5_250), SUSPECTED);
    members.hear('a', 5_251, 106);
    assert.deepEqual(members.readKey('a', { entry: makeEntry('a', 12) }, 5_252).effects, []);
  });

  it('a removal told of while its own deletion is unanswered keeps the evidence, and the bench', () => {
    const members = new Members('a', 'b');
    members.hear('a', 0, 100);
    stand(members, 5_250);
    members.readKey('a', { entry: makeEntry('a', 12) }, 5_252);
    receiveRevision(members.state, 'a', 12);
    members.take(receiveRemoval(members.state, 'a', { revision: 13, nowMs: 5_254 }));
    members.take(receiveDeletion(members.state, 'a', 'deleted', 5_255));
    assert.deepEqual(members.hear('a', 5_500, 100).changes, []);
  });
});
