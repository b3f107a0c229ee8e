import assert from 'node:assert/strict';
import { test } from 'node:test';
import { countDesiredWorkers } from '../../services/coordinator/desired-workers.ts';

const rule = { rowsPerWorker: 100, minWorkers: 2, maxWorkers: 5 };

test('as many workers are asked for as the rows fill, the last one partly', () => {
  assert.deepEqual(
    [201, 300, 301, 400].map((rows) => countDesiredWorkers(rows, rule)),
    [3, 3, 4, 4],
  );
});

test('never fewer than the least, also for an empty table, and never more than the most', () => {
  assert.deepEqual(
    [0, 1, 200, 500, 501, 1_000_000].map((rows) => countDesiredWorkers(rows, rule)),
    [2, 2, 2, 5, 5, 5],
  );
});

test('an empty table may need no worker at all', () => {
  assert.equal(countDesiredWorkers(0, { ...rule, minWorkers: 0 }), 0);
});
