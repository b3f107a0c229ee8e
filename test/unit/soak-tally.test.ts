import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Gaps } from '../../bench/soak/gaps.ts';
import { describeUnrest } from '../../bench/soak/rest.ts';
import { CALM, Tally } from '../../bench/soak/tally.ts';

describe("the soak's tally", () => {
  const counts = (tally: Tally) => tally.result().map(({ trouble, times, missed }) => [trouble, times, missed]);

  it('puts missed ticks down to the trouble in which they began, however late they are seen', () => {
    const tally = new Tally();
    tally.begin('kill-postgres', 10_000);
    tally.end(14_000);
    tally.begin('add-rows', 15_000);
    tally.end(16_000);
    tally.missed({ fromSecond: 10, missed: 8 });
    tally.missed({ fromSecond: 15, missed: 2 });
    assert.deepEqual(counts(tally), [
      ['kill-postgres', 1, 8],
      ['add-rows', 1, 2],
    ]);
  });

  it('puts what began long after the last trouble, or before the first, down to none', () => {
    const tally = new Tally();
    tally.missed({ fromSecond: 5, missed: 1 });
    tally.begin('freeze-worker', 10_000);
    tally.end(11_000);
    tally.missed({ fromSecond: 60, missed: 2 });
    assert.deepEqual(counts(tally), [
      [CALM, 0, 3],
      ['freeze-worker', 1, 0],
    ]);
  });

  it('measures from the end of a trouble to the first rest, once', () => {
    const tally = new Tally();
    tally.begin('freeze-worker', 0);
    tally.atRest(500);
    tally.end(1_000);
    tally.atRest(3_000);
    tally.atRest(4_000);
    assert.deepEqual(tally.result()[0]?.settledMs, [2_000]);
  });

  it('leaves out a trouble whose rest the next one overtook', () => {
    const tally = new Tally();
    tally.begin('stop-worker', 0);
    tally.end(1_000);
    tally.begin('kill-nats', 1_500);
    tally.end(2_000);
    tally.atRest(3_000);
    assert.deepEqual(
      tally.result().map(({ trouble, settledMs }) => [trouble, settledMs]),
      [
        ['kill-nats', [1_000]],
        ['stop-worker', []],
      ],
    );
  });
});

describe('a gap', () => {
  const row = (value: number, lastTick: number) => ({
    id: 'r',
    value,
    slot: 0,
    currentWorker: 'a',
    owner: 'a',
    lastTick,
  });
  const gapsOf = (...rows: ReturnType<typeof row>[]) => {
    const gaps = new Gaps();
    return rows.flatMap((each) => gaps.add({ atSeconds: each.lastTick, workers: ['a'], rows: [each] }));
  };

  it('begins with the first second missed, and is seen when it is over', () => {
    assert.deepEqual(gapsOf(row(1, 100), row(1, 100), row(2, 105), row(3, 106)), [{ fromSecond: 101, missed: 4 }]);
  });

  it('is not one where a new row’s slot was empty for long', () => {
    const gaps = new Gaps();
    const sample = (atSeconds: number, each: ReturnType<typeof row>) => ({ atSeconds, workers: ['a'], rows: [each] });
    assert.deepEqual(gaps.add(sample(100.5, row(0, 3))), []);
    assert.deepEqual(gaps.add(sample(101.5, row(1, 101))), []);
    assert.deepEqual(gaps.add(sample(105.5, row(2, 105))), [{ fromSecond: 102, missed: 3 }]);
  });

  it('is not one where the value was set', () => {
    assert.deepEqual(gapsOf(row(50, 100), row(0, 101), row(1, 102)), []);
  });
});

describe('rest', () => {
  const row = (id: string, owner: string, lastTick = 100) => ({
    id,
    value: 1,
    currentWorker: owner,
    slot: 0,
    owner,
    lastTick,
  });

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
