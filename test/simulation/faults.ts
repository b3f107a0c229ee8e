import type { Fault } from './fault.ts';
import { FORGERY } from './forgeries.ts';
import { OUTAGES } from './outages.ts';
import { PAUSES } from './pauses.ts';
import { ROW_FAULTS } from './row-faults.ts';
import { STATEMENT_FAULTS } from './statement-faults.ts';
import type { CoordinatorNode, WorkerNode, World } from './world.ts';

const FAULTS: readonly Fault[] = [
  ...OUTAGES,
  ...PAUSES,
  ...ROW_FAULTS,
  ...STATEMENT_FAULTS,
  FORGERY,
  {
    name: 'storm',
    longestMs: 5_000,
    begin(world) {
      return world.worsen({
        dropShare: world.random.next() * 0.3,
        duplicateShare: world.random.next() * 0.3,
        longestDelayMs: world.random.pick([20, 200, 1_500]),
      });
    },
  },
  {
    name: 'kill worker',
    longestMs: 0,
    begin(world) {
      pickWorker(world)?.crash();
      return null;
    },
  },
  {
    name: 'kill and restart worker under its id',
    longestMs: 3_000,
    begin(world) {
      const worker = pickWorker(world);
      worker?.crash();
      return worker === undefined ? null : () => void world.startWorker(worker.id);
    },
  },
  {
    name: 'worker leaves',
    longestMs: 0,
    begin(world) {
      const worker = pickWorker(world);
      worker?.noteTrouble();
      worker?.deliver({ kind: 'leave-requested' });
      return null;
    },
  },
  {
    name: 'drain worker',
    longestMs: 0,
    begin(world) {
      pickWorker(world)?.deliver({ kind: 'drain-requested' });
      return null;
    },
  },
  {
    name: 'drain and undrain worker',
    longestMs: 8_000,
    begin(world) {
      const worker = pickWorker(world);
      worker?.deliver({ kind: 'drain-requested' });
      return () => worker?.deliver({ kind: 'undrain-requested' });
    },
  },
  {
    name: 'drain all workers',
    longestMs: 0,
    begin(world) {
      for (const worker of world.liveWorkers) worker.deliver({ kind: 'drain-requested' });
      return null;
    },
  },
  {
    name: 'worker joins',
    longestMs: 0,
    begin(world) {
      if (world.liveWorkers.length < 6) world.startWorker(`worker-${world.workers.length + 1}`);
      return null;
    },
  },
  {
    name: 'freeze worker',
    longestMs: 8_000,
    begin(world) {
      const worker = pickWorker(world);
      worker?.freeze();
      return () => worker?.thaw();
    },
  },
  { name: 'reconnect worker', longestMs: 400, begin: (world) => dropConnection(world, pickWorker(world)) },
  { name: 'reconnect coordinator', longestMs: 400, begin: (world) => dropConnection(world, pickCoordinator(world)) },
  {
    name: 'false word of a lost connection',
    longestMs: 0,
    begin(world) {
      const named = [...world.liveWorkers, ...world.liveCoordinators].map(({ id }) => id);
      const client = world.random.pick([...named, 'stranger']);
      const times = world.random.between(1, 4);
      for (let time = 0; time < times; time += 1) tellLate(world, client);
      return null;
    },
  },
  { name: 'cut worker from NATS', longestMs: 6_000, begin: (world) => cutFromNats(world, pickWorker(world)) },
  {
    name: 'cut worker from Postgres',
    longestMs: 8_000,
    begin(world) {
      const worker = pickWorker(world);
      if (worker !== undefined) worker.isPostgresCut = true;
      return () => {
        if (worker !== undefined) worker.isPostgresCut = false;
        worker?.noteTrouble();
      };
    },
  },
  {
    name: 'kill and restart coordinator',
    longestMs: 3_000,
    begin(world) {
      const coordinator = pickCoordinator(world);
      coordinator?.crash();
      return coordinator === undefined ? null : () => void world.startCoordinator(coordinator.id);
    },
  },
  {
    name: 'freeze coordinator',
    longestMs: 12_000,
    begin(world) {
      const coordinator = pickCoordinator(world);
      coordinator?.freeze();
      return () => coordinator?.thaw();
    },
  },
  { name: 'cut coordinator from NATS', longestMs: 6_000, begin: (world) => cutFromNats(world, pickCoordinator(world)) },
  {
    name: 'NATS down',
    longestMs: 12_000,
    begin(world) {
      if (world.nats.isDown) return null;
      world.nats.isDown = true;
      return () => world.endNatsOutage();
    },
  },
  {
    name: 'Postgres down',
    longestMs: 8_000,
    begin(world) {
      world.postgres.isDown = true;
      return () => {
        world.postgres.isDown = false;
      };
    },
  },
  {
    name: 'ring stream purged, restored or created again',
    longestMs: 0,
    begin({ nats, random, losses }) {
      if (!losses.loseRing()) return null;
      if (random.chance(0.5)) nats.ring.lose();
      else nats.ring.restore(random.pick([1, 2, 5, Number.POSITIVE_INFINITY]));
      return null;
    },
  },
  {
    name: 'buckets purged, or created again',
    longestMs: 0,
    begin({ nats, random }) {
      const isCreatedAgain = random.chance(0.5);
      for (const bucket of [nats.liveness, nats.leadership]) {
        if (isCreatedAgain) bucket.recreate();
        else bucket.lose();
      }
      return null;
    },
  },
  {
    name: 'database clock set back',
    longestMs: 0,
    begin(world) {
      world.postgres.setClock(-world.random.pick([3_000, 3_600_000]));
      return null;
    },
  },
  {
    name: 'database clock set forward',
    longestMs: 0,
    begin(world) {
      world.postgres.setClock(world.random.pick([3_000, 3_600_000]));
      return null;
    },
  },
];

