import { isDeepStrictEqual } from 'node:util';
import { HIGHEST_HONEST } from '../../shared/ring/issued-order.ts';
import { PHASES, type Recovery } from '../../shared/ring/recovery.ts';
import { compareOrder, type Order } from '../../shared/ring/snapshot.ts';
import { GuardChecks } from './guard-checks.ts';
import type { LastingRecord, PostgresRecord } from './postgres-records.ts';
import { RowChecks } from './row-checks.ts';
import { SlotChecks } from './slot-checks.ts';
import { Violation } from './violation.ts';
import type { World } from './world.ts';

/**
 * What must hold after every single step, whatever the faults: no slot and no row is incremented twice for one tick, nor by anyone
 * but its last claimant, nor by a process in turn with its successor, no claim is older than the one before, every snapshot that the stream took is ordered, even and minimal,
 * and what the guards promise (`GuardChecks`).
 */
export class StepChecks {
  readonly #world: World;
  #seenRecords = 0;
  #seenSnapshots = 0;
  #seenRecoveries = 0;
  readonly #recovered = new Set<string>();
  /** Their history, without what a restore of Postgres undid. */
  readonly #history: { readonly record: LastingRecord; readonly index: number }[] = [];
  #slots: SlotChecks;
  readonly rows: RowChecks;
  readonly #guards: GuardChecks;

  constructor(world: World) {
    this.#world = world;
    this.#slots = new SlotChecks(world);
    this.rows = new RowChecks(world);
    this.#guards = new GuardChecks(world);
  }

  check(): void {
    const { records, lastEpoch } = this.#world.postgres;
    if (lastEpoch > HIGHEST_HONEST) throw new Violation(`a forged epoch reached Postgres: ${lastEpoch}`);
    for (; this.#seenRecords < records.length; this.#seenRecords += 1) {
      const record = records[this.#seenRecords];
      if (record !== undefined) this.#note(record, this.#seenRecords);
    }
    this.#guards.check();
    const { accepted, recoveries } = this.#world;
    for (; this.#seenSnapshots < accepted.length; this.#seenSnapshots += 1) this.#checkSnapshot(this.#seenSnapshots);
    for (; this.#seenRecoveries < recoveries.length; this.#seenRecoveries += 1) {
      const recovery = recoveries[this.#seenRecoveries];
      if (recovery !== undefined) this.#checkRecovery(recovery);
    }
  }

  #note(record: PostgresRecord, index: number): void {
    if (record.kind === 'restored') return this.#goBack(record.records);
    if (record.kind !== 'move') this.#slots.check(record);
    this.#apply(record);
    this.#history.push({ record, index });
  }

  #apply(record: LastingRecord): void {
    if (record.kind !== 'move') this.#slots.apply(record);
    this.rows.apply(record);
  }

  /** Postgres knows only the first so many records any more: what came after them may come again, and nothing else. */
  #goBack(records: number): void {
    const kept = this.#history.findIndex(({ index }) => index >= records);
    if (kept >= 0) this.#history.length = kept;
    this.#slots = new SlotChecks(this.#world);
    this.rows.forget();
    for (const { record } of this.#history) this.#apply(record);
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

  #checkSnapshot(index: number): void {
    const { accepted } = this.#world;
    const { snapshot, heaviest: heaviestSlot } = accepted[index] ?? {};
    const before = accepted[index - 1]?.snapshot;
    if (snapshot === undefined || heaviestSlot === undefined) return;
    const name = `snapshot (${snapshot.epoch}, ${snapshot.version})`;
    // One that the stream lost is put back as it was.
    if (before !== undefined && isDeepStrictEqual(snapshot, before)) return;
    if (before !== undefined && compareOrder(snapshot, before) <= 0) {
      throw new Violation(`${name} was accepted after (${before.epoch}, ${before.version})`);
    }
    if (snapshot.cause.kind === 'leader-changed') return;
    const { moved } = snapshot;
    // Slots of several rows cannot be split: each worker may be off by one slot's rows.
    const heaviest = heaviestSlot + 1;
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

function format({ epoch, version }: Order): string {
  return `(${epoch}, ${version})`;
}
