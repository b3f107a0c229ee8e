import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { CountDoubt, TableChange } from '../../services/coordinator/protocol.ts';
import {
  advanceTable,
  distrustTable,
  notifyTable,
  receiveChange,
  receiveCount,
  startTable,
  type TableState,
  tableWakeAtMs,
} from '../../services/coordinator/table-size.ts';
import { makeTable } from '../support/machine-fixtures.ts';

const SIZE = makeTable([2, 0, 1], 'seen-1');

function change(deltas: TableChange['deltas'], more: Partial<TableChange> = {}): TableChange {
  const added = deltas.reduce((sum, { delta }) => sum + Math.max(0, delta), 0);
  const removed = deltas.reduce((sum, { delta }) => sum + Math.max(0, -delta), 0);
  return { deltas, added, removed, at: 'seen-2', recount: false, ...more };
}

function doubt(reason: CountDoubt) {
  return { kind: 'report', report: { kind: 'count-doubted', reason } };
}

/** A table whose read is under way. */
function reading(nowMs = 10): TableState {
  return advanceTable(notifyTable(startTable(SIZE, 0), nowMs), nowMs).state;
}

describe('table size', () => {
  it('reads the changes since the count when it is notified, and every 5 s in any case', () => {
    const state = startTable(SIZE, 0);
    assert.equal(tableWakeAtMs(state), 5_000);
    assert.deepEqual(advanceTable(state, 4_999).effects, []);
    assert.deepEqual(advanceTable(state, 5_000).effects, [{ kind: 'read-changes', since: 'seen-1' }]);
    assert.deepEqual(advanceTable(notifyTable(state, 10), 10).effects, [{ kind: 'read-changes', since: 'seen-1' }]);
  });

  it('adds what the triggers report to the weights, tells of it, and reads on from there', () => {
    const deltas = [
      { slot: 1, delta: 3 },
      { slot: 0, delta: -1 },
      { slot: 1, delta: 1 },
    ];
    const step = receiveChange(reading(), change(deltas), 12);
    assert.deepEqual(step.state.size, makeTable([1, 4, 1], 'seen-2'));
    assert.equal(step.isChanged, true);
    assert.deepEqual(step.effects, [
      { kind: 'publish-size', rows: 6, added: 4, removed: 1 },
      { kind: 'report', report: { kind: 'table-resized', rows: 6, added: 4, removed: 1 } },
    ]);
    assert.deepEqual(SIZE.weights, Float64Array.from([2, 0, 1]), 'the count before is not written over');
    assert.equal(tableWakeAtMs(step.state), 5_012);
  });

  it('says nothing where nothing changed, and remembers how far it has read', () => {
    const step = receiveChange(reading(), change([]), 12);
    assert.deepEqual([step.effects, step.isChanged, step.state.size.at], [[], false, 'seen-2']);
  });

  it('keeps one read under way; a notification during it asks for another, 10 ms after it', () => {
    const notified = notifyTable(reading(), 11);
    assert.deepEqual(advanceTable(notified, 9_000).effects, []);
    assert.equal(tableWakeAtMs(notified), null);
    const read = receiveChange(notified, change([]), 12).state;
    assert.equal(tableWakeAtMs(read), 22);
    assert.deepEqual(advanceTable(read, 22).effects, [{ kind: 'read-changes', since: 'seen-2' }]);
  });

  it('tries a read that failed again after 500 ms, from the same place', () => {
    const failed = receiveChange(reading(), null, 12);
    assert.deepEqual([failed.effects, failed.isChanged, tableWakeAtMs(failed.state)], [[], false, 512]);
    assert.deepEqual(advanceTable(failed.state, 512).effects, [{ kind: 'read-changes', since: 'seen-1' }]);
  });

  it('counts anew after the listening connection was lost, until a count succeeds', () => {
    const lost = advanceTable(distrustTable(startTable(SIZE, 0), 10), 10);
    assert.deepEqual(lost.effects, [{ kind: 'count-table' }]);
    const failed = receiveCount(lost.state, null, 20).state;
    assert.deepEqual(advanceTable(failed, 520).effects, [{ kind: 'count-table' }]);
    const counted = receiveCount(advanceTable(failed, 520).state, makeTable([2, 2, 1], 'seen-9'), 530);
    assert.deepEqual(counted.effects[0], { kind: 'publish-size', rows: 5, added: 2, removed: 0 });
    assert.equal(counted.isChanged, true);
    assert.deepEqual(advanceTable(counted.state, 5_530).effects, [{ kind: 'read-changes', since: 'seen-9' }]);
  });

  it('counts again after a TRUNCATE, of which deltas cannot tell', () => {
    const step = receiveChange(reading(), change([{ slot: 0, delta: 9 }], { recount: true }), 12);
    assert.deepEqual([step.effects, step.isChanged, step.state.size], [[doubt('truncated')], false, SIZE]);
    assert.deepEqual(advanceTable(step.state, 12).effects, [{ kind: 'count-table' }]);
  });

  it('counts again when a count would come out impossible', () => {
    for (const impossible of [
      { slot: 1, delta: -1 },
      { slot: 8, delta: 1 },
      { slot: 0, delta: Number.NaN },
    ]) {
      const step = receiveChange(reading(), change([impossible]), 12);
      assert.deepEqual([step.effects, step.isChanged, step.state.size], [[doubt('contradicted')], false, SIZE]);
      assert.deepEqual(advanceTable(step.state, 12).effects, [{ kind: 'count-table' }]);
    }
  });

  it('estimates while the recount of a contradicted count must wait, and says so once', () => {
    const contradicted = receiveChange(reading(), change([{ slot: 1, delta: -1 }]), 12).state;
    const counting = advanceTable(contradicted, 12).state;
    const counted = receiveCount(counting, makeTable([2, 0, 1], 'seen-9'), 13).state;
    const again = advanceTable(notifyTable(counted, 14), 14);
    assert.deepEqual(again.effects, [{ kind: 'read-changes', since: 'seen-9' }]);
    const deltas = [
      { slot: 1, delta: -1 },
      { slot: 2, delta: 4 },
    ];
    const estimated = receiveChange(again.state, change(deltas), 15);
    assert.deepEqual(estimated.state.size, makeTable([2, 0, 5], 'seen-2'));
    assert.deepEqual(estimated.effects[0], doubt('contradicted'));
    assert.deepEqual(estimated.effects[1], { kind: 'publish-size', rows: 7, added: 4, removed: 0 });
    assert.equal(estimated.isChanged, true);
    const waiting = receiveChange(advanceTable(notifyTable(estimated.state, 16), 16).state, change(deltas), 17);
    assert.ok(!waiting.effects.some((effect) => effect.kind === 'report' && effect.report.kind === 'count-doubted'));
    assert.equal(tableWakeAtMs(waiting.state), 113);
    assert.deepEqual(advanceTable(waiting.state, 113).effects, [{ kind: 'count-table' }]);
  });

  it('starts from a possible count, whatever was counted', () => {
    assert.deepEqual(startTable(makeTable([2 ** 33, 0, 1]), 0).size, makeTable([2 ** 32, 0, 1]));
  });

  it('a loss of the listening connection during a read of changes makes the next one a count', () => {
    const read = receiveChange(distrustTable(reading(), 11), change([]), 12).state;
    assert.deepEqual(advanceTable(read, 22).effects, [{ kind: 'count-table' }]);
  });

  it('a loss of the listening connection during a count makes it count again', () => {
    const counting = advanceTable(distrustTable(startTable(SIZE, 0), 10), 10).state;
    const counted = receiveCount(distrustTable(counting, 11), makeTable([2, 0, 1], 'seen-9'), 12).state;
    assert.deepEqual(advanceTable(counted, 112).effects, [{ kind: 'count-table' }]);
  });

  it('rows that moved between slots are a change, also where their number is the same', () => {
    const counting = advanceTable(distrustTable(startTable(SIZE, 0), 10), 10).state;
    assert.equal(receiveCount(counting, makeTable([0, 0, 3], 'seen-9'), 12).isChanged, true);
  });

  it('an answer that no read waits for is of a former term, and must not be added to a newer count', () => {
    const step = receiveChange(startTable(SIZE, 0), change([{ slot: 0, delta: 1 }]), 12);
    assert.deepEqual(step.state.size, SIZE);
  });
});
