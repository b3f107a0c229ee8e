import assert from 'node:assert/strict';
import { test } from 'node:test';
import { measureDrain } from '../../services/cli/drain-progress.ts';
import { makeSnapshotOf, type Shares } from '../support/machine-fixtures.ts';

const ring = (shares: Shares) => makeSnapshotOf({ epoch: 1, version: 7 }, shares);
const WITH = ring({ a: [0, 1, 2, 3], b: [4, 5, 6, 7] });
const WITHOUT = ring({ b: [0, 1, 2, 3, 4, 5, 6, 7] });

test('a drain is done when the ring is without the worker and the fence names others for all slots', () => {
  const drain = { worker: 'a', isDrained: true };
  const seen = { ring: 7, given: 4, owned: 4, isDone: false };
  assert.deepEqual(measureDrain({ ...drain, snapshot: WITH, owned: [0, 1, 2, 3] }), seen);
  assert.deepEqual(measureDrain({ ...drain, snapshot: WITHOUT, owned: [3] }), { ...seen, given: 0, owned: 1 });
  const done = { ring: 7, given: 0, owned: 0, isDone: true };
  assert.deepEqual(measureDrain({ ...drain, snapshot: WITHOUT, owned: [] }), done);
});

test('it is undone when the ring names the worker and the fence does for all of its slots', () => {
  const undrain = { worker: 'a', isDrained: false };
  assert.equal(measureDrain({ ...undrain, snapshot: WITHOUT, owned: [] }).isDone, false);
  assert.equal(measureDrain({ ...undrain, snapshot: WITH, owned: [0, 1, 3] }).isDone, false);
  assert.equal(measureDrain({ ...undrain, snapshot: WITH, owned: [0, 1, 2, 3] }).isDone, true);
  assert.equal(measureDrain({ ...undrain, snapshot: ring({ a: [], b: [0, 1] }), owned: [] }).isDone, true);
});

test('without any snapshot nothing is done', () => {
  for (const isDrained of [true, false]) {
    const seen = measureDrain({ worker: 'a', isDrained, snapshot: null, owned: [] });
    assert.deepEqual(seen, { ring: 0, given: 0, owned: 0, isDone: false });
  }
});