/** Draws faults and their times over the given span, and adds that fault; all of them end within the span, or soon after. */
export function planFaults(
  world: World,
  { fault, ...span }: { readonly fromMs: number; readonly toMs: number; readonly fault: string | null },
): void {
  const count = world.random.between(2, 8);
  for (let index = 0; index < count; index += 1) planFault(world, world.random.pick(FAULTS), span);
  if (fault === null) return;
  const named = FAULTS.find(({ name }) => name === fault);
  if (named === undefined) throw new Error(`there is no fault ${fault}`);
  planFault(world, named, span);
}

function planFault(world: World, fault: Fault, span: { readonly fromMs: number; readonly toMs: number }): void {
  const atMs = world.random.between(span.fromMs, span.toMs);
  const lastsMs = fault.longestMs === 0 ? 0 : world.random.between(100, fault.longestMs);
  world.timeline.at(atMs, () => {
    world.faults.push(`${atMs} ms: ${fault.name}${lastsMs > 0 ? ` for ${lastsMs} ms` : ''}`);
    const end = fault.begin(world);
    if (end !== null) world.timeline.after(lastsMs, end);
  });
}

function cutFromNats(world: World, node: WorkerNode | CoordinatorNode | undefined): (() => void) | null {
  if (node === undefined) return null;
  node.isNatsCut = true;
  return () => {
    node.isNatsCut = false;
    node.noteTrouble();
    world.reconnect(node);
    // Only now, if at all, does the server learn that the former connection is dead.
    tellLate(world, node.id);
  };
}

/** The connection breaks and is made anew; the server tells of it, at once or when the client is long back. */
function dropConnection(world: World, node: WorkerNode | CoordinatorNode | undefined): (() => void) | null {
  if (node === undefined) return null;
  world.disconnect(node);
  node.noteTrouble();
  if (world.random.chance(0.5)) world.tellDisconnect(node.id);
  else tellLate(world, node.id);
  return () => world.reconnect(node);
}

function tellLate(world: World, client: string): void {
  world.timeline.after(world.random.between(0, 2_000), () => world.tellDisconnect(client));
}

function pickWorker(world: World): WorkerNode | undefined {
  const { liveWorkers } = world;
  return liveWorkers.length === 0 ? undefined : world.random.pick(liveWorkers);
}

function pickCoordinator(world: World): CoordinatorNode | undefined {
  const { liveCoordinators } = world;
  return liveCoordinators.length === 0 ? undefined : world.random.pick(liveCoordinators);
}
