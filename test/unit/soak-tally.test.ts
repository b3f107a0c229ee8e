import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { describeUnrest } from '../../bench/soak/rest.ts';
import { Tally } from '../../bench/soak/tally.ts';

describe("the soak's tally", () => {
  it('puts missed ticks down to the trouble that is there, or was a moment ago', () => {
    const tally = new Tally();
    tally.note({ missed: 1, isAtRest: true, nowMs: 0 });
    tally.begin('kill-worker');
    tally.note({ missed: 3, isAtRest: false, nowMs: 1_000 });
    tally.end(2_000);
    tally.note({ missed: 6, isAtRest: false, nowMs: 12_000 });
    tally.note({ missed: 10, isAtRest: false, nowMs: 23_000 });
    assert.deepEqual(
      tally.result().map(({ trouble, times, missed }) => [trouble, times, missed]),
      [
        ['kill-worker', 1, 5],
        ['no fault near', 0, 5],
      ],
    );
  });

  it('measures from the end of a trouble to the first rest, once', () => {
    const tally = new Tally();
    tally.begin('freeze-worker');
    tally.note({ missed: 0, isAtRest: true, nowMs: 500 });
    tally.end(1_000);
    tally.note({ missed: 0, isAtRest: false, nowMs: 1_500 });
    tally.note({ missed: 0, isAtRest: true, nowMs: 3_000 });
    tally.note({ missed: 0, isAtRest: true, nowMs: 4_000 });
    assert.deepEqual(tally.result()[0]?.settledMs, [2_000]);
  });

  it('leaves out a trouble whose rest the next one overtook', () => {
    const tally = new Tally();
    for (const trouble of ['stop-worker', 'kill-nats']) {
      tally.begin(trouble);
      tally.end(1_000);
      tally.note({ missed: 0, isAtRest: trouble === 'kill-nats', nowMs: 2_000 });
    }
    assert.deepEqual(
      tally.result().map(({ trouble, settledMs }) => [trouble, settledMs]),
      [
        ['kill-nats', [1_000]],
        ['stop-worker', []],
      ],
    );
  });
});

describe('rest', () => {
  const row = (id: string, owner: string, lastTick = 100) => ({ id, value: 1, slot: 0, owner, lastTick });

  it('is every row ticked just now by those that run, evenly', () => {
    const sample = { atSeconds: 101.5, workers: ['b', 'a'], rows: [row('1', 'a'), row('2', 'b')] };
    assert.equal(describeUnrest(sample, ['a', 'b']), null);
  });

  it('is not there while the fence names another, a row stands still, or shares are uneven', () => {
    const rows = [row('1', 'a'), row('2', 'b')];
    assert.match(describeUnrest({ atSeconds: 101, workers: ['a', 'b'], rows }, ['a']) ?? '', /names a, b; there are a/);
    assert.match(describeUnrest({ atSeconds: 104, workers: ['a', 'b'], rows }, ['a', 'b']) ?? '', /2 of 2 rows/);
    const uneven = [...rows, row('3', 'a'), row('4', 'a')];
    assert.match(describeUnrest({ atSeconds: 101, workers: ['a', 'b'], rows: uneven }, ['a', 'b']) ?? '', /3, 1/);
  });
});
