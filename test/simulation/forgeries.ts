import { encodeSlots } from '../../shared/ring/slot-set.ts';
import type { Order } from '../../shared/ring/snapshot.ts';
import type { Fault } from './fault.ts';
import type { World } from './world.ts';

const LARGEST = Number.MAX_SAFE_INTEGER;

/** Somebody who may publish to `ring.snapshot`, and is no coordinator of ours, does. */
export const FORGERIES: readonly Fault[] = [
  forgery('an epoch that was never issued', (world, { version }) => ({
    epoch: world.postgres.lastEpoch + world.random.pick([1, 2, 1_000, 2 ** 30]),
    version: world.random.pick([1, version + 1]),
  })),
  forgery('the largest epoch', (world, { version }) => ({
    epoch: LARGEST,
    version: world.random.pick([1, version + 1, LARGEST]),
  })),
  forgery('the largest version', (world) => ({
    epoch: world.postgres.lastEpoch - world.random.pick([0, 0, 1]),
    version: LARGEST,
  })),
  forgery('the next version', ({ postgres }, { version }) => ({ epoch: postgres.lastEpoch, version: version + 1 })),
];

function forgery(what: string, choose: (world: World, newest: Order) => Order): Fault {
  return {
    name: `forged snapshot with ${what}`,
    longestMs: 0,
    begin(world) {
      const { ring, isDown, leaderless } = world.nats;
      if (isDown) return null;
      const order = choose(world, ring.newest.snapshot ?? { epoch: 1, version: 0 });
      const rows = world.postgres.weights.reduce((sum, weight) => sum + weight, 0);
      const id = world.random.pick([...world.liveWorkers.map((worker) => worker.id), 'stranger']);
      const slots = encodeSlots(Array.from({ length: world.slots }, (_, slot) => slot));
      const snapshot = {
        ...order,
        at: '2026-11-23T10:00:00.000Z',
        cause: { kind: 'operator' as const },
        slots: world.slots,
        rows,
        moved: { slots: 0, rows: 0, minimumRows: 0 },
        workers: [{ id, rows, slots }],
      };
      if (!leaderless.has('ring')) ring.append(snapshot);
      world.broadcastSnapshot(snapshot);
      return null;
    },
  };
}
