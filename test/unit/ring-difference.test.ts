import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareRings } from '../../services/cli/ring-difference.ts';
import type { Snapshot } from '../../shared/ring/snapshot.ts';

function ring(shares: Readonly<Record<string, string>>): Snapshot {
  return {
    version: 1,
    epoch: 1,
    at: '2026-11-23T10:00:00.000Z',
    cause: { kind: 'bootstrap' },
    slots: 8,
    rows: 0,
    moved: { slots: 0, rows: 0, minimumRows: 0 },
    workers: Object.entries(shares).map(([id, slots]) => ({ id, rows: 0, slots })),
  };
}

test('a join takes from the others, and the moved slots are counted once', () => {
  const difference = compareRings(ring({ a: '0-3', b: '4-7' }), ring({ a: '0-2', b: '4-6', c: '3,7' }));
  assert.deepEqual(difference, {
    movedSlots: 2,
    workers: [
      { id: 'a', before: 4, after: 3, gained: 0, lost: 1 },
      { id: 'b', before: 4, after: 3, gained: 0, lost: 1 },
      { id: 'c', before: 0, after: 2, gained: 2, lost: 0 },
    ],
  });
});

test('the last worker gone moves all, though nobody gains', () => {
  assert.equal(compareRings(ring({ a: '0-7' }), ring({})).movedSlots, 8);
});

test('the same ring moves nothing', () => {
  assert.equal(compareRings(ring({ a: '0-7' }), ring({ a: '0-7' })).movedSlots, 0);
});
