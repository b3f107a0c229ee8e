import type { Fault } from './fault.ts';
import type { World } from './world.ts';

/** Longer than a lease and the takeover after it, so that others have ticked the worker's slots meanwhile. */
const LONGEST_PAUSE_MS = 12_000;

/** What a process finds changed when it runs again: the time, or its own successor. */
export const PAUSES: readonly Fault[] = [
  {
    name: 'worker machine paused',
    longestMs: LONGEST_PAUSE_MS,
    begin(world) {
      const worker = pickWorker(world);
      worker?.pause();
      return () => worker?.thaw();
    },
  },
  {
    name: 'worker frozen beside its successor',
    longestMs: LONGEST_PAUSE_MS,
    begin(world) {
      const worker = pickWorker(world);
      if (worker === undefined) return null;
      worker.freeze();
      world.timeline.after(world.random.between(0, LONGEST_PAUSE_MS / 2), () => void world.startWorker(worker.id));
      return () => worker.thaw();
    },
  },
  {
    // It hears no snapshot and renews no key, and goes on ticking.
    name: 'worker cut off from NATS beside its successor',
    longestMs: LONGEST_PAUSE_MS,
    begin(world) {
      const worker = pickWorker(world);
      if (worker === undefined) return null;
      worker.isNatsCut = true;
      world.timeline.after(world.random.between(0, LONGEST_PAUSE_MS / 2), () => void world.startWorker(worker.id));
      return () => {
        worker.isNatsCut = false;
        worker.noteTrouble();
        world.reconnect(worker);
      };
    },
  },
];

function pickWorker(world: World) {
  const { liveWorkers } = world;
  return liveWorkers.length === 0 ? undefined : world.random.pick(liveWorkers);
}
