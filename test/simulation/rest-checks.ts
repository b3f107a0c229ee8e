import { isUneven } from '../../shared/ring/assignment.ts';
import { compareOrder, type Snapshot, sliceOf } from '../../shared/ring/snapshot.ts';
import { Violation } from './violation.ts';
import type { World } from './world.ts';

/** How far behind the database's clock a slot's last tick may lie once all is quiet, in ticks. */
const QUIET_LAG_TICKS = 2;

/** What must hold when the faults are over and some time has passed: all converged, and every row is being ticked. */
export function checkQuiet(world: World): void {
  const leaders = world.liveCoordinators.filter((node) => node.state.term !== null);
  if (leaders.length !== 1) throw new Violation(`${leaders.length} coordinators lead`);
  const workers = world.liveWorkers;
  const newest = world.nats.ring.newest.snapshot;
  if (workers.length === 0) return;
  if (newest === null) throw new Violation('there is no snapshot');
  const inRing = newest.workers.map(({ id }) => id).join(', ');
  const active = workers.filter(({ state }) => !state.isDrained);
  // The drained have rows only where nobody else could.
  const wanted = [...new Set((active.length > 0 ? active : workers).map(({ id }) => id))].sort().join(', ');
  if (inRing !== wanted) throw new Violation(`the ring has ${inRing}; it should have ${wanted}`);
  const weights = leaders[0]?.state.term?.table.size.weights ?? world.postgres.weights;
  const shares = newest.workers.map(({ id }) => rowsOf(newest, id, weights));
  if (isUneven(shares)) {
    const heaviest = Math.max(0, ...weights);
    if (Math.max(...shares) - Math.min(...shares) > heaviest)
      throw new Violation(`uneven at rest: ${shares.join(', ')}`);
  }
  for (const leader of leaders) checkCount(world, leader);
  for (const worker of workers) checkWorker(world, worker);
  const tick = world.postgres.second;
  for (const [slot, row] of world.postgres.slots.entries()) {
    const owner = newest.workers.find(({ id }) => id === row.worker);
    if (owner === undefined) throw new Violation(`slot ${slot} is fenced to ${row.worker}, who is not in the ring`);
    const lag = tick - row.lastTick;
    if ((world.postgres.weights[slot] ?? 0) > 0 && (lag > QUIET_LAG_TICKS || lag < -1)) {
      throw new Violation(`slot ${slot} of ${row.worker} was last ticked for ${row.lastTick}; it is ${tick}`);
    }
  }
}

function checkWorker(world: World, worker: World['workers'][number]): void {
  const newest = world.nats.ring.newest.snapshot;
  const { applied, slots } = worker.state.slice;
  if (newest === null || applied === null || compareOrder(applied, newest) !== 0) {
    throw new Violation(
      `${worker.id} has applied ${applied?.epoch}, ${applied?.version}; newest is ${newest?.epoch}, ${newest?.version}`,
    );
  }
  const expected = sliceOf(newest, worker.id);
  if (expected.join() !== slots.join()) throw new Violation(`${worker.id} watches other slots than its snapshot says`);
  for (const slot of slots) {
    if (world.postgres.slots[slot]?.worker !== worker.id) {
      throw new Violation(`slot ${slot} of ${worker.id} is fenced to ${world.postgres.slots[slot]?.worker}`);
    }
  }
}

/** The leader counts exactly, but for what no trigger reported since it counted the table last. */
function checkCount(world: World, leader: World['coordinators'][number]): void {
  const { weights, table } = world.postgres;
  const counted = leader.state.term?.table.size.weights;
  const drift = world.drifts.get(leader);
  for (const [slot, rows] of weights.entries()) {
    const unreported = (table.unrecorded[slot] ?? 0) - (drift?.[slot] ?? 0);
    if (counted?.[slot] === rows - unreported) continue;
    const but = unreported === 0 ? '' : `, ${unreported} of them unreported`;
    throw new Violation(`${leader.id} counts ${counted?.[slot]} rows in slot ${slot}, which has ${rows}${but}`);
  }
  // Where as many came as went unreported, nobody can see it.
  const [told = 0, total] = [leader.state.term?.table.size.rows, weights.reduce((sum, rows) => sum + rows, 0)];
  if (told !== total) throw new Violation(`${leader.id} counts ${told} rows, the table has ${total}`);
}

function rowsOf(newest: Snapshot, worker: string, weights: Float64Array): number {
  return sliceOf(newest, worker).reduce((sum, slot) => sum + (weights[slot] ?? 0), 0);
}
