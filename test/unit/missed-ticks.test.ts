import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  type ClockStep,
  countMissed,
  keepOnly,
  noteLeft,
  noteTaken,
  settle,
  type Uncounted,
} from '../../services/worker/missed-ticks.ts';
import type { SlotBefore } from '../../shared/postgres/tick-result.ts';

const slot = (number: number, lastTick: number, rows = 1): SlotBefore => ({ slot: number, lastTick, rows });
const claim = (number: number, isStanding: boolean) => ({ slot: number, lastTick: 997, isStanding });
const NOTHING: Uncounted = new Map();

/** What the tick 1000 finds that these slots missed. */
function missed(before: readonly SlotBefore[], uncounted = NOTHING, steps: readonly ClockStep[] = [], ownTick = 990) {
  return countMissed(before, { tick: 1_000, uncounted, ownTick, steps }).missed;
}

describe('missed ticks: of slots taken over', () => {
  const taken = noteTaken(NOTHING, [3, 4, 5], [claim(3, true), claim(4, false)]);

  it('each row of a standing slot missed the seconds between its last tick and this one', () => {
    assert.equal(missed([slot(3, 999, 5)], taken), 0);
    assert.equal(missed([slot(3, 997, 3)], taken), 6);
    assert.deepEqual(countMissed([slot(3, 997, 3)], { tick: 1_000, uncounted: taken, ownTick: 0, steps: [] }), {
      missed: 6,
      rows: 3,
      seconds: 2,
    });
  });

  it('a slot that was empty in its former owner’s last round counts nothing: what it missed is not known', () => {
    assert.equal(missed([slot(4, 400, 50)], taken), 0);
  });

  it('slots of which the claim said nothing are compared with each other', () => {
    const unknown = noteTaken(NOTHING, [5, 6, 7], []);
    assert.equal(missed([slot(5, 997), slot(6, 996), slot(7, 400)], unknown), 5);
  });

  it('a slot that was never ticked counts nothing, nor does a gap of more than an hour', () => {
    const unknown = noteTaken(NOTHING, [5], []);
    assert.equal(missed([slot(5, 0)], unknown), 0);
    const later = (lastTick: number) =>
      countMissed([slot(5, lastTick)], { tick: 5_000, uncounted: unknown, ownTick: 4_999, steps: [] }).missed;
    assert.deepEqual([later(1_400), later(1_399)], [3_599, 0]);
  });

  it('a slot is counted once: ticked, or given away, it is forgotten', () => {
    assert.deepEqual([...settle(taken, [3, 4]).keys()], [5]);
    assert.deepEqual([...keepOnly(taken, [4, 9]).keys()], [4]);
    assert.equal(settle(taken, [9]), taken);
  });

  it('what a later claim says of a slot counts, and no answer leaves what is known', () => {
    const later = noteTaken(taken, [3, 4, 5], [claim(5, true)]);
    assert.equal(missed([slot(5, 900)], later), 99);
    assert.deepEqual([missed([slot(3, 900)], later), missed([slot(4, 900)], later)], [99, 0]);
  });
});

describe('missed ticks: of a worker’s own slots', () => {
  it('count from its last whole round on', () => {
    assert.equal(missed([slot(1, 990, 4), slot(2, 995)]), 40);
  });

  it('a slot that the round after the gap left unstamped counts when it is ticked', () => {
    const left = noteLeft(noteTaken(NOTHING, [3], [claim(3, true)]), [1, 3], 990);
    assert.equal(missed([slot(1, 990), slot(3, 980)], left, [], 999), 9 + 19);
    assert.equal(missed([slot(1, 989)], left, [], 999), 0);
    assert.equal(noteLeft(left, [1], 5), left);
  });

  it('a slot further behind was empty then', () => {
    assert.equal(missed([slot(1, 989, 4)]), 0);
  });
});

describe('missed ticks: a database clock set forward', () => {
  const STEP: ClockStep = { tick: 991, ticks: 8 };

  it('skips numbers that are no seconds', () => {
    assert.equal(missed([slot(1, 991)], NOTHING, [STEP]), 0);
    assert.equal(missed([slot(1, 990)], NOTHING, [STEP]), 1);
  });

  it('counts ticks missed in addition to the skipped numbers, and ticks missed after them', () => {
    assert.equal(missed([slot(1, 990, 2)], NOTHING, [{ tick: 993, ticks: 5 }]), 8);
    assert.equal(missed([slot(1, 997)], NOTHING, [STEP]), 2);
  });
});
