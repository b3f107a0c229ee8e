import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  type BlockedRows,
  countBlocked,
  endBlockedSecond,
  leavingOut,
  NO_BLOCKED_ROWS,
  noteBlocked,
  ROWS_MOST,
  reasonOf,
  totalOf,
} from '../../services/worker/blocked-rows.ts';
import type { TickResult } from '../../shared/postgres/tick-result.ts';
import { makeTickResult } from '../support/machine-fixtures.ts';

const bad = (count: number, slot = 1) =>
  Array.from({ length: count }, (_, index) => ({ id: `${slot}-${index}`, slot, state: 'P0001', message: 'no' }));
const note = (state: BlockedRows, result: Partial<TickResult>, nowMs = 0, isLast = true, slots = [1, 2]) =>
  noteBlocked(state, makeTickResult(result), { slots, isLast, nowMs });

describe('blocked rows', () => {
  it('are left out until their trial is due, each apart', () => {
    const first = note(NO_BLOCKED_ROWS, { blocked: bad(1) }, 0).state;
    const both = note(first, { blocked: bad(1, 2) }, 600).state;
    assert.deepEqual(leavingOut(both, [1, 2], 999), { leftOut: ['1-0', '2-0'], leftOutSlots: [], onTrial: [] });
    assert.deepEqual(leavingOut(both, [1, 2], 1_000), { leftOut: ['2-0'], leftOutSlots: [], onTrial: ['1-0'] });
    assert.deepEqual(leavingOut(both, [2], 5_000).onTrial, ['2-0'], 'those of other slots are not named');
  });

  it('pause at most a minute', () => {
    let { state } = note(NO_BLOCKED_ROWS, { blocked: bad(1) });
    for (let trial = 1; trial < 12; trial += 1) ({ state } = note(state, { blocked: bad(1) }, trial * 1e6));
    assert.deepEqual(leavingOut(state, [1], 11e6 + 59_999).onTrial, []);
    assert.deepEqual(leavingOut(state, [1], 11e6 + 60_000).onTrial, ['1-0']);
  });

  it('that wait for locks, as in a trigger, are tried each second', () => {
    const { state } = note(NO_BLOCKED_ROWS, { blocked: [{ ...bad(1)[0]!, state: '55P03' }] }, 500);
    assert.deepEqual(leavingOut(state, [1], 500).onTrial, ['1-0']);
  });

  it('go with their slots, without a word', () => {
    const { state } = note(NO_BLOCKED_ROWS, { blocked: [...bad(1), ...bad(1, 2)] });
    const step = endBlockedSecond(state, { slots: [2], isWhole: true });
    assert.deepEqual([[...step.state.rows.keys()], step.change], [['2-0'], { begun: [], ended: [] }]);
  });

  it('that are too many to remember put their slots on pause, which end when a trial finds none', () => {
    const full = note(NO_BLOCKED_ROWS, { blocked: bad(ROWS_MOST) }, 0).state;
    const more = note(full, { stamped: 1, blocked: bad(1, 2), undecided: [2], undecidedRows: [40] }, 0).state;
    assert.deepEqual([more.rows.size, totalOf(countBlocked(more))], [ROWS_MOST, ROWS_MOST + 40]);
    assert.deepEqual(leavingOut(more, [1, 2], 999).leftOutSlots, [2]);
    assert.deepEqual(leavingOut(more, [2], 1_000).leftOutSlots, []);
    const again = note(more, { blocked: bad(1, 2) }, 1_000, true, [2]).state;
    assert.deepEqual(
      [leavingOut(again, [2], 2_999).leftOutSlots, leavingOut(again, [2], 3_000).leftOutSlots],
      [[2], []],
    );
    const well = note(again, { stamped: 1, rows: 40 }, 3_000, true, [2]).state;
    assert.equal(well.slots.size, 0);
  });

  it('that stay locked, or cannot grow, are known for one second', () => {
    const locked = note(NO_BLOCKED_ROWS, { skipped: 2, skippedIds: ['x', 'y'] }).state;
    const begun = endBlockedSecond(locked, { slots: [1], isWhole: true });
    assert.deepEqual(
      begun.change.begun.map(({ id, reason }) => [id, reason]),
      [
        ['x', 'locked'],
        ['y', 'locked'],
      ],
    );
    assert.equal(countBlocked(begun.state).locked, 2);
    const still = note(begun.state, { skipped: 1, skippedIds: ['y'] }).state;
    const ended = endBlockedSecond(still, { slots: [1], isWhole: true });
    assert.deepEqual(ended.change, { begun: [], ended: ['x'] });
  });

  it('reasons follow the SQL state', () => {
    const expected = {
      '23514': 'constraint',
      '44000': 'constraint',
      P0001: 'trigger',
      P0004: 'trigger',
      NSW01: 'withheld',
      '55P03': 'locked',
      '42P01': 'other',
    };
    for (const [state, reason] of Object.entries(expected)) assert.equal(reasonOf(state), reason);
  });
});
