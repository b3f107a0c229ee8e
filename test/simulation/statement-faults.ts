import type { Fault } from './fault.ts';
import type { World } from './world.ts';

/** Longer than Postgres lets a statement run: such a one is cancelled. */
const LONGEST_HANG_MS = 11_000;
const LONGEST_FAILOVER_MS = 3_000;
const LONGEST_LOSS_MS = 8_000;

/** What happens to statements inside Postgres, and to their effects. */
export const STATEMENT_FAULTS: readonly Fault[] = [
  {
    name: 'statement hangs while it holds its slots',
    longestMs: 0,
    begin(world) {
      const { liveWorkers, random, statements, timeline } = world;
      if (liveWorkers.length === 0) return null;
      const worker = random.pick(liveWorkers);
      statements.hangs.set(worker.incarnation, random.between(300, LONGEST_HANG_MS));
      // Postgres does not notice that the asker is gone.
      if (random.chance(0.4)) timeline.after(random.between(500, 4_000), () => worker.crash());
      return null;
    },
  },
  {
    name: 'statements are undone at once, as in deadlocks',
    longestMs: 4_000,
    begin({ statements, random }) {
      statements.failShare = random.pick([0.1, 0.5, 0.9]);
      return () => {
        statements.failShare = 0;
      };
    },
  },
  {
    // A standby that lags behind takes over, or a backup is restored.
    name: 'Postgres loses its newest commits',
    longestMs: 0,
    begin(world) {
      const { random, timeline } = world;
      const untilMs = timeline.nowMs - random.between(0, LONGEST_LOSS_MS);
      const isOfEpoch = random.chance(0.5);
      if (!world.losses.losePostgres(isOfEpoch ? timeline.nowMs : untilMs)) return null;
      if (isOfEpoch) loseEpoch(world);
      else lose(world, untilMs);
      return null;
    },
  },
];

/** A leader is elected just before, so that its epoch is forgotten. */
function loseEpoch(world: World): void {
  const { random, timeline } = world;
  const untilMs = timeline.nowMs;
  const leader = world.liveCoordinators.find(({ state }) => state.term !== null);
  leader?.crash();
  if (leader !== undefined) timeline.after(random.between(0, 2_000), () => void world.startCoordinator(leader.id));
  timeline.after(random.between(1_000, 5_000), () => lose(world, untilMs));
}

function lose(world: World, untilMs: number): void {
  const { postgres, statements, random, timeline } = world;
  postgres.isDown = true;
  statements.cancelAll();
  timeline.after(random.between(100, LONGEST_FAILOVER_MS), () => {
    postgres.restore(untilMs);
    // Another server's clock.
    postgres.setClock(random.pick([0, 0, -400, 400, -3_000]));
    postgres.isDown = false;
    for (const node of [...world.workers, ...world.coordinators]) node.noteTrouble();
  });
}
