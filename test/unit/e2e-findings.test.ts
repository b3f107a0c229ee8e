import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { describeFinding, type Finding, formatMarkdown, judge, toCells } from '../e2e/findings.ts';
import { compareNames, evenShares } from '../e2e/step.ts';

const HOLDS: Finding = { step: 'install', what: 'ready', expected: '< 60 s', seen: '12 s', isOk: true };
const BROKEN: Finding = { step: 'kill', what: 'double ticks', expected: '0', seen: '3', isOk: false };
const TOLD: Finding = { step: 'kill', what: 'published', expected: '', seen: '80 ms', isOk: null };
const DONE = { seconds: 61.4, unfinished: [] };

describe('a walk is as promised', () => {
  test('when every check holds; figures that nothing is promised of count neither way', () => {
    assert.deepEqual(judge([HOLDS, TOLD], DONE), {
      isAsPromised: true,
      text: 'all as promised: 1 of 1 checks hold; 61 s',
    });
  });

  test('not when one is broken, and says in which step', () => {
    const verdict = judge([HOLDS, BROKEN, BROKEN], DONE);
    assert.equal(verdict.isAsPromised, false);
    assert.equal(verdict.text, 'NOT as promised: 1 of 3 checks hold; broken in kill; 61 s');
  });

  test('not when a chosen step was not tried', () => {
    const verdict = judge([HOLDS], { seconds: 1, unfinished: ['scale', 'kill'] });
    assert.equal(verdict.text, 'NOT as promised: 1 of 1 checks hold; not tried: scale, kill; 1 s');
  });

  test('not when nothing was checked at all', () => {
    assert.equal(judge([TOLD], DONE).isAsPromised, false);
  });
});

test('a finding is a row of the table, and a line while the walk goes on', () => {
  assert.deepEqual(toCells(BROKEN), ['kill', 'double ticks', '0', '3', 'NO']);
  assert.deepEqual(toCells(TOLD), ['kill', 'published', '', '80 ms', '']);
  assert.equal(describeFinding(HOLDS), 'ok  ready: 12 s');
  assert.equal(describeFinding(BROKEN), 'NO  double ticks: expected 0, saw 3');
  assert.equal(describeFinding(TOLD), '    published: 80 ms');
});

test('Markdown keeps a cell in its cell whatever it says', () => {
  const odd = { ...BROKEN, seen: 'a | b\nc' };
  assert.equal(
    formatMarkdown([odd]),
    '| step | what | expected | seen | ok |\n| --- | --- | --- | --- | --- |\n| kill | double ticks | 0 | a \\| b c | NO |\n',
  );
});

test('names are compared as sets; what differs is named', () => {
  assert.deepEqual(compareNames('pods', ['a', 'b'], ['b', 'a']), {
    expected: 'the 2 pods',
    seen: 'the 2 pods',
    isOk: true,
  });
  assert.deepEqual(compareNames('pods', ['a', 'b'], ['b', 'c']).seen, 'without a, also c');
  assert.equal(compareNames('pods', [], []).isOk, false);
});

test('even shares add up, the largest first', () => {
  assert.deepEqual(evenShares(30, 4), [8, 8, 7, 7]);
  assert.deepEqual(evenShares(30, 6), [5, 5, 5, 5, 5, 5]);
});
