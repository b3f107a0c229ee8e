import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { CountDoubt, TableChange, TableSize } from '../../services/coordinator/protocol.ts';
import {
  advanceTable,
  receiveChange,
  receiveCount,
  receivePrune,
  startTable,
  type TableState,
  type TableStep,
  tableWakeAtMs,
} from '../../services/coordinator/table-size.ts';
import { makeTable } from '../support/machine-fixtures.ts';

const SIZE = makeTable([2, 0, 1], 'seen-1');
const EPOCH = 7;

function change(deltas: TableChange['deltas'], more: Partial<TableChange> = {}): TableChange {
  const added = deltas.reduce((sum, { delta }) => sum + Math.max(0, delta), 0);
  const removed = deltas.reduce((sum, { delta }) => sum + Math.max(0, -delta), 0);
  return { deltas, added, removed, at: 'seen-2', recount: false, connection: 'first', readMs: 2, ...more };
}

const start = (nowMs = 0) => startTable(SIZE, EPOCH, nowMs);

/** A table whose poll is under way since `nowMs`. */
function polling(state = start(), nowMs = 20): TableState {
  const step = advanceTable(state, nowMs);
  assert.deepEqual(step.effects, [{ kind: 'read-changes', since: state.size.at }]);
  return step.state;
}

function counting(state: TableState, nowMs: number): TableState {
  const step = advanceTable(state, nowMs);
  assert.deepEqual(step.effects, [{ kind: 'count-table' }]);
  return step.state;
}

/** A poll that finds nothing: sent at `sentMs`, answered at `nowMs`; all that time was spent on reading, unless `readMs` says else. */
function pollInVain(state: TableState, sentMs: number, nowMs: number, readMs = nowMs - sentMs): TableState {
  return receiveChange(polling(state, sentMs), state.size.at, change([], { at: state.size.at, readMs }), nowMs).state;
}

function doubt(reason: CountDoubt) {
  return { kind: 'report', report: { kind: 'count-doubted', reason } };
}

const answer = (state: TableState, found: TableChange | null, nowMs: number): TableStep =>
  receiveChange(state, state.size.at, found, nowMs);

describe('polling for changes', () => {
  it('begins a poll every 20 ms', () => {
    const state = start();
    assert.equal(tableWakeAtMs(state), 20);
    assert.deepEqual(advanceTable(state, 19).effects, []);
    assert.equal(tableWakeAtMs(pollInVain(state, 20, 22)), 40);
  });

  it('never overlaps a poll with another', () => {
    const state = polling();
    assert.deepEqual(advanceTable(state, 9_000).effects, []);
    assert.equal(tableWakeAtMs(state), null);
  });

  it('polls a slow Postgres a quarter of the time at most, and every few seconds at least', () => {
    assert.equal(tableWakeAtMs(pollInVain(start(), 20, 40)), 100);
    // Nothing but the prune at 1 s comes before the next poll.
    assert.equal(pollInVain(start(), 20, 2_020).pollAtMs, 7_020);
  });

  it('takes no pause for the time that a poll waited', () => {
    assert.equal(pollInVain(start(), 20, 520, 1).pollAtMs, 523);
  });

  it('backs off while polls fail, and takes up its pace when one succeeds', () => {
    let state = start();
    const pauses: number[] = [];
    for (let failure = 0; failure < 7; failure += 1) {
      const sentMs = state.pollAtMs;
      state = answer(polling(state, sentMs), null, sentMs + 1).state;
      pauses.push(state.pollAtMs - sentMs - 1);
    }
    assert.deepEqual(pauses, [250, 500, 1_000, 2_000, 4_000, 4_000, 4_000]);
    const sentMs = state.pollAtMs;
    state = pollInVain(state, sentMs, sentMs + 1);
    assert.equal(state.pollAtMs, sentMs + 20);
    assert.equal(answer(polling(state, state.pollAtMs), null, state.pollAtMs).state.pollAtMs, state.pollAtMs + 250);
  });

  it('adds what the triggers report to the weights, tells of it, and reads on from there', () => {
    const deltas = [
      { slot: 1, delta: 3 },
      { slot: 0, delta: -1 },
      { slot: 1, delta: 1 },
    ];
    const step = answer(polling(), change(deltas), 22);
    assert.deepEqual(step.state.size, makeTable([1, 4, 1], 'seen-2'));
    assert.equal(step.isChanged, true);
    assert.deepEqual(step.effects, [
      { kind: 'publish-size', rows: 6, added: 4, removed: 1 },
      { kind: 'report', report: { kind: 'table-resized', rows: 6, added: 4, removed: 1 } },
    ]);
    assert.deepEqual(SIZE.weights, Float64Array.from([2, 0, 1]), 'the count before is not written over');
    assert.deepEqual(advanceTable(step.state, 40).effects, [{ kind: 'read-changes', since: 'seen-2' }]);
  });

  it('dates a change by when the poll found it, not by when it began to wait', () => {
    assert.equal(answer(polling(), change([{ slot: 1, delta: 3 }], { readMs: 2 }), 429).evidenceMs, 427);
  });

  it('says nothing where nothing changed, and remembers how far it has read', () => {
    const step = answer(polling(), change([]), 22);
    assert.deepEqual([step.effects, step.isChanged, step.state.size.at], [[], false, 'seen-2']);
  });

  it('an answer that no poll waits for is of a former term, and must not be added to a newer count', () => {
    const late = change([{ slot: 0, delta: 1 }]);
    assert.deepEqual(receiveChange(start(), 'seen-1', late, 12).state.size, SIZE);
    assert.deepEqual(receiveChange(polling(), 'seen-0', late, 22).state.size, SIZE);
  });
});

