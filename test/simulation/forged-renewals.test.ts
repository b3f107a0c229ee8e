import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { livenessOf } from '../../services/worker/machine.ts';
import { StepChecks } from './checks.ts';
import { checkQuiet } from './rest-checks.ts';
import { type WorkerNode, World } from './world.ts';

const SEEDS = 40;
const SLOTS = 16;
const WARM_UP_MS = 6_000;
/** Standing for five seconds, two reads of the fence, and the takeover. */
const TAKEN_OVER_MS = 9_000;
const FORGED_MS = 40_000;
const QUIET_MS = 15_000;

/** Somebody puts this worker's key again and again, as if it ticked. */
function forgeRenewals(world: World, worker: WorkerNode, untilMs: number): void {
  const { timeline, random, nats, postgres } = world;
  const { nowMs } = timeline;
  if (nowMs >= untilMs) return;
  const value = { ...livenessOf(worker.state), tick: postgres.second, state: 'active' as const };
  const revision = nats.liveness.put(worker.id, value, {
    revision: nats.liveness.get(worker.id, nowMs)?.revision ?? null,
    nowMs,
  });
  world.broadcast(world.coordinators, { kind: 'worker-heard', value });
  if (revision !== null)
    world.broadcast(world.coordinators, { kind: 'worker-stored', worker: worker.id, revision }, 'watch');
  timeline.after(random.between(5, 700), () => forgeRenewals(world, worker, untilMs));
}

describe('a worker that ticks nothing while somebody renews its key', () => {
  for (const how of ['frozen', 'killed'] as const) {
    it(`is evicted when it is ${how}, and not readmitted while it does not answer: ${SEEDS} seeds`, () => {
      for (let seed = 1; seed <= SEEDS; seed += 1) {
        const world = new World({ seed, slots: SLOTS, broken: 'none' });
        const { timeline, postgres, accepted } = world;
        for (let slot = 0; slot < SLOTS; slot += 1) postgres.changeRows(slot, 1);
        for (const id of ['coordinator-1', 'coordinator-2']) world.startCoordinator(id);
        const [worker] = ['worker-1', 'worker-2', 'worker-3'].map((id) => world.startWorker(id));
        assert.ok(worker);
        const checks = new StepChecks(world);
        timeline.at(WARM_UP_MS, () => {
          if (how === 'frozen') worker.freeze();
          else worker.crash();
          forgeRenewals(world, worker, WARM_UP_MS + FORGED_MS);
        });
        timeline.runUntil(WARM_UP_MS + TAKEN_OVER_MS, () => checks.check());
        const rings = accepted.length;
        const isOwner = () => postgres.slots.some((slot) => slot.worker === worker.id);
        assert.equal(isOwner(), false, `seed ${seed}`);
        timeline.runUntil(WARM_UP_MS + FORGED_MS, () => checks.check());
        assert.deepEqual([isOwner(), accepted.length - rings], [false, 0], `seed ${seed}`);
        if (how === 'frozen') worker.thaw();
        timeline.runUntil(WARM_UP_MS + FORGED_MS + QUIET_MS, () => checks.check());
        checkQuiet(world);
      }
    });
  }
});
