import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type MemorySample, slopePerHour, trendOf } from '../../bench/soak/slope.ts';

const MB = 1024 * 1024;
const MINUTE_MS = 60_000;

function everyMinute(count: number, megabytes: (minute: number) => number): MemorySample[] {
  return Array.from({ length: count }, (_, minute) => ({ atMs: minute * MINUTE_MS, bytes: megabytes(minute) * MB }));
}

describe('the slope of memory', () => {
  it('is that of the line through the points', () => {
    const points = [0, 1, 2, 3].map((minute) => ({ atMs: 5_000 + minute * MINUTE_MS, value: 100 + minute / 10 }));
    assert.ok(Math.abs((slopePerHour(points) ?? 0) - 6) < 1e-9);
  });

  it('lets points off the line on both sides cancel out', () => {
    const points = [0, 1, 2, 3, 4].map((minute) => ({ atMs: minute * MINUTE_MS, value: minute === 2 ? 50 : 100 }));
    assert.equal(slopePerHour(points), 0);
  });

  it('is unknown where the points make no line', () => {
    assert.equal(slopePerHour([{ atMs: 0, value: 1 }]), null);
    assert.equal(slopePerHour([1, 2, 3].map((value) => ({ atMs: 9, value }))), null);
  });

  it('leaves out the first five minutes of a long life, when code is loaded and compiled', () => {
    const trend = trendOf(everyMinute(61, (minute) => (minute < 5 ? minute * 40 : 200 + minute / 60)));
    assert.ok(trend !== null && Math.abs((trend.slopeMbPerHour ?? 0) - 1) < 1e-6);
    assert.deepEqual([trend.minutes, Math.round(trend.firstMb), Math.round(trend.lastMb)], [55, 200, 201]);
  });

  it('leaves out the first third of a short life', () => {
    const trend = trendOf(everyMinute(10, (minute) => (minute < 3 ? 50 : 100)));
    assert.deepEqual(trend, { minutes: 6, firstMb: 100, lastMb: 100, mostMb: 100, slopeMbPerHour: 0 });
  });

  it('gives no slope for less than five minutes', () => {
    assert.equal(trendOf(everyMinute(7, (minute) => 100 + minute))?.slopeMbPerHour, null);
  });

  it('says nothing of a process that was never read', () => {
    assert.equal(trendOf([]), null);
  });
});
