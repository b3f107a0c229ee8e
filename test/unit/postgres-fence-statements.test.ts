import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { toRanges } from '../../shared/postgres/fence-statements.ts';

test('ranges hold each slot once, join neighbours, and ascend', () => {
  assert.deepEqual(toRanges([]), { lows: [], highs: [] });
  assert.deepEqual(toRanges([3, 4, 5, 9, 11, 12]), { lows: [3, 9, 11], highs: [5, 9, 12] });
  fc.assert(
    fc.property(fc.array(fc.nat(100)), (slots) => {
      const { lows, highs } = toRanges(slots);
      const listed = lows.flatMap((low, index) =>
        Array.from({ length: highs[index]! - low + 1 }, (_, step) => low + step),
      );
      assert.deepEqual(
        listed,
        [...new Set(slots)].sort((a, b) => a - b),
      );
      for (let index = 1; index < lows.length; index += 1) assert.ok(lows[index]! > highs[index - 1]! + 1);
    }),
  );
});
