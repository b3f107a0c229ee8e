import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isEven, newestShares, parseLog, readWatching, type Watching } from '../e2e/log-lines.ts';
import { judgeWatching } from '../e2e/watching.ts';

function line(worker: string, tick: number, ids: readonly string[]): Watching {
  return { worker, tick, ring: 1, ids };
}

/** Two workers that log the same lists for each of these ticks. */
function steady(ticks: readonly number[]): Watching[] {
  return ticks.flatMap((tick) => [line('a', tick, ['1', '3']), line('b', tick, ['2', '4'])]);
}

function judge(lines: readonly Watching[]) {
  return judgeWatching(lines, { workers: ['a', 'b'], seconds: 3 });
}

describe("the services' logs", () => {
  test('come out by time whatever pods they are of, without what is no log line', () => {
    const text = [
      'f","ids":["cut off"]}',
      '{"time":"2026-11-24T10:00:02.000Z","worker":"a","msg":"watching","tick":2,"ring":1,"ids":["x"]}',
      'Error: a stack',
      '{"time":"2026-11-24T10:00:01.500Z","coordinator":"c","msg":"leading"}',
      '{"msg":"no time"}',
      'null',
      '',
    ].join('\n');
    const lines = parseLog(text);
    assert.deepEqual(
      lines.map(({ msg }) => msg),
      ['leading', 'watching'],
    );
    assert.equal(lines[0]?.atMs, Date.parse('2026-11-24T10:00:01.500Z'));
    assert.deepEqual(readWatching(lines), [{ worker: 'a', tick: 2, ring: 1, ids: ['x'] }]);
  });

  test('tell each worker’s newest share, once all have spoken', () => {
    const lines = [...steady([1, 2]), line('a', 3, ['1'])];
    assert.deepEqual(newestShares(lines, ['a', 'b']), {
      tick: 2,
      shares: new Map([
        ['a', 1],
        ['b', 2],
      ]),
    });
    assert.equal(newestShares(lines, ['a', 'b', 'c']), null);
    assert.equal(newestShares(lines, []), null);
  });

  test('rows are even when all are there and nobody has two more than another', () => {
    assert.equal(isEven([8, 8, 7, 7], 30), true);
    assert.equal(isEven([9, 7, 7, 7], 30), false);
    assert.equal(isEven([7, 7, 7], 30), false);
    assert.equal(isEven([], 30), false);
  });
});

describe('five seconds side by side', () => {
  test('are as promised where every list is there, sorted, steady and alone in having its ids', () => {
    assert.deepEqual(judge(steady([1, 2, 3, 4])), {
      ticks: [2, 3, 4],
      shares: { a: 2, b: 2 },
      isEverySecond: true,
      isSorted: true,
      isSteady: true,
      isDisjoint: true,
      ids: 4,
    });
  });

  test('end with the last second that all have written: the others’ phase comes later', () => {
    assert.deepEqual(judge([...steady([1, 2, 3]), line('a', 4, ['1', '3'])])?.ticks, [1, 2, 3]);
  });

  test('are not there while a worker has not written as many', () => {
    assert.equal(judge(steady([1, 2])), null);
    assert.equal(judge([line('a', 1, []), line('a', 2, []), line('a', 3, [])]), null);
  });

  test('a second left out, or written twice, is seen', () => {
    assert.equal(judge(steady([1, 3, 4]))?.isEverySecond, false);
    assert.equal(judge([...steady([1, 2, 3]), ...steady([3])])?.isEverySecond, false);
  });

  test('an id on two lists is seen', () => {
    const lines = [1, 2, 3].flatMap((tick) => [line('a', tick, ['1', '2']), line('b', tick, ['2', '3'])]);
    assert.deepEqual([judge(lines)?.isDisjoint, judge(lines)?.ids], [false, 3]);
  });

  test('an unsorted list, and one that changes, are seen', () => {
    const lines = [...steady([1, 2]), line('a', 3, ['3', '1']), line('b', 3, ['2', '4'])];
    assert.deepEqual([judge(lines)?.isSorted, judge(lines)?.isSteady], [false, false]);
  });
});
