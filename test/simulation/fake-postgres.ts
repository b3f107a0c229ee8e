import type { ClaimedSlot, ClaimResult, SlotHolder } from '../../shared/postgres/fence.ts';
import type { SlotBefore, TickRequest, TickResult } from '../../shared/postgres/tick-result.ts';
import { compareOrder, type Order } from '../../shared/ring/snapshot.ts';
import { FakeTable, type SavedTable } from './fake-table.ts';
import { RowsTried } from './fake-tick.ts';
import type { PostgresRecord } from './postgres-records.ts';

interface SlotRow {
  epoch: number;
  version: number;
  worker: string | null;
  incarnation: number | null;
  lastTick: number;
}

interface Stamp {
  /** World time. */
  readonly atMs: number;
  /** How many seconds its tick's number was behind the database's clock. */
  readonly late: number;
}

/** How far ahead of the clock a tick's number may lie. */
const AHEAD_TICKS = 2;

/** Of a statement's snapshot: rows that came later are not in it. */
export interface BegunTick {
  readonly second: number;
  readonly rows: ReadonlySet<string>;
}

interface Saved {
  readonly atMs: number;
  readonly records: number;
  readonly slots: readonly SlotRow[];
  readonly stamps: ReadonlyMap<number, { readonly before: Stamp | null; readonly newest: Stamp }>;
  readonly lastEpoch: number;
  readonly table: SavedTable;
}

/** As many states as a restore may go back to. */
const MOST_SAVED = 20;

/** Which of the fence's rules to break, to see whether the checkers notice. */
export type BrokenFence = 'none' | 'owner' | 'tick' | 'row' | 'claim-order';

/**
 * Postgres as the fence sees it: each statement is atomic and happens at one moment of world time. When it happens, and
 * whether the answer comes back, is the network's business.
 */
export class FakePostgres {
  readonly slots: SlotRow[];
  readonly table: FakeTable;
  /** Everything ever done to slots and rows, for the checkers: they do not trust the fence's own columns. */
  readonly records: PostgresRecord[] = [];
  isDown = false;
  /** It answers reads and refuses writes, as a standby or with its disk full. */
  isReadOnly = false;
  /** Database epoch ms minus world ms. */
  clockOffsetMs: number;
  /** When the clock was set forward, by world time, and by how many seconds. */
  readonly stepsForward: { readonly atMs: number; readonly seconds: number }[] = [];
  /** By slot: its newest stamp, and the one before. */
  readonly stamps = new Map<number, { readonly before: Stamp | null; readonly newest: Stamp }>();
  /** The highest second that the clock showed before it was set back; -Infinity: it never was. */
  setBackFrom = Number.NEGATIVE_INFINITY;
  /** When the clock was last set, by world time. */
  clockSetMs = Number.NEGATIVE_INFINITY;
  lastEpoch = 0;
  /** How often it went back to an earlier state. */
  restores = 0;
  #saved: Saved[] = [];
  readonly #worldMs: () => number;
  readonly #broken: BrokenFence;

  constructor(options: {
    readonly slots: number;
    readonly clockOffsetMs: number;
    readonly worldMs: () => number;
    readonly broken: BrokenFence;
  }) {
    this.slots = Array.from({ length: options.slots }, () => ({
      epoch: 0,
      version: 0,
      worker: null,
      incarnation: null,
      lastTick: 0,
    }));
    this.table = new FakeTable(options.slots, (row) => this.records.push({ kind: 'move', row }));
    this.clockOffsetMs = options.clockOffsetMs;
    this.#worldMs = options.worldMs;
    this.#broken = options.broken;
  }

  /** Epoch ms. */
  get clockMs(): number {
    return this.#worldMs() + this.clockOffsetMs;
  }

  /** How many rows each slot has. */
  get weights(): Float64Array {
    return this.table.rows.weights;
  }

  get second(): number {
    return Math.floor(this.clockMs / 1000);
  }

