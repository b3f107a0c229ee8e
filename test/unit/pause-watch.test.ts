import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type HostClocks, PauseWatch } from '../../services/worker/pause-watch.ts';
import { hostUptimeMs } from '../../shared/process/host-uptime.ts';

/** A watch whose host's clocks show what was passed since the start. */
function watching() {
  let clocks: HostClocks = { wallMs: 1_700_000_000_000, uptimeMs: 5_000 };
  const watch = new PauseWatch(() => clocks);
  let nowMs = 100;
  watch.look(nowMs);
  return (passed: { readonly monotonicMs: number; readonly wallMs: number; readonly uptimeMs: number }) => {
    nowMs += passed.monotonicMs;
    clocks = { wallMs: clocks.wallMs + passed.wallMs, uptimeMs: clocks.uptimeMs + passed.uptimeMs };
    return watch.look(nowMs);
  };
}

describe('pause watch', () => {
  it('sees nothing while all clocks go on alike, however long nobody looks', () => {
    const look = watching();
    assert.equal(look({ monotonicMs: 20, wallMs: 20, uptimeMs: 20 }), false);
    assert.equal(look({ monotonicMs: 60_000, wallMs: 60_400, uptimeMs: 60_010 }), false);
  });

  it('sees a suspension, once', () => {
    const look = watching();
    assert.equal(look({ monotonicMs: 20, wallMs: 8_020, uptimeMs: 8_020 }), true);
    assert.equal(look({ monotonicMs: 20, wallMs: 20, uptimeMs: 20 }), false);
  });

  it('sees a pause that only one of the host’s clocks counted, and a time of day that was set', () => {
    const look = watching();
    assert.equal(look({ monotonicMs: 20, wallMs: 8_020, uptimeMs: 20 }), true);
    assert.equal(look({ monotonicMs: 20, wallMs: 20, uptimeMs: 8_020 }), true);
    assert.equal(look({ monotonicMs: 20, wallMs: -8_000, uptimeMs: 20 }), true);
  });

  it('reads an uptime that goes on', () => {
    const before = hostUptimeMs();
    assert.ok(before > 0 && hostUptimeMs() >= before);
  });
});
