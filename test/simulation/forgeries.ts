import { encodeSlots } from '../../shared/ring/slot-set.ts';
import type { Order } from '../../shared/ring/snapshot.ts';
import type { Fault } from './fault.ts';
import type { World } from './world.ts';

const LARGEST = Number.MAX_SAFE_INTEGER;

type Forge = (world: World, newest: Order) => Order;

const unissued: Forge = (world, { version }) => ({
  epoch: world.postgres.lastEpoch + world.random.pick([1, 2, 1_000, 2 ** 30]),
  version: world.random.pick([1, version + 1]),
});
const largestEpoch: Forge = (world, { version }) => ({
  epoch: LARGEST,
  version: world.random.pick([1, version + 1, LARGEST]),
});
const largestVersion: Forge = (world) => ({
  epoch: world.postgres.lastEpoch - world.random.pick([0, 0, 1]),
  version: LARGEST,
});
const next: Forge = ({ postgres }, { version }) => ({ epoch: postgres.lastEpoch, version: version + 1 });

/**
 * Somebody who may publish to `ring.snapshot`, and is no coordinator of ours, does; at times while no coordinator runs. One
 * fault for all, since the checks of rarer ones need their share of the seeds.
 */
export const FORGERY: Fault = {
  name: 'forged snapshot',
  longestMs: 3_000,
  begin(world) {
    if (!world.losses.loseRing()) return null;
    const ended = world.random.chance(0.5) ? world.liveCoordinators : [];
    for (const coordinator of ended) coordinator.crash();
    publish(world, world.random.pick([unissued, largestEpoch, largestVersion, next]));
    return () => {
      for (const { id } of ended) world.startCoordinator(id);
    };
  },
};

function publish(world: World, forge: Forge): void {
  const { ring, isDown, leaderless } = world.nats;
  if (isDown) return;
  const order = forge(world, ring.newest.snapshot ?? { epoch: 1, version: 0 });
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
  world.forged.add(snapshot);
  if (!leaderless.has('ring')) ring.append(snapshot);
  world.broadcastSnapshot(snapshot);
}
