import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  advanceHeartbeat,
  finishRemoval,
  finishRenewal,
  type HeartbeatState,
  heartbeatWakeAtMs,
  hurryHeartbeat,
  NOT_REGISTERED,
  withdraw,
} from '../../services/worker/heartbeat.ts';
import { HEARTBEAT_MS, makeLiveness } from '../support/machine-fixtures.ts';

const VALUE = makeLiveness('a');
const REGISTERED: HeartbeatState = { phase: 'registered', isBusy: false, hasTried: true, nextAtMs: 1_000 };

function advance(state: HeartbeatState, nowMs: number) {
  return advanceHeartbeat(state, VALUE, { nowMs, heartbeatMs: HEARTBEAT_MS });
}

describe('heartbeat: renewing', () => {
  it('DESIGN §4: renews every heartbeat, with the value as it is then', () => {
    assert.deepEqual(advance(REGISTERED, 999), { state: REGISTERED, effects: [] });
    assert.equal(heartbeatWakeAtMs(REGISTERED), 1_000);
    assert.deepEqual(advance(REGISTERED, 1_000), {
      state: { phase: 'registered', isBusy: true, hasTried: true, nextAtMs: 1_500 },
      effects: [{ kind: 'renew', value: VALUE }],
    });
  });

  it('keeps one renewal under way at most', () => {
    const busy = advance(REGISTERED, 1_000).state;
    assert.deepEqual(advance(busy, 9_000), { state: busy, effects: [] });
    assert.equal(heartbeatWakeAtMs(busy), null);
  });

  it('is registered by the first renewal acknowledged, not by one that failed', () => {
    const first = advance(NOT_REGISTERED, 0).state;
    assert.deepEqual(finishRenewal(first, false), {
      phase: 'unregistered',
      isBusy: false,
      hasTried: true,
      nextAtMs: 500,
    });
    assert.deepEqual(finishRenewal(first, true), { phase: 'registered', isBusy: false, hasTried: true, nextAtMs: 500 });
  });

  it('a failed renewal leaves a registered worker registered, and is followed by the next', () => {
    const failed = finishRenewal(advance(REGISTERED, 1_000).state, false);
    assert.deepEqual(failed, { phase: 'registered', isBusy: false, hasTried: true, nextAtMs: 1_500 });
    assert.equal(advance(failed, 1_500).effects.length, 1);
  });

  it('DESIGN §6: says at once after a reconnect that it lives', () => {
    assert.equal(advance(hurryHeartbeat(REGISTERED), 10).effects.length, 1);
    const busy = hurryHeartbeat(advance(REGISTERED, 1_000).state);
    assert.equal(advance(busy, 1_001).effects.length, 0, 'the one under way is waited for');
    assert.equal(advance(finishRenewal(busy, true), 1_002).effects.length, 1);
  });
});

describe('heartbeat: withdrawing', () => {
  it('DESIGN §7: the removal waits for the renewal under way, which could put the key back after it', () => {
    const withdrawing = withdraw(advance(REGISTERED, 1_000).state);
    assert.deepEqual(advance(withdrawing, 1_001).effects, []);
    const renewed = finishRenewal(withdrawing, true);
    assert.equal(renewed.phase, 'withdrawing');
    assert.deepEqual(advance(renewed, 1_002).effects, [{ kind: 'remove-key' }]);
  });

  it('removes the key at once where no renewal is under way, and renews no more', () => {
    const step = advance(withdraw(REGISTERED), 10);
    assert.deepEqual(step.effects, [{ kind: 'remove-key' }]);
    const withdrawn = finishRemoval(step.state, true);
    assert.deepEqual([withdrawn.phase, heartbeatWakeAtMs(withdrawn)], ['withdrawn', null]);
    assert.deepEqual(advance(withdrawn, 99_000), { state: withdrawn, effects: [] });
  });

  it('tries a removal that failed again after 200 ms', () => {
    const failed = finishRemoval(advance(withdraw(REGISTERED), 10).state, false);
    assert.equal(heartbeatWakeAtMs(failed), 210);
    assert.deepEqual(advance(failed, 209).effects, []);
    assert.deepEqual(advance(failed, 210).effects, [{ kind: 'remove-key' }]);
  });

  it('has nothing to remove where it never registered; a first renewal under way may still have made the key', () => {
    assert.equal(withdraw(NOT_REGISTERED).phase, 'withdrawn');
    const first = withdraw(advance(NOT_REGISTERED, 0).state);
    assert.equal(first.phase, 'withdrawing');
    assert.deepEqual(advance(finishRenewal(first, false), 600).effects, [{ kind: 'remove-key' }]);
  });

  it('withdrawing twice is withdrawing once', () => {
    const busy = advance(withdraw(REGISTERED), 10).state;
    assert.equal(withdraw(busy), busy);
    const gone = finishRemoval(busy, true);
    assert.equal(withdraw(gone), gone);
  });
});
