import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlockedReason } from '../../services/worker/blocked-rows.ts';
import { BlockedRowsNotice } from '../../services/worker/blocked-rows-notice.ts';
import { recordingLog } from '../support/postgres-server.ts';

const begin = (reason: BlockedReason, ...ids: string[]) => ({
  begun: ids.map((id) => ({ id, reason, message: 'm' })),
  ended: [],
});
const ids = (count: number, from = 0) => Array.from({ length: count }, (_, index) => `row-${from + index}`);

test('a blocked row has one line when it begins and one when it ends', () => {
  const { log, lines } = recordingLog();
  const notice = new BlockedRowsNotice(log, () => 0);
  notice.say(begin('trigger', 'x'));
  notice.say({ begun: [], ended: ['x'] });
  notice.say({ begun: [], ended: ['x', 'never named'] });
  assert.deepEqual(
    lines.map(({ msg }) => msg),
    ['row blocked: it gets no ticks', 'row no longer blocked'],
  );
});

test('of many, five a second have a line and the others are counted; only those five have a last line', () => {
  const { log, lines } = recordingLog();
  let nowMs = 0;
  const notice = new BlockedRowsNotice(log, () => nowMs);
  notice.say(begin('constraint', ...ids(8)));
  assert.equal(lines.length, 5);
  nowMs = 1_000;
  notice.say({ begun: [], ended: ids(8) });
  const counted = lines[5] as unknown as { msg: string; count: number };
  assert.deepEqual([counted.msg, counted.count], ['further rows blocked', 3]);
  assert.equal(lines.filter(({ msg }) => msg === 'row no longer blocked').length, 5);
});

test('locked rows have five lines in ten seconds, and take none from the others', () => {
  const { log, lines } = recordingLog();
  let nowMs = 0;
  const notice = new BlockedRowsNotice(log, () => nowMs);
  for (nowMs = 0; nowMs < 10_000; nowMs += 1_000) notice.say(begin('locked', ...ids(3, nowMs)));
  assert.equal(lines.length, 5);
  notice.say(begin('constraint', 'x'));
  assert.deepEqual(
    lines.slice(5).map(({ msg }) => msg),
    ['further locked rows blocked', 'row blocked: it gets no ticks'],
  );
});
