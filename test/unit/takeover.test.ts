import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { beginTakeover, countMissed, describeTakeover, isFirstTick } from '../../services/worker/takeover.ts';
import type { SlotBefore } from '../../shared/postgres/fence.ts';
import { makeSnapshotOf, makeTickResult, type Shares } from '../support/machine-fixtures.ts';

const ring = (version: number, shares: Shares) => makeSnapshotOf({ epoch: 1, version }, shares);
const BEFORE = ring(1, { a: [0], b: [1, 2], c: [3, 4] });
/** `c` is gone; `b` lives, and gives slot 2 away. */
const AFTER = ring(2, { a: [0, 2, 3, 4], b: [1] });
const APPLIED = { snapshot: AFTER, gained: [2, 3, 4], lost: [], tookMs: 5 };

const begin = (before: typeof BEFORE | null = BEFORE) =>
  beginTakeover(APPLIED, before, { behind: [2, 3, 4], nowMs: 105 });
const slot = (number: number, lastTick: number, rows = 1): SlotBefore => ({ slot: number, lastTick, rows });

describe('takeover: what is told', () => {
  it('the claim and the first tick count from the moment that the snapshot came to hand', () => {
    const result = makeTickResult({ rows: 4, before: [slot(3, 997, 2), slot(4, 997, 2)] });
    assert.deepEqual(describeTakeover(begin(), 'a', { tick: 1_000, result, nowMs: 112.3456 }), {
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
    const empty = { tick: 1_000, result: makeTickResult({ before: [] }), nowMs: 112 };
    for (const first of [null, empty]) {
      const { claimedMs, firstTickMs, rows, missed } = describeTakeover(begin(), 'a', first);
      assert.deepEqual([claimedMs, firstTickMs, rows, missed], [5, null, 0, 0]);
    }
  });

  it('a tick of other slots is not the first tick', () => {
    assert.equal(isFirstTick(begin(), [2, 3, 4]), true);
    for (const others of [[2, 3], [2, 3, 5], [2, 3, 4, 5], []]) assert.equal(isFirstTick(begin(), others), false);
  });
});

describe('takeover: missed ticks, where they are certain', () => {
  const { orphans } = begin();
  const missed = (...before: SlotBefore[]) => countMissed(before, 1_000, orphans);

  it('orphans are the gained slots whose former owner is gone from the ring', () => {
    assert.deepEqual(
      [...orphans],
      [
        [3, 'c'],
        [4, 'c'],
      ],
    );
    assert.equal(begin(null).orphans.size, 0);
  });

  it('each row of an orphan missed the seconds between its last tick and the first', () => {
    assert.equal(missed(slot(3, 999), slot(4, 999)), 0);
    assert.equal(missed(slot(3, 997, 3), slot(4, 997)), 8);
  });

  it('a slot one tick behind its owner’s others was not reached by the last round', () => {
    assert.equal(missed(slot(3, 997), slot(4, 996)), 5);
  });

  it('a slot further behind was empty: what it missed is not known', () => {
    assert.equal(missed(slot(3, 998), slot(4, 400, 50)), 1);
  });

  it('a slot that was never ticked, or an hour ago, missed nothing that is certain', () => {
    assert.equal(missed(slot(3, 0), slot(4, 0)), 0);
    assert.equal(missed(slot(3, -2_600)), 0);
    assert.equal(missed(slot(3, 940)), 59);
    assert.equal(missed(slot(3, 939)), 0);
  });

  it('what a living worker gave away is its own to count', () => {
    assert.equal(missed(slot(2, 990, 5)), 0);
  });
});
