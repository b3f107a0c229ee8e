import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  advanceDeparture,
  type DepartureContext,
  departureWakeAtMs,
  finishOwnedRead,
  startDeparture,
} from '../../services/worker/departure.ts';
import { NO_SLICE, type SliceState } from '../../services/worker/slice.ts';
import { makeSnapshotOf, type Shares } from '../support/machine-fixtures.ts';

const GRACE_MS = 10_000;

function holding(shares: Shares, lingering: readonly number[] = []): SliceState {
  const applied = makeSnapshotOf({ epoch: 1, version: 1 }, shares);
  return { ...NO_SLICE, applied, slots: shares.a ?? [], lingering };
}

function context(nowMs: number, more: Partial<DepartureContext> = {}): DepartureContext {
  return { slice: holding({ a: [0], b: [1] }), worker: 'a', isWithdrawn: true, graceMs: GRACE_MS, nowMs, ...more };
}

const GIVEN_AWAY = holding({ b: [0, 1] }, [0]);

describe('departure', () => {
  it('is nothing to a worker that stays', () => {
    assert.deepEqual(advanceDeparture(null, context(0)), { departure: null, effects: [], isOver: false });
    assert.equal(departureWakeAtMs(null, GRACE_MS), null);
    assert.equal(finishOwnedRead(null, [], 0), null);
  });

  it('DESIGN §7: goes on while a snapshot names it, and wakes for the end of the grace alone', () => {
    const step = advanceDeparture(startDeparture(100), context(5_000));
    assert.deepEqual(step, { departure: startDeparture(100), effects: [], isOver: false });
    assert.equal(departureWakeAtMs(step.departure, GRACE_MS), 10_100);
  });

  it('does not ask the fence before its key is withdrawn', () => {
    const step = advanceDeparture(startDeparture(0), context(10, { slice: GIVEN_AWAY, isWithdrawn: false }));
    assert.deepEqual([step.effects, step.isOver], [[], false]);
  });

  it('DESIGN §7: asks the fence every 20 ms until no slot is its own, then stops', () => {
    const asked = advanceDeparture(startDeparture(0), context(10, { slice: GIVEN_AWAY }));
    assert.deepEqual(asked.effects, [{ kind: 'read-owned' }]);
    assert.deepEqual(advanceDeparture(asked.departure, context(15, { slice: GIVEN_AWAY })).effects, []);

    const stillMine = finishOwnedRead(asked.departure, [0], 16);
    assert.equal(departureWakeAtMs(stillMine, GRACE_MS), 36);
    assert.deepEqual(advanceDeparture(stillMine, context(35, { slice: GIVEN_AWAY })).effects, []);
    const again = advanceDeparture(stillMine, context(36, { slice: GIVEN_AWAY }));
    assert.deepEqual(again.effects, [{ kind: 'read-owned' }]);

    const free = finishOwnedRead(again.departure, [], 40);
    assert.deepEqual(advanceDeparture(free, context(40, { slice: GIVEN_AWAY })), {
      departure: free,
      effects: [{ kind: 'stop', code: 0, reason: 'left; every slot has its new owner' }],
      isOver: true,
    });
  });

  it('asks again where the fence could not be read', () => {
    const asked = advanceDeparture(startDeparture(0), context(10, { slice: GIVEN_AWAY })).departure;
    const failed = finishOwnedRead(asked, null, 16);
    assert.deepEqual(advanceDeparture(failed, context(36, { slice: GIVEN_AWAY })).effects, [{ kind: 'read-owned' }]);
  });

  it('forgets what the fence said where a snapshot gave it slots again', () => {
    const asked = advanceDeparture(startDeparture(0), context(10, { slice: GIVEN_AWAY })).departure;
    const free = finishOwnedRead(asked, [], 16);
    const step = advanceDeparture(free, context(16));
    assert.deepEqual([step.isOver, step.departure?.owned], [false, null]);
    assert.equal(departureWakeAtMs(step.departure, GRACE_MS), 10_000);
  });

  it('DESIGN §7: the last worker leaves at once', () => {
    for (const slice of [holding({ a: [0, 1] }), holding({}), NO_SLICE]) {
      const step = advanceDeparture(startDeparture(0), context(10, { slice }));
      assert.deepEqual(step.effects, [{ kind: 'stop', code: 0, reason: 'left as the last worker' }]);
      assert.equal(step.isOver, true);
    }
  });

  it('is not the last one where a snapshot that waits names another', () => {
    const waiting = makeSnapshotOf({ epoch: 1, version: 2 }, { b: [0, 1] });
    const step = advanceDeparture(startDeparture(0), context(10, { slice: { ...holding({ a: [0, 1] }), waiting } }));
    assert.deepEqual([step.effects, step.isOver], [[], false]);
  });

  it('DESIGN §7: the grace ends at 10 s, whatever is still its own, and says so', () => {
    const slice = holding({ a: [0, 3], b: [1] }, [5]);
    const early = advanceDeparture(startDeparture(0), context(9_999, { slice, isWithdrawn: false }));
    assert.equal(early.isOver, false);
    const step = advanceDeparture(startDeparture(0), context(10_000, { slice, isWithdrawn: false }));
    assert.deepEqual(step.effects, [
      { kind: 'report', report: { kind: 'grace-over', slots: 3 } },
      { kind: 'stop', code: 0, reason: 'the grace of the planned leave is over' },
    ]);
    assert.equal(step.isOver, true);
  });
});
