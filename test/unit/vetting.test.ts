import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  advanceVetting,
  forgetEpoch,
  isVettingNewest,
  NO_VETTING,
  receiveIssued,
  type Vetting,
  vetSnapshot,
} from '../../services/worker/vetting.ts';
import { LONGEST_VERSION_LEAP } from '../../shared/ring/issued-order.ts';
import type { Order } from '../../shared/ring/snapshot.ts';
import { makeSnapshotOf } from '../support/machine-fixtures.ts';

const LARGEST = Number.MAX_SAFE_INTEGER;
const APPLIED = { epoch: 5, version: 10 };
const KNOWING: Vetting = { ...NO_VETTING, issued: { epoch: 5, version: 10 } };

const received = (order: Order, sequence: number | null = null) => ({
  snapshot: makeSnapshotOf(order, { a: [0] }),
  sequence,
});
const answer = (state: Vetting, epoch: number, version: number | null = null) =>
  receiveIssued(state, { epoch, version }, { applied: APPLIED, nowMs: 100 });

describe('vetting', () => {
  it('lets the next versions of a known epoch through without a question', () => {
    for (const order of [
      { epoch: 5, version: 11 },
      { epoch: 5, version: 10 + LONGEST_VERSION_LEAP },
      { epoch: 5, version: 9 },
    ]) {
      const step = vetSnapshot(KNOWING, received(order), APPLIED);
      assert.deepEqual([step.accepted?.version, step.effects, step.state], [order.version, [], KNOWING]);
    }
  });

  it('asks Postgres once for an unknown epoch, and applies the snapshot when it was issued', () => {
    const step = vetSnapshot(KNOWING, received({ epoch: 6, version: 11 }), APPLIED);
    assert.deepEqual([step.accepted, step.effects], [null, [{ kind: 'read-issued', withVersion: false }]]);
    const judged = answer(step.state, 6);
    assert.deepEqual([judged.accepted?.epoch, judged.effects], [6, []]);
    const next = vetSnapshot(judged.state, received({ epoch: 6, version: 12 }), { epoch: 6, version: 11 });
    assert.deepEqual([next.accepted?.version, next.effects], [12, []]);
  });

  it('asks for the newest claim only where a version leaps, and accepts what was missed', () => {
    const version = 12 + LONGEST_VERSION_LEAP;
    const step = vetSnapshot(KNOWING, received({ epoch: 5, version }), APPLIED);
    assert.deepEqual(step.effects, [{ kind: 'read-issued', withVersion: true }]);
    assert.equal(answer(step.state, 5, version - 1).accepted?.version, version);
    assert.equal(answer(step.state, 5, 10).accepted, null);
  });

  it('asks for the version too where an unknown epoch turns out to be issued but its version leaps', () => {
    const forged = vetSnapshot(KNOWING, received({ epoch: 6, version: LARGEST }), APPLIED);
    assert.deepEqual(forged.effects, [{ kind: 'read-issued', withVersion: true }]);
    const judged = answer(forged.state, 6, 10);
    assert.deepEqual(
      judged.effects.map((effect) => effect.kind === 'report' && effect.report.kind),
      ['snapshot-rejected'],
    );
  });

  it('does not let a forged snapshot displace a real one that waits for the same answer', () => {
    const forged = vetSnapshot(KNOWING, received({ epoch: LARGEST, version: 1 }), APPLIED);
    const both = vetSnapshot(forged.state, received({ epoch: 6, version: 11 }), APPLIED);
    assert.deepEqual(both.effects, [], 'one question at a time');
    const first = answer(both.state, 5);
    assert.equal(first.accepted, null, 'the answer may be older than the second snapshot');
    assert.deepEqual(first.effects.at(-1), { kind: 'read-issued', withVersion: false });
    assert.equal(answer(first.state, 6).accepted?.epoch, 6);
  });

  it('keeps what Postgres did not judge, and asks again', () => {
    const step = vetSnapshot(KNOWING, received({ epoch: 6, version: 11 }, 44), APPLIED);
    const failed = receiveIssued(step.state, null, { applied: APPLIED, nowMs: 100 });
    assert.deepEqual([failed.accepted, failed.effects, failed.state.retryAtMs], [null, [], 350]);
    assert.equal(isVettingNewest(failed.state), true);
    assert.deepEqual(advanceVetting(failed.state, APPLIED, 349).effects, []);
    const more = vetSnapshot(failed.state, received({ epoch: 6, version: 12 }), APPLIED);
    assert.deepEqual(more.effects, []);
    const again = advanceVetting(more.state, APPLIED, 350);
    assert.deepEqual(again.effects, [{ kind: 'read-issued', withVersion: false }]);
    const judged = answer(again.state, 6);
    assert.deepEqual([judged.accepted?.version, isVettingNewest(judged.state)], [12, false]);
  });

  it('remembers what it rejected: a repeated one is not new', () => {
    const reject = (state: Vetting) =>
      answer(vetSnapshot(state, received({ epoch: 9, version: 11 }, 44), APPLIED).state, 5);
    const first = reject(KNOWING);
    const report = {
      kind: 'snapshot-rejected',
      epoch: 9,
      version: 11,
      sequence: 44,
      reason: 'expected an epoch from 1 to 5, the last that Postgres issued, got 9',
      isRepeated: false,
    };
    assert.deepEqual(first.effects, [{ kind: 'report', report }]);
    assert.deepEqual(reject(first.state).effects, [{ kind: 'report', report: { ...report, isRepeated: true } }]);
  });

  it('bounds what waits, and forgets what it believed when Postgres refuses an epoch', () => {
    let state = receiveIssued(vetSnapshot(KNOWING, received({ epoch: 6, version: 1 }), null).state, null, {
      applied: null,
      nowMs: 0,
    }).state;
    for (let version = 2; version < 100; version += 1) {
      state = vetSnapshot(state, received({ epoch: 6, version }), null).state;
    }
    assert.deepEqual([state.waiting.length, state.waiting.at(-1)?.snapshot.version], [16, 99]);
    assert.equal(forgetEpoch(KNOWING, received({ epoch: 5, version: 11 }), 3).state.issued.epoch, 3);
  });
});
