import type { SlotHolder } from '../../shared/postgres/fence.ts';
import { HIGHEST_HONEST } from '../../shared/ring/issued-order.ts';
import { compareOrder, type Order } from '../../shared/ring/snapshot.ts';
import type { FenceRecord } from './postgres-records.ts';
import { Violation } from './violation.ts';
import type { World } from './world.ts';

/** How far a tick number may lie ahead of the database's second: workers estimate it. */
const AHEAD_TICKS = 2;

interface SlotSeen {
  order: Order | null;
  owner: SlotHolder | null;
  ticker: SlotHolder | null;
  readonly ticks: Set<number>;
}

/** What the fence did with each slot, held against what it may do. */
export class SlotChecks {
  readonly #world: World;
  readonly #slots: readonly SlotSeen[];

  constructor(world: World) {
    this.#world = world;
    this.#slots = world.postgres.slots.map(() => ({ order: null, owner: null, ticker: null, ticks: new Set() }));
  }

  check(record: FenceRecord): void {
    const slot = this.#of(record);
    const who = `${name(record)}, slot ${record.slot}`;
    switch (record.kind) {
      case 'claim':
        this.#checkIssued(who, record.order);
        if (slot.order === null || compareOrder(record.order, slot.order) > (isSuccessor(record, slot.owner) ? -1 : 0))
          return;
        throw new Violation(`${who}: claimed at ${format(record.order)} after ${format(slot.order)}`);
      case 'rebase':
        return this.#checkRebase(record, slot.ticks);
      case 'increment':
        if (slot.owner?.worker !== record.worker)
          throw new Violation(`${who}: incremented, though the last to claim it was ${name(slot.owner)}`);
        if (slot.ticker !== null && isSuccessor(slot.ticker, record))
          throw new Violation(`${who}: ticked in turn with its successor, ${name(slot.ticker)}`);
        if (record.tick > record.shown + AHEAD_TICKS)
          throw new Violation(`${who}: ticked for ${record.tick}; the database's clock shows ${record.shown}`);
        if (slot.ticks.has(record.tick)) throw new Violation(`${who}: incremented twice for tick ${record.tick}`);
    }
  }

  apply(record: FenceRecord): void {
    const slot = this.#of(record);
    switch (record.kind) {
      case 'claim':
        slot.order = record.order;
        slot.owner = record;
        return;
      case 'rebase':
        // The database's clock was set back: from here on its seconds are counted again.
        for (const known of slot.ticks) if (known > record.tick) slot.ticks.delete(known);
        return;
      case 'increment':
        slot.ticker = record;
        slot.ticks.add(record.tick);
    }
  }

  /** Tick numbers may come again only if the database's clock showed them, and was set back since. */
  #checkRebase(record: Extract<FenceRecord, { kind: 'rebase' }>, ticks: ReadonlySet<number>): void {
    const who = `${name(record)}, slot ${record.slot}`;
    const { second, setBackFrom } = this.#world.postgres;
    for (const known of [record.from, ...ticks]) {
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
  #checkIssued(who: string, order: Order): void {
    const { lastEpoch } = this.#world.postgres;
    if (order.epoch > lastEpoch) throw new Violation(`${who}: claimed in an epoch after the last issued, ${lastEpoch}`);
    if (order.version > HIGHEST_HONEST) throw new Violation(`a forged version reached Postgres: ${order.version}`);
  }

  #of({ slot }: FenceRecord): SlotSeen {
    const seen = this.#slots[slot];
    if (seen === undefined) throw new Violation(`there is no slot ${slot}`);
    return seen;
  }
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
