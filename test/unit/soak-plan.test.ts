import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { describeTrouble, FAULTS, type FaultKind, planTroubles } from '../../bench/soak/plan.ts';

const HOUR_MS = 3_600_000;

describe("the soak's plan", () => {
  it('is the same for the same seed, and another for another', () => {
    const plan = planTroubles({ seed: 7, spanMs: HOUR_MS });
    assert.deepEqual(planTroubles({ seed: 7, spanMs: HOUR_MS }), plan);
    assert.notDeepEqual(planTroubles({ seed: 8, spanMs: HOUR_MS }), plan);
  });

  it('has every kind before any comes again, and within its bounds', () => {
    const faults = planTroubles({ seed: 1, spanMs: HOUR_MS }).flatMap((trouble) => trouble.faults);
    const kinds = Object.keys(FAULTS) as FaultKind[];
    assert.deepEqual(new Set(faults.slice(0, kinds.length).map(({ kind }) => kind)), new Set(kinds));
    for (const { kind, lastsMs, draw, count } of faults) {
      const [shortest, longest] = FAULTS[kind].lastsMs;
      assert.ok(lastsMs >= shortest && lastsMs <= longest, `${kind} lasts ${lastsMs} ms`);
      assert.ok(draw >= 0 && draw < 1 && count >= 1);
    }
  });

  it('lets no trouble begin before the one before it has passed, nor after the end', () => {
    const plan = planTroubles({ seed: 3, spanMs: HOUR_MS });
    let freeAtMs = 0;
    for (const { atMs, faults } of plan) {
      assert.ok(atMs >= freeAtMs && atMs < HOUR_MS);
      freeAtMs = atMs + Math.max(...faults.map(({ lastsMs }) => lastsMs));
    }
    assert.ok(plan.length > 200);
  });

  it('restarts servers in the first half only', () => {
    const isOfServers = (kind: string) => /nats$|postgres$/.test(kind) && /^(kill|restart)-/.test(kind);
    const plan = planTroubles({ seed: 5, spanMs: HOUR_MS });
    const ofServers = plan.filter(({ faults }) => faults.some(({ kind }) => isOfServers(kind)));
    assert.ok(ofServers.length > 10);
    for (const { atMs } of ofServers) assert.ok(atMs < HOUR_MS / 2);
  });

  it('lets two come at the same instant now and then', () => {
    const plan = planTroubles({ seed: 2, spanMs: HOUR_MS });
    assert.ok(plan.some((trouble) => / \+ /.test(describeTrouble(trouble))));
  });
});
