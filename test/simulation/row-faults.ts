import type { Fault } from './fault.ts';
import type { World } from './world.ts';

const LONGEST_MS = 12_000;

/** What an application does to its table, and what it fails to report of it. */
export const ROW_FAULTS: readonly Fault[] = [
  {
    name: 'rows change',
    longestMs: 0,
    begin(world) {
      const changes = world.random.between(1, 40);
      for (let change = 0; change < changes; change += 1) {
        world.postgres.table.change(pickSlot(world), world.random.pick([1, 1, 1, -1]));
      }
      return null;
    },
  },
  {
    // One by one, so that some come while ticks are under way.
    name: 'rows come, go and change their ids for a while',
    longestMs: 0,
    begin(world) {
      const { timeline, random, postgres } = world;
      const changes = random.between(10, 60);
      for (let change = 0; change < changes; change += 1) {
        timeline.after(random.between(0, 4_000), () => {
          const row = random.chance(0.6) ? pickRow(world) : null;
          if (row === null) postgres.table.change(pickSlot(world), random.pick([1, -1]));
          else postgres.table.move(row, pickSlot(world));
        });
      }
      return null;
    },
  },
  {
    name: 'rows locked by an application',
    longestMs: LONGEST_MS,
    begin: (world) => mark(world, world.postgres.table.rows.locked),
  },
  {
    name: 'rows that cannot be written',
    longestMs: LONGEST_MS,
    begin: (world) => mark(world, world.postgres.table.rows.bad),
  },
  {
    // As under `session_replication_role = replica`. Some are removed when triggers are on again, and are none that were counted.
    name: 'rows change while triggers are off',
    longestMs: 0,
    begin(world) {
      const { timeline, random, postgres } = world;
      const changes = random.between(1, 20);
      for (let change = 0; change < changes; change += 1) {
        const slot = pickSlot(world);
        postgres.table.change(slot, random.pick([1, -1]), { isRecorded: false });
        if (random.chance(0.3)) timeline.after(random.between(0, 3_000), () => postgres.table.change(slot, -1));
      }
      return null;
    },
  },
  {
    name: 'table truncated',
    longestMs: 0,
    begin(world) {
      const { timeline, random, postgres } = world;
      postgres.table.truncate();
      const rows = random.between(0, 40);
      for (let row = 0; row < rows; row += 1) {
        timeline.after(random.between(0, 3_000), () => postgres.table.change(pickSlot(world), 1));
      }
      return null;
    },
  },
];

/** Marks some rows until it ends. */
function mark(world: World, marked: Set<string>): () => void {
  const some = Array.from({ length: world.random.between(1, 8) }, () => pickRow(world));
  for (const row of some) if (row !== null) marked.add(row);
  return () => {
    for (const row of some) if (row !== null) marked.delete(row);
  };
}

function pickSlot(world: World): number {
  return world.random.between(0, world.slots - 1);
}

function pickRow(world: World): string | null {
  const ids = [...world.postgres.table.rows.all.keys()];
  return ids.length === 0 ? null : world.random.pick(ids);
}
