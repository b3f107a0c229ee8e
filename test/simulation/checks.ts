import { isDeepStrictEqual } from 'node:util';
import type { SlotHolder } from '../../shared/postgres/fence.ts';
import { isUneven } from '../../shared/ring/assignment.ts';
import { HIGHEST_HONEST } from '../../shared/ring/issued-order.ts';
import { PHASES, type Recovery } from '../../shared/ring/recovery.ts';
import { compareOrder, type Order, sliceOf } from '../../shared/ring/snapshot.ts';
import type { FenceRecord } from './fake-postgres.ts';
import { GuardChecks } from './guard-checks.ts';
import { Violation } from './violation.ts';
import type { World } from './world.ts';

/** How far behind the database's clock a slot's last tick may lie once all is quiet, in ticks. */
const QUIET_LAG_TICKS = 2;
/** How far a tick number may lie ahead of the database's second: workers estimate it. */
const AHEAD_TICKS = 2;

/**
 * What must hold after every single step, whatever the faults: no slot is incremented twice for one tick, nor by anyone
 * but its last claimant, nor by a process in turn with its successor, no claim is older than the one before, every snapshot that the stream took is ordered, even and minimal,
 * and what the guards promise (`GuardChecks`).
 */
export class StepChecks {
  readonly #world: World;
  readonly #slots: {
    order: Order | null;
    owner: SlotHolder | null;
    ticker: SlotHolder | null;
    readonly ticks: Set<number>;
  }[];
  #seenRecords = 0;
  #seenSnapshots = 0;
  #seenRecoveries = 0;
  readonly #recovered = new Set<string>();
  readonly #guards: GuardChecks;

  constructor(world: World) {
    this.#world = world;
    this.#guards = new GuardChecks(world);
    this.#slots = world.postgres.slots.map(() => ({ order: null, owner: null, ticker: null, ticks: new Set() }));
  }

  check(): void {
    const { records, lastEpoch } = this.#world.postgres;
    if (lastEpoch > HIGHEST_HONEST) throw new Violation(`a forged epoch reached Postgres: ${lastEpoch}`);
    for (; this.#seenRecords < records.length; this.#seenRecords += 1) {
      const record = records[this.#seenRecords];
      if (record !== undefined) this.#checkRecord(record);
    }
    this.#guards.check();
    const { accepted, recoveries } = this.#world;
    for (; this.#seenSnapshots < accepted.length; this.#seenSnapshots += 1) this.#checkSnapshot(this.#seenSnapshots);
    for (; this.#seenRecoveries < recoveries.length; this.#seenRecoveries += 1) {
      const recovery = recoveries[this.#seenRecoveries];
      if (recovery !== undefined) this.#checkRecovery(recovery);
    }
  }

  /** One record for a snapshot that was out, with times that go forward, and nobody missing where it says it is complete. */
  #checkRecovery(recovery: Recovery): void {
    const name = `the recovery of ${format(recovery)}`;
    if (!this.#world.accepted.some(({ snapshot }) => compareOrder(snapshot, recovery) === 0)) {
      throw new Violation(`${name} is of no snapshot that was accepted`);
    }
    if (this.#recovered.has(format(recovery))) throw new Violation(`${name} was summed up twice`);
    this.#recovered.add(format(recovery));
    for (const phase of PHASES) if ((recovery.phases[phase] ?? 0) < 0) throw new Violation(`${name}: ${phase} < 0`);
    if (recovery.isComplete !== (recovery.missing.length === 0)) throw new Violation(`${name} contradicts itself`);
  }

  #checkRecord(record: FenceRecord): void {
    const slot = this.#slots[record.slot];
    if (slot === undefined) throw new Violation(`there is no slot ${record.slot}`);
    const who = `${name(record)}, slot ${record.slot}`;
    switch (record.kind) {
      case 'claim':
        this.#checkClaimed(who, record.order);
        if (
          slot.order !== null &&
          compareOrder(record.order, slot.order) <= (isSuccessor(record, slot.owner) ? -1 : 0)
        ) {
          throw new Violation(`${who}: claimed at ${format(record.order)} after ${format(slot.order)}`);
        }
        slot.order = record.order;
        slot.owner = record;
        return;
      case 'rebase':
        this.#checkRebase(record, slot.ticks);
        // The database's clock was set back: from here on its seconds are counted again.
        for (const known of slot.ticks) if (known > record.tick) slot.ticks.delete(known);
        return;
      case 'increment':
        if (slot.owner?.worker !== record.worker)
          throw new Violation(`${who}: incremented, though the last to claim it was ${name(slot.owner)}`);
        if (slot.ticker !== null && isSuccessor(slot.ticker, record))
          throw new Violation(`${who}: ticked in turn with its successor, ${name(slot.ticker)}`);
        slot.ticker = record;
        if (record.tick > this.#world.postgres.second + AHEAD_TICKS)
          throw new Violation(
            `${who}: ticked for ${record.tick}; the database's clock shows ${this.#world.postgres.second}`,
          );
        if (slot.ticks.has(record.tick)) throw new Violation(`${who}: incremented twice for tick ${record.tick}`);
        slot.ticks.add(record.tick);
    }
  }

  /** Tick numbers may come again only if the database's clock showed them, and was set back since. */
  #checkRebase(
    record: SlotHolder & { readonly slot: number; readonly tick: number },
    ticks: ReadonlySet<number>,
  ): void {
    const who = `${name(record)}, slot ${record.slot}`;
    const { second, setBackFrom } = this.#world.postgres;
    for (const known of ticks) {
      if (known <= record.tick || known <= setBackFrom + AHEAD_TICKS) continue;
      throw new Violation(
        `${who}: set back from ${known} to ${record.tick}, though the database's clock was not set back`,
      );
    }
    if (record.tick < second) {
      throw new Violation(`${who}: set back to ${record.tick}, though the database's clock shows ${second}`);
    }
  }

  /** Only what Postgres issued reaches it, and no number that leaves no room for the next. */
  #checkClaimed(who: string, order: Order): void {
    const { lastEpoch } = this.#world.postgres;
    if (order.epoch > lastEpoch) throw new Violation(`${who}: claimed in an epoch after the last issued, ${lastEpoch}`);
    if (order.version > HIGHEST_HONEST) throw new Violation(`a forged version reached Postgres: ${order.version}`);
  }

  #checkSnapshot(index: number): void {
    const { accepted } = this.#world;
    const snapshot = accepted[index]?.snapshot;
    const before = accepted[index - 1]?.snapshot;
    if (snapshot === undefined) return;
    const name = `snapshot (${snapshot.epoch}, ${snapshot.version})`;
    // One that the stream lost is put back as it was.
    if (before !== undefined && isDeepStrictEqual(snapshot, before)) return;
    if (before !== undefined && compareOrder(snapshot, before) <= 0) {
      throw new Violation(`${name} was accepted after (${before.epoch}, ${before.version})`);
    }
    if (snapshot.cause.kind === 'leader-changed') return;
    const { moved } = snapshot;
    // Slots of several rows cannot be split: each worker may be off by one slot's rows.
    const heaviest = Math.max(0, ...this.#world.postgres.weights) + 1;
    const slack = heaviest <= 2 ? 0 : heaviest * snapshot.workers.length;
    if (moved.rows > moved.minimumRows + slack) {
      throw new Violation(`${name} moves ${moved.rows} rows where ${moved.minimumRows} do`);
    }
    const shares = snapshot.workers.map(({ rows }) => rows);
    if (shares.length > 0 && Math.max(...shares) - Math.min(...shares) > heaviest) {
      throw new Violation(`${name} is uneven: ${shares.join(', ')}`);
    }
  }
}

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
  if (isUneven(world.nats.ring.newest.snapshot?.workers.map(({ id }) => rowsOf(world, id)) ?? [])) {
    const shares = newest.workers.map(({ id }) => rowsOf(world, id));
    const heaviest = Math.max(0, ...world.postgres.weights);
    if (Math.max(...shares) - Math.min(...shares) > heaviest)
      throw new Violation(`uneven at rest: ${shares.join(', ')}`);
  }
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

function rowsOf(world: World, worker: string): number {
  const newest = world.nats.ring.newest.snapshot;
  if (newest === null) return 0;
  return sliceOf(newest, worker).reduce((sum, slot) => sum + (world.postgres.weights[slot] ?? 0), 0);
}

function format({ epoch, version }: Order): string {
  return `(${epoch}, ${version})`;
}

/** A later process of the same worker: it takes over at the order that stands. */
function isSuccessor(holder: SlotHolder, former: SlotHolder | null): boolean {
  return former !== null && former.worker === holder.worker && former.incarnation < holder.incarnation;
}

function name(holder: SlotHolder | null): string {
  return holder === null ? 'nobody' : `${holder.worker} (process ${holder.incarnation})`;
}
