import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  addSample,
  type DatabaseClock,
  databaseMs,
  isMeasured,
  monotonicMs,
  stepBetween,
  UNMEASURED,
} from '../../services/worker/database-clock.ts';

/** A probe whose reply shows the server at `offsetMs` above the middle of the round trip. */
function probe(sentMs: number, roundTripMs: number, offsetMs: number) {
  return { sentMs, receivedMs: sentMs + roundTripMs, serverMs: sentMs + roundTripMs / 2 + offsetMs };
}

function measure(...probes: readonly ReturnType<typeof probe>[]): DatabaseClock {
  return probes.reduce(addSample, UNMEASURED);
}

describe('database clock', () => {
  it('knows no time before it is measured', () => {
    assert.equal(isMeasured(UNMEASURED), false);
    assert.ok(Number.isNaN(databaseMs(UNMEASURED, 5)));
    assert.ok(Number.isNaN(monotonicMs(UNMEASURED, 5)));
  });

  it('takes the middle of the round trip for the moment of the reply', () => {
    const clock = addSample(UNMEASURED, { sentMs: 100, receivedMs: 110, serverMs: 5_105 });
    assert.deepEqual(clock, { samples: [{ offsetMs: 5_000, roundTripMs: 10 }] });
    assert.equal(databaseMs(clock, 200), 5_200);
    assert.equal(monotonicMs(clock, 5_200), 200);
  });

  it('trusts the shortest round trip of the last few', () => {
    const clock = measure(probe(0, 20, 1_004), probe(100, 2, 1_000), probe(200, 60, 1_020));
    assert.equal(databaseMs(clock, 0), 1_000);
  });

  it('prefers the newer of two round trips of one length, since crystals drift', () => {
    assert.equal(databaseMs(measure(probe(0, 4, 1_000), probe(100, 4, 1_001)), 0), 1_001);
  });

  it('keeps six samples, so that an old short round trip does not rule for ever', () => {
    const later = Array.from({ length: 6 }, (_, index) => probe(100 * (index + 1), 10, 1_003));
    const clock = measure(probe(0, 1, 1_000), ...later);
    assert.equal(clock.samples.length, 6);
    assert.equal(databaseMs(clock, 0), 1_003);
  });

  it('DESIGN §5: a clock that was set back or forward is believed at once, and the old samples are forgotten', () => {
    for (const jumpMs of [-3_600_000, -3_000, 3_000]) {
      const clock = measure(probe(0, 2, 10_000), probe(100, 2, 10_000), probe(200, 40, 10_000 + jumpMs));
      assert.deepEqual(clock, { samples: [{ offsetMs: 10_000 + jumpMs, roundTripMs: 40 }] });
    }
  });

  it('takes a difference that the round trips explain for a slow reply, not for a clock that was set', () => {
    const clock = measure(probe(0, 2, 10_000), probe(100, 900, 10_400));
    assert.equal(clock.samples.length, 2);
    assert.equal(databaseMs(clock, 0), 10_000);
  });
});

describe('database clock: set forward, or the machine paused', () => {
  const at = (offsetMs: number, sentMs: number, hostMs?: number) => ({
    ...probe(sentMs, 2, offsetMs),
    ...(hostMs === undefined ? {} : { hostMs }),
  });
  const stepAfter = (...probes: readonly ReturnType<typeof at>[]) => {
    const before = measure(...probes.slice(0, -1));
    return stepBetween(before, addSample(before, probes.at(-1)!));
  };

  it('a step is known in whole seconds', () => {
    assert.equal(stepAfter(at(1_000, 0, 50_002), at(1_000 + 9_010, 5_000, 55_002)), 9);
    assert.equal(stepAfter(at(1_000, 0), at(1_000 + 9_010, 5_000)), 9);
  });

  it('time that the host counted and the monotonic clock did not was a pause', () => {
    assert.equal(stepAfter(at(1_000, 0, 50_002), at(1_000 + 9_010, 5_000, 64_012)), null);
  });

  it('there is none in a first measurement, in two that agree, or where the clock was set back', () => {
    assert.equal(stepAfter(at(1_000, 0, 50_002)), null);
    assert.equal(stepAfter(at(1_000, 0, 50_002), at(1_010, 5_000, 55_002)), null);
    assert.equal(stepAfter(at(1_000, 0, 50_002), at(1_000 - 9_000, 5_000, 55_002)), null);
  });
});
