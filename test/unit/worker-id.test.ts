import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { describeBadWorkerId, makeWorkerId, WORKER_ID_PATTERN } from '../../shared/ring/worker-id.ts';

test('names of pods and hosts are worker ids', () => {
  for (const id of ['worker-7c9f-aaa', 'a', '0', 'Worker_1', 'ip-10-0-0-1', 'x'.repeat(128)]) {
    assert.equal(describeBadWorkerId(id), null, id);
  }
});

test('what NATS or the log would misread is refused with what to do about it', () => {
  const cases: readonly [string, RegExp][] = [
    ['', /empty: give one of letters/],
    ['node.example.org', /contains "\.": use only letters, digits.* with "-" in its place/],
    ['a b', /contains " "/],
    ['a*', /contains "\*"/],
    ['>', /contains ">"/],
    ['a/b', /contains "\/"/],
    ['wörker', /contains "ö"/],
    ['worker\n', /contains "\\n"/],
    ['-a', /begins with "-": begin with a letter or a digit/],
    ['_a', /begins with "_"/],
    ['x'.repeat(129), /has 129 characters: use at most 128/],
  ];
  for (const [id, reason] of cases) assert.match(describeBadWorkerId(id) ?? 'fine', reason, JSON.stringify(id));
});

test('a reason is given exactly for the ids that do not match the pattern', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[A-Za-z0-9_-]{0,140}$/)), (id) => {
      assert.equal(describeBadWorkerId(id) === null, WORKER_ID_PATTERN.test(id));
    }),
    { numRuns: 1000 },
  );
});

test('an id is made of any name of a pod or host, and a name that is an id stays as it is', () => {
  const cases: readonly [name: string, id: string][] = [
    ['worker-7c9f-aaa', 'worker-7c9f-aaa'],
    ['node-1.example.org', 'node-1-example-org'],
    ['.local', 'local'],
    ['-.-', 'unnamed'],
    ['', 'unnamed'],
    ['büro', 'b-ro'],
    // What tells pods of one owner apart stands at the end.
    [`${'app.'.repeat(60)}7c9f-x2x`, `${'app-'.repeat(30)}7c9f-x2x`],
  ];
  for (const [name, id] of cases) assert.equal(makeWorkerId(name), id, name);
  fc.assert(
    fc.property(fc.string({ maxLength: 300 }), (name) => {
      const id = makeWorkerId(name);
      assert.match(id, WORKER_ID_PATTERN);
      if (WORKER_ID_PATTERN.test(name)) assert.equal(id, name);
    }),
  );
});
