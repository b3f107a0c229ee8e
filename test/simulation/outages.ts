import type { StreamName } from './fake-nats.ts';
import type { Fault } from './fault.ts';
import { LEASE_TTL_MS, type World } from './world.ts';

const STREAMS: readonly StreamName[] = ['liveness', 'leadership', 'ring'];

/** What takes many at once, or only one's hearing: the troubles that the guards of DESIGN §6 are for. */
export const OUTAGES: readonly Fault[] = [
  {
    // Measured: up to 7 s after the kill of a stream's leader. What is put is heard by all, and stored nowhere.
    name: 'streams without a leader',
    longestMs: 7_000,
    begin(world) {
      const without = world.random.chance(0.5) ? STREAMS : [world.random.pick(STREAMS)];
      for (const stream of without) world.nats.leaderless.add(stream);
      return () => {
        for (const stream of without) world.nats.leaderless.delete(stream);
        world.leaderlessUntilMs = world.timeline.nowMs;
      };
    },
  },
  {
    // The bucket itself can be read all the while, and its watch goes on.
    name: 'coordinator hears neither puts nor answers to probes',
    longestMs: 8_000,
    begin: (world) => deafen(world, 'plain'),
  },
  {
    // Measured: 12 s after an orderly change of the stream's leader.
    name: 'coordinator’s watches are blind',
    longestMs: 12_000,
    begin: (world) => deafen(world, 'watch'),
  },
  {
    // Shorter than two leases, less a heartbeat's age before and a renewal's timeout after.
    name: 'all workers cut from NATS together',
    longestMs: 2_400,
    begin(world) {
      const cut = world.liveWorkers;
      world.sever(cut);
      // A single one is given no more than its lease.
      if (cut.length < 2) for (const worker of cut) worker.noteTrouble();
      return () => world.join(cut);
    },
  },
  {
    name: 'worker frozen for about a lease while the network is slow',
    longestMs: 0,
    begin(world) {
      if (world.liveWorkers.length === 0) return null;
      const worker = world.random.pick(world.liveWorkers);
      const endSlowness = world.worsen({ longestDelayMs: 600 });
      worker.freeze();
      // It comes back while its key is being read, or deleted.
      world.timeline.after(world.random.between(LEASE_TTL_MS, 1.4 * LEASE_TTL_MS), () => worker.thaw());
      world.timeline.after(2 * LEASE_TTL_MS, endSlowness);
      return null;
    },
  },
  {
    // The leader can read that nobody ticks.
    name: 'Postgres takes no writes',
    longestMs: 12_000,
    begin(world) {
      world.postgres.isReadOnly = true;
      return () => {
        world.postgres.isReadOnly = false;
      };
    },
  },
  {
    name: 'half of the workers killed at once',
    longestMs: 0,
    begin(world) {
      const { liveWorkers } = world;
      for (const worker of liveWorkers.slice(0, Math.floor(liveWorkers.length / 2))) worker.crash();
      return null;
    },
  },
];

function deafen(world: World, way: 'plain' | 'watch'): (() => void) | null {
  const { liveCoordinators } = world;
  if (liveCoordinators.length === 0) return null;
  const coordinator = world.random.pick(liveCoordinators);
  coordinator.deafTo.add(way);
  return () => {
    coordinator.deafTo.delete(way);
    coordinator.noteTrouble();
  };
}
