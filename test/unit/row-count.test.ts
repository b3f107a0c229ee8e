import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { addDeltas, possibleCount, type RowCount } from '../../shared/ring/row-count.ts';

const LARGEST = 2 ** 32;

function countOf(...weights: readonly number[]): RowCount {
  return { weights: Float64Array.from(weights), rows: weights.reduce((sum, weight) => sum + weight, 0) };
}

describe('adding deltas to a row count', () => {
  it('adds them by slot, and leaves the count before as it was', () => {
    const before = countOf(2, 0, 1);
    const deltas = [
      { slot: 1, delta: 3 },
      { slot: 0, delta: -2 },
      { slot: 1, delta: 1 },
    ];
    assert.deepEqual(addDeltas(before, deltas), { ...countOf(0, 4, 1), isPossible: true });
    assert.deepEqual(before, countOf(2, 0, 1));
  });

  const impossible: readonly (readonly [what: string, slot: number, delta: number, after: RowCount])[] = [
    ['a slot below zero', 1, -1, countOf(2, 0, 1)],
    ['a slot below zero by more rows than the table has', 0, -9, countOf(0, 0, 1)],
    ['more rows in a slot than an assignment can weigh', 1, LARGEST + 1, countOf(2, LARGEST, 1)],
    ['a delta that is not a number', 0, Number.NaN, countOf(2, 0, 1)],
    ['an infinite delta', 0, Number.POSITIVE_INFINITY, countOf(2, 0, 1)],
    ['half a row', 0, 0.5, countOf(2, 0, 1)],
    ['a slot above the last', 3, 1, countOf(2, 0, 1)],
    ['a slot below the first', -2, 1, countOf(2, 0, 1)],
  ];
  for (const [what, slot, delta, after] of impossible) {
    it(`calls ${what} impossible, and estimates`, () => {
      assert.deepEqual(addDeltas(countOf(2, 0, 1), [{ slot, delta }]), { ...after, isPossible: false });
    });
  }

  it('keeps any count possible, whatever the deltas', () => {
    const deltas = fc.array(fc.record({ slot: fc.integer({ min: -1, max: 5 }), delta: fc.double() }));
    fc.assert(
      fc.property(deltas, (given) => {
        const { weights, rows } = addDeltas(countOf(7, 0, 1, LARGEST), given);
        for (const weight of weights) assert.ok(Number.isInteger(weight) && weight >= 0 && weight <= LARGEST);
        assert.equal(
          rows,
          weights.reduce((sum, weight) => sum + weight, 0),
        );
      }),
    );
  });
});

it('a count of the table is cut off at what can be weighed', () => {
  const counted = Float64Array.from([3, LARGEST * 2, -1, Number.NaN]);
  assert.deepEqual(possibleCount(counted), countOf(3, LARGEST, 0, 0));
});
