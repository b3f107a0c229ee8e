import assert from 'node:assert/strict';
import { it } from 'node:test';
import { SkippedRowsNotice } from '../../services/worker/skipped-rows-notice.ts';
import { recordingLog } from '../support/postgres-server.ts';

it('skipped rows are logged at once, then at most every ten seconds with their number since the last line', () => {
  const { log, lines } = recordingLog();
  let nowMs = 0;
  const notice = new SkippedRowsNotice(log, () => nowMs);
  for (; nowMs <= 20_000; nowMs += 1_000) notice.say({ count: 2, ids: ['x'] });
  assert.deepEqual(
    (lines as readonly unknown[] as { count: number; ids: string[] }[]).map(({ count, ids }) => [count, ids]),
    [
      [2, ['x']],
      [20, ['x']],
      [20, ['x']],
    ],
  );
});