describe('counting again', () => {
  it('follows a TRUNCATE, of which deltas cannot tell', () => {
    const step = answer(polling(), change([{ slot: 0, delta: 9 }], { recount: true }), 22);
    assert.deepEqual([step.effects, step.isChanged, step.state.size], [[doubt('truncated')], false, SIZE]);
    counting(step.state, 22);
  });

  it('follows a count that would come out impossible', () => {
    for (const impossible of [
      { slot: 1, delta: -1 },
      { slot: 8, delta: 1 },
      { slot: 0, delta: Number.NaN },
    ]) {
      const step = answer(polling(), change([impossible]), 22);
      assert.deepEqual([step.effects, step.isChanged, step.state.size], [[doubt('contradicted')], false, SIZE]);
      counting(step.state, 22);
    }
  });

  it('follows another connection, over which nothing can be added up or pruned before', () => {
    const step = answer(polling(), change([{ slot: 0, delta: 1 }], { connection: 'second' }), 22);
    assert.deepEqual([step.effects, step.state.size], [[doubt('reconnected')], SIZE]);
    const failed = receiveCount(counting(step.state, 22), null, 23).state;
    assert.equal(tableWakeAtMs(failed), 523);
    assert.deepEqual(advanceTable(failed, 522).effects, []);
    const counted = receiveCount(counting(failed, 523), makeTable([2, 2, 1], 'seen-9', 'second'), 530);
    assert.deepEqual(counted.effects[0], { kind: 'publish-size', rows: 5, added: 2, removed: 0 });
    assert.deepEqual([counted.isChanged, counted.evidenceMs], [true, 22]);
    const polled = answer(polling(counted.state, 550), change([], { connection: 'second' }), 551).state;
    assert.equal(tableWakeAtMs(polled), 570);
  });

  it('is put off where it was done a moment ago; meanwhile the count is an estimate, and that is said once', () => {
    const contradicted = answer(polling(), change([{ slot: 1, delta: -1 }]), 22).state;
    const counted = receiveCount(counting(contradicted, 22), makeTable([2, 0, 1], 'seen-9'), 23).state;
    const deltas = [
      { slot: 1, delta: -1 },
      { slot: 2, delta: 4 },
    ];
    const estimated = answer(polling(counted, 43), change(deltas), 44);
    assert.deepEqual(estimated.state.size, makeTable([2, 0, 5], 'seen-2'));
    assert.deepEqual(estimated.effects[0], doubt('contradicted'));
    assert.deepEqual(estimated.effects[1], { kind: 'publish-size', rows: 7, added: 4, removed: 0 });
    const waiting = answer(polling(estimated.state, 63), change(deltas, { at: 'seen-3' }), 64);
    assert.ok(!waiting.effects.some((effect) => effect.kind === 'report' && effect.report.kind === 'count-doubted'));
    counting(waiting.state, 123);
  });

  it('takes rows that moved between slots for a change, also where their number is the same', () => {
    const truncated = answer(polling(), change([], { recount: true }), 22).state;
    assert.equal(receiveCount(counting(truncated, 22), makeTable([0, 0, 3], 'seen-9'), 23).isChanged, true);
  });

  it('starts from a possible count, whatever was counted', () => {
    assert.deepEqual(startTable(makeTable([2 ** 33, 0, 1]), EPOCH, 0).size, makeTable([2 ** 32, 0, 1]));
  });
});

describe('pruning what is counted', () => {
  const pruneOf = (size: TableSize, after: string | null) => ({
    kind: 'prune-changes',
    after,
    at: size.at,
    epoch: EPOCH,
    connection: size.connection,
  });
  /** One poll in vain just before, so that the prune is what is due. */
  function pruning(state: TableState, nowMs: number): TableStep {
    return advanceTable(pollInVain(state, nowMs - 2, nowMs - 1), nowMs);
  }

  it('begins a second after the term with all, and goes on with what came since', () => {
    const first = pruning(start(), 1_000);
    assert.deepEqual(first.effects, [pruneOf(SIZE, null)]);
    const pruned = receivePrune(first.state, 'seen-1', 'all', 1_002).state;
    assert.equal(pruned.pruneAtMs, null, 'nothing is left');
    const changed = answer(polling(pruned, 1_020), change([{ slot: 0, delta: 1 }]), 1_021).state;
    assert.deepEqual(pruning(changed, 2_021).effects, [pruneOf(changed.size, 'seen-1')]);
  });

  it('goes on after a pause where a batch was not enough', () => {
    const { state } = pruning(start(), 1_000);
    const more = receivePrune(state, 'seen-1', 'some', 1_010).state;
    assert.deepEqual([more.prunedAt, more.pruneAtMs], [null, 1_040]);
  });

  it('that fails is tried again seconds later, from the same place, and delays no poll', () => {
    const { state } = pruning(start(), 1_000);
    const failed = receivePrune(state, 'seen-1', 'failed', 1_005).state;
    assert.deepEqual([failed.prunedAt, failed.pruneAtMs, failed.pollAtMs], [null, 6_005, 1_018]);
  });

  it('begins with all again after a recount, which another server may have done', () => {
    const pruned = receivePrune(pruning(start(), 1_000).state, 'seen-1', 'all', 1_002).state;
    const other = answer(polling(pruned, 1_020), change([], { connection: 'second' }), 1_021).state;
    const size = makeTable([1, 1, 1], 'seen-9', 'second');
    const counted = receiveCount(counting(other, 1_021), size, 1_030).state;
    assert.deepEqual([counted.prunedAt, counted.pruneAtMs], [null, 2_030]);
  });

  it('waits for nothing else, and nothing else overlaps it', () => {
    const { state } = pruning(start(), 1_000);
    assert.deepEqual([advanceTable(state, 5_000).effects, tableWakeAtMs(state)], [[], null]);
  });
});
