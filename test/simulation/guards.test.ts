import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { GUARDS } from './guards.ts';
import { loadUnguarded } from './unguarded.ts';

const MOST_SEEDS = 600;

/** A guard that nothing misses where it is gone is not worth its lines, or the checks are blind for what it is for. */
describe('simulation without a guard', () => {
  for (const guard of GUARDS) {
    it(`DESIGN §5, §6: is caught where it was that ${guard.rule}`, async (t) => {
      const { simulate, remove } = await loadUnguarded(guard);
      t.after(remove);
      for (let seed = 1; seed <= MOST_SEEDS; seed += 1) {
        const { violation } = simulate({ seed, fault: guard.fault });
        if (violation === null) continue;
        t.diagnostic(`seed ${seed}: ${violation}`);
        return assert.match(violation, guard.harm);
      }
      assert.fail(`no harm in ${MOST_SEEDS} seeds`);
    });
  }
});
