import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { beginTakeover, describeMissed, describeTakeover, isFirstTick } from '../../services/worker/takeover.ts';
import { makeSnapshotOf, makeTickResult, type Shares } from '../support/machine-fixtures.ts';

const ring = (version: number, shares: Shares) => makeSnapshotOf({ epoch: 1, version }, shares);
const AFTER = ring(2, { a: [0, 2, 3, 4], b: [1] });
const APPLIED = { snapshot: AFTER, gained: [2, 3, 4], lost: [], tookMs: 5 };

const begin = () => beginTakeover(APPLIED, { behind: [2, 3, 4], nowMs: 105 });

describe('takeover: what is told', () => {
  it('the claim and the first tick count from the moment that the snapshot came to hand', () => {
    const result = makeTickResult({ rows: 4 });
    assert.deepEqual(describeTakeover(begin(), 'a', { result, nowMs: 112.3456 }, 8), {
      worker: 'a',
      epoch: 1,
      version: 2,
      claimedMs: 5,
      firstTickMs: 12.35,
      slots: 3,
      rows: 4,
      missed: 8,
    });
  });

  it('there is no first tick where no row was behind', () => {
    const empty = { result: makeTickResult({ before: [] }), nowMs: 112 };
    for (const first of [null, empty]) {
      const { claimedMs, firstTickMs, rows, missed } = describeTakeover(begin(), 'a', first, 0);
      assert.deepEqual([claimedMs, firstTickMs, rows, missed], [5, null, 0, 0]);
    }
  });

  it('a tick of other slots is not the first tick', () => {
    assert.equal(isFirstTick(begin(), [2, 3, 4]), true);
    for (const others of [[2, 3], [2, 3, 5], [2, 3, 4, 5], []]) assert.equal(isFirstTick(begin(), others), false);
  });

  it('missed ticks alone are reported with no slots, in the order applied', () => {
    const { slots, rows, missed, epoch, version } = describeMissed(AFTER, 'a', 9);
    assert.deepEqual([slots, rows, missed, epoch, version], [0, 0, 9, 1, 2]);
  });
});
