import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { buildRing, homeOf, placeVirtualNodes, virtualNodes } from '../../shared/ring/hash-ring.ts';

const workerIds = fc
  .uniqueArray(fc.stringMatching(/^[a-z0-9][a-z0-9-]{0,8}$/), { minLength: 1, maxLength: 12 })
  .map((ids) => ids.sort());
const slotCounts = fc.integer({ min: 0, max: 12 }).map((power) => 2 ** power);

test('every worker has all its virtual nodes on the ring', () => {
  fc.assert(
    fc.property(workerIds, slotCounts, (workers, slots) => {
      const ring = buildRing(workers, slots);
      const counts = workers.map((_, index) => ring.workers.filter((owner) => owner === index).length);
      assert.deepEqual(new Set(counts), new Set([virtualNodes(slots)]));
    }),
  );
});

test('a slot begins at the first virtual node clockwise of its own place', () => {
  fc.assert(
    fc.property(workerIds, slotCounts, (workers, slots) => {
      const nodes = virtualNodes(slots);
      const places = placeVirtualNodes(workers, nodes);
      const points = Array.from(places, (place, point) => ({ place, worker: Math.floor(point / nodes) }));
      points.sort((a, b) => a.place - b.place || a.worker - b.worker);
      const ring = buildRing(workers, slots);
      assert.deepEqual(
        Array.from(ring.workers),
        points.map(({ worker }) => worker),
      );
      for (let slot = 0; slot < slots; slot += 1) {
        const first = points.findIndex(({ place }) => place >= (slot * 2 ** 32) / slots);
        assert.equal(ring.starts[slot], Math.max(0, first));
      }
    }),
    { numRuns: 30 },
  );
});

test('DESIGN §3.5: a worker that joins takes homes over and changes no other', () => {
  fc.assert(
    fc.property(workerIds, fc.stringMatching(/^[A-Z]{1,8}$/), (workers, newcomer) => {
      const joined = [...workers, newcomer].sort();
      const before = buildRing(workers, 1024);
      const after = buildRing(joined, 1024);
      for (let slot = 0; slot < 1024; slot += 1) {
        const home = joined[homeOf(after, slot)];
        if (home !== newcomer) assert.equal(home, workers[homeOf(before, slot)]);
      }
    }),
  );
});

test('DESIGN §3.5: no virtual node of a worker is one of another whose id continues the same way', () => {
  const workers = ['x', 'x-1', 'x-11', 'x-111', 'x-1-1', 'x1', 'x11', '1', '11', '111'];
  const places = placeVirtualNodes(workers, 128);
  assert.equal(new Set(places).size, places.length);
});

test('ids that differ in one character lie as far apart as any', () => {
  const workers = Array.from({ length: 1000 }, (_, index) => `worker-7c9f5d6b8-${String(index).padStart(4, '0')}`);
  const ring = buildRing(workers, 65_536);
  const homes = new Array<number>(workers.length).fill(0);
  for (let slot = 0; slot < 65_536; slot += 1) homes[homeOf(ring, slot)]! += 1;
  assert.ok(Math.max(...homes) < 65.5 * 2.5, `the fullest worker is home to ${Math.max(...homes)} of 65.5 slots`);
  assert.ok(Math.min(...homes) > 65.5 / 4, `the emptiest worker is home to ${Math.min(...homes)} of 65.5 slots`);
});

test('neighbouring slots mostly share their home, so that slot sets stay short', () => {
  const ring = buildRing(['a', 'b', 'c'], 4096);
  let borders = 0;
  for (let slot = 1; slot < 4096; slot += 1) if (homeOf(ring, slot) !== homeOf(ring, slot - 1)) borders += 1;
  assert.ok(borders < 3 * 64, `${borders} borders between slots`);
});
