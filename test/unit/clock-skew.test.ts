import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Registry } from 'prom-client';
import { makeClockSkewReport } from '../../services/worker/clock-skew.ts';
import { makeWorkerMetrics } from '../../services/worker/metrics.ts';
import { recordLog } from '../support/nats-link.ts';

function watch() {
  const { log, lines } = recordLog();
  const metrics = makeWorkerMetrics(new Registry());
  const report = makeClockSkewReport({ log, metrics });
  /** The host's clock this far ahead of the database's, which answered in the middle of the round trip. */
  const compare = (skewMs: number, roundTripMs = 10) =>
    report({ serverMs: 1_000_000, wallMs: 1_000_000 + skewMs + roundTripMs / 2, roundTripMs });
  return { compare, lines, gauge: async () => (await metrics.clockSkew.get()).values[0]?.value };
}

test('the skew is told by the metric, in seconds, whichever way it goes', async () => {
  const { compare, gauge } = watch();
  for (const skewMs of [0, 250, -1_500]) {
    compare(skewMs);
    assert.equal(await gauge(), skewMs / 1000);
  }
});

test('beyond half a second it is warned of once, and again only when it was within in between', () => {
  const { compare, lines } = watch();
  for (const skewMs of [490, 700, 800, 900]) compare(skewMs);
  assert.deepEqual(
    lines.map(({ level, skewMs }) => [level, skewMs]),
    [[40, 700]],
  );
  assert.match(lines[0]?.msg ?? '', /clock is ahead of the database's/);
  compare(0);
  compare(-700);
  assert.match(lines[1]?.msg ?? '', /clock is behind the database's/);
  assert.equal(lines.length, 2);
});

test('what a slow answer explains is no skew', () => {
  const { compare, lines } = watch();
  compare(900, 1_000);
  assert.deepEqual(lines, []);
});