  setClock(byMs: number): void {
    this.clockSetMs = this.#worldMs();
    if (byMs > 0) this.stepsForward.push({ atMs: this.#worldMs(), seconds: Math.ceil(byMs / 1000) });
    if (byMs < 0) this.setBackFrom = Math.max(this.setBackFrom, this.second);
    this.clockOffsetMs += byMs;
  }

  claim(args: SlotHolder & { readonly order: Order; readonly slots: readonly number[] }): ClaimResult {
    if (args.order.epoch > this.lastEpoch) return { claimed: [], refused: [], lastEpoch: this.lastEpoch };
    const claimed: ClaimedSlot[] = [];
    const refused: number[] = [];
    let isSuperseded = false;
    const newest = this.#newestTicks(args);
    for (const slot of args.slots) {
      const row = this.#row(slot);
      if (isMine(row, args)) continue;
      isSuperseded ||= isSuccessors(row, args);
      if (!this.#isOpen(row, args)) {
        refused.push(slot);
        continue;
      }
      const isStanding = row.lastTick > 0 && row.lastTick >= (newest.get(row.worker ?? '') ?? Number.NaN) - 1;
      const { worker, incarnation } = args;
      const { epoch, version } = this.#isOlder(row, args.order) ? args.order : row;
      Object.assign(row, { epoch, version, worker, incarnation });
      this.records.push({ kind: 'claim', slot, order: { epoch, version }, worker, incarnation });
      claimed.push({ slot, lastTick: row.lastTick, isStanding });
    }
    return isSuperseded ? { claimed, refused, isSuperseded } : { claimed, refused };
  }

  /** `begun`: what a statement saw that had to wait since. */
  tick({ begun, ...args }: Omit<TickRequest, 'lane'> & { readonly begun: BegunTick | null }): TickResult {
    const { worker, incarnation } = args;
    const { second: shown, rows: seen } = begun ?? { second: this.second, rows: null };
    const tried = new RowsTried(this.table.rows, { ...args, seen });
    const before: SlotBefore[] = [];
    const lost: number[] = [];
    const ahead: number[] = [];
    let stamped = 0;
    let rows = 0;
    let missed = 0;
    const isEarly = args.tick > shown + AHEAD_TICKS;
    for (const slot of args.slots) {
      const row = this.#row(slot);
      if (!isMine(row, args) && this.#broken !== 'owner') {
        lost.push(slot);
        continue;
      }
      if (row.lastTick > args.tick + AHEAD_TICKS) ahead.push(slot);
      const weight = begun === null ? (this.weights[slot] ?? 0) : tried.of(slot).length;
      if (isEarly) continue;
      if (weight === 0 || (row.lastTick >= args.tick && this.#broken !== 'tick')) continue;
      const { isStamped, ticked: own } = tried.try(slot);
      if (!isStamped) continue;
      const ticked = this.#broken === 'row' ? [...own, ...tried.of((slot + 1) % this.slots.length)] : own;
      if (ticked.length > 0) before.push({ slot, lastTick: row.lastTick, rows: ticked.length });
      row.lastTick = args.tick;
      const newest = { atMs: this.#worldMs(), late: this.second - args.tick };
      this.stamps.set(slot, { before: this.stamps.get(slot)?.newest ?? null, newest });
      stamped += 1;
      rows += ticked.length;
      missed += weight - ticked.length;
      this.records.push({ kind: 'increment', slot, tick: args.tick, rows: ticked, shown, worker, incarnation });
    }
    const { held, undecided, undecidedRows, skippedIds, blocked, cleared, visible, checksum } = tried;
    const metLocks = held.length + skippedIds.length > 0;
    const { form = 'fast' } = args;
    const result: TickResult = {
      stamped,
      rows,
      visible,
      missed,
      skipped: skippedIds.length,
      skippedIds,
      held,
      undecided,
      undecidedRows,
      blocked,
      cleared,
      withheld: 0,
      gaveWay: form !== 'careful' && blocked.length > 0 ? 'rows' : form === 'fast' && metLocks ? 'locks' : null,
      checksum: String(checksum),
      exhausted: [],
      exhaustedCount: 0,
      nullCount: 0,
      lost,
      ahead,
      isEarly,
      isSuperseded: lost.some((slot) => isSuccessors(this.#row(slot), args)),
    };
    return args.withBefore === true ? { ...result, before } : result;
  }

  beginTick(): BegunTick {
    return { second: this.second, rows: new Set(this.table.rows.all.keys()) };
  }

  rebase(args: SlotHolder & { readonly slots: readonly number[] }): number {
    const { worker, incarnation } = args;
    const tick = this.second;
    let rebased = 0;
    for (const slot of args.slots) {
      const row = this.#row(slot);
      if (!isMine(row, args) || row.lastTick <= tick + AHEAD_TICKS) continue;
      this.records.push({ kind: 'rebase', slot, tick, from: row.lastTick, worker, incarnation });
      row.lastTick = tick;
      rebased += 1;
    }
    return rebased;
  }

  owned(holder: SlotHolder): number[] {
    return this.slots.flatMap((row, slot) => (isMine(row, holder) ? [slot] : []));
  }

  progress(): { readonly worker: string; readonly tick: number }[] {
    const ticks = new Map<string, number>();
    for (const { worker, lastTick } of this.slots) {
      if (worker === null || lastTick > this.second + AHEAD_TICKS) continue;
      ticks.set(worker, Math.max(lastTick, ticks.get(worker) ?? 0));
    }
    return [...ticks].map(([worker, tick]) => ({ worker, tick }));
  }

  newest(): Order | null {
    let newest: Order | null = null;
    for (const row of this.slots) if (newest === null || compareOrder(row, newest) > 0) newest = row;
    return newest === null || newest.epoch === 0 ? null : { epoch: newest.epoch, version: newest.version };
  }

  drawEpoch(above: number): number {
    this.lastEpoch = Math.max(this.lastEpoch, above) + 1;
    return this.lastEpoch;
  }

  /** A state that a restore may go back to. */
  save(): void {
    const { records, lastEpoch } = this;
    const slots = this.slots.map((row) => ({ ...row }));
    const stamps = new Map(this.stamps);
    const atMs = this.#worldMs();
    this.#saved.push({ atMs, records: records.length, slots, stamps, lastEpoch, table: this.table.save() });
    if (this.#saved.length > MOST_SAVED) this.#saved.shift();
  }

  /** Another server takes over, which lacks the newest commits. */
  restore(untilMs: number): void {
    const saved = this.#saved.findLast(({ atMs }) => atMs <= untilMs) ?? this.#saved[0];
    if (saved === undefined) return;
    this.#saved = this.#saved.filter(({ atMs }) => atMs <= saved.atMs);
    this.restores += 1;
    for (const [slot, row] of saved.slots.entries()) Object.assign(this.#row(slot), row);
    this.stamps.clear();
    for (const [slot, stamp] of saved.stamps) this.stamps.set(slot, stamp);
    this.lastEpoch = saved.lastEpoch;
    this.table.restore(saved.table);
    this.records.push({ kind: 'restored', records: saved.records });
  }

  changeRows(slot: number, delta: number): void {
    this.table.change(slot, delta);
  }

  /** The newest tick of each former owner, in the slots that a claim will take from it. */
  #newestTicks(
    args: SlotHolder & { readonly order: Order; readonly slots: readonly number[] },
  ): ReadonlyMap<string, number> {
    const newest = new Map<string, number>();
    for (const slot of args.slots) {
      const row = this.#row(slot);
      if (row.worker === null || isMine(row, args) || !this.#isOpen(row, args)) continue;
      newest.set(row.worker, Math.max(row.lastTick, newest.get(row.worker) ?? 0));
    }
    return newest;
  }

  /** Does a slot that is not its own yet pass to the holder? */
  #isOpen(row: SlotRow, args: SlotHolder & { readonly order: Order }): boolean {
    return row.worker === args.worker ? !isSuccessors(row, args) : this.#isOlder(row, args.order);
  }

  #isOlder(row: SlotRow, order: Order): boolean {
    return compareOrder(row, order) < 0 || this.#broken === 'claim-order';
  }

  #row(slot: number): SlotRow {
    const row = this.slots[slot];
    if (row === undefined) throw new Error(`no slot ${slot}`);
    return row;
  }
}

/** As `isOf` in `shared/postgres/fence-statements.ts`. */
function isMine(row: SlotRow, { worker, incarnation }: SlotHolder): boolean {
  return row.worker === worker && row.incarnation === incarnation;
}

function isSuccessors(row: SlotRow, { worker, incarnation }: SlotHolder): boolean {
  return row.worker === worker && (row.incarnation ?? 0) > incarnation;
}
