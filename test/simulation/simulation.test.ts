import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type SimulationResult, simulate } from './run.ts';
import type { Broken } from './world.ts';

const SEEDS = 150;

/** Enough to run it again: `npm run simulate -- --from SEED --seeds 1 --verbose`. */
function describeResult({ seed, violation, faults }: SimulationResult): string {
  return `seed ${seed}: ${violation}\n  ${faults.join('\n  ')}`;
}

/** The first seed at which the checks notice that the fence is broken; null: none of them. */
function findCaught(broken: Broken, seeds: number): SimulationResult | null {
  for (let seed = 1; seed <= seeds; seed += 1) {
    const result = simulate({ seed, broken });
    if (result.violation !== null) return result;
  }
  return null;
}

describe('simulation', () => {
  it(`holds DESIGN’s invariants for ${SEEDS} seeds of faults`, () => {
    const violated: string[] = [];
    const totals = { faults: 0, snapshots: 0, records: 0 };
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const result = simulate({ seed });
      totals.faults += result.faults.length;
      totals.snapshots += result.snapshots;
      totals.records += result.records;
      if (result.violation !== null) violated.push(describeResult(result));
    }
    assert.equal(violated.length, 0, violated.join('\n'));
    assert.ok(totals.faults > 2 * SEEDS && totals.snapshots > 2 * SEEDS, 'the worlds did suffer and recover');
    assert.ok(totals.records > 100 * SEEDS, 'the rows were ticked');
  });

  it('the same seed gives the same world', () => {
    for (const seed of [7, 8, 9]) assert.deepEqual(simulate({ seed }), simulate({ seed }));
  });

  for (const { broken, rule, seen } of [
    { broken: 'tick', rule: 'that counts no ticks', seen: /incremented twice/ },
    { broken: 'row', rule: 'that ticks rows of slots that it does not stamp', seen: /row-\d+ .* incremented twice/ },
    { broken: 'owner', rule: 'that asks nobody who owns a slot', seen: /the last to claim it was/ },
    { broken: 'claim-order', rule: 'that lets an older claim win', seen: /claimed at .* after/ },
  ] as const) {
    it(`DESIGN §5: a fence ${rule} is caught`, () => {
      assert.match(findCaught(broken, 200)?.violation ?? 'not caught', seen);
    });
  }

  it('DESIGN §6: putting a worker out that is there and has renewed is caught', () => {
    assert.match(findCaught('probe', 20)?.violation ?? 'not caught', /was put out as disconnected, though there since/);
  });
});
