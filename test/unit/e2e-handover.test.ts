import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clockOffsetMs, readHandovers, slowestHandoverMs } from '../e2e/handover.ts';
import type { LogLine } from '../e2e/log-lines.ts';

const published = (atMs: number, ring: number): LogLine => ({
  atMs,
  msg: 'ring published',
  ring,
  cause: 'worker-left a',
  moved: { slots: 40, rows: 4, minimumRows: 3 },
});
const applied = (atMs: number, ring: number, gained: number): LogLine => ({ atMs, msg: 'ring applied', ring, gained });

test('a ring is handed over when the last worker that gained slots has applied it', () => {
  const lines = [published(100, 7), applied(110, 7, 5), applied(130, 7, 2), applied(900, 7, 0), applied(950, 8, 3)];
  assert.deepEqual(readHandovers(lines), [
    { ring: 7, cause: 'worker-left a', publishedAtMs: 100, appliedAtMs: 130, movedRows: 4, minimumRows: 3 },
  ]);
});

test('a ring that nobody gained by, as a new leader’s first, has no time of application', () => {
  const handovers = readHandovers([published(100, 7), applied(120, 7, 0), published(200, 8), applied(260, 8, 1)]);
  assert.deepEqual(
    handovers.map(({ appliedAtMs }) => appliedAtMs),
    [null, 260],
  );
  assert.equal(slowestHandoverMs(handovers), 60);
  assert.equal(slowestHandoverMs([]), null);
});

test('another clock counts as right as far as the asking leaves room for it', () => {
  assert.equal(clockOffsetMs({ beforeMs: 1_000, theirsMs: 1_080, afterMs: 1_100 }), 0);
  assert.equal(clockOffsetMs({ beforeMs: 1_000, theirsMs: 400, afterMs: 1_100 }), -600);
  assert.equal(clockOffsetMs({ beforeMs: 1_000, theirsMs: 1_900, afterMs: 1_100 }), 800);
});
