import type { ClaimedSlot, ClaimResult, SlotHolder } from '../../shared/postgres/fence.ts';
import type { BlockedRow, SlotBefore, TickRequest, TickResult } from '../../shared/postgres/tick-result.ts';
import { compareOrder, type Order } from '../../shared/ring/snapshot.ts';

interface SlotRow {
  epoch: number;
  version: number;
  worker: string | null;
  incarnation: number | null;
  lastTick: number;
}

/** How far ahead of the clock a tick's number may lie. */
const AHEAD_TICKS = 2;
/** Bad rows that one tick statement has the time to find. */
const BAD_AT_ONCE = 2;

/** What happened to a slot; a re-basing is one after which later ticks may come again. */
export type FenceRecord = SlotHolder &
  (
    | { readonly kind: 'increment' | 'rebase'; readonly slot: number; readonly tick: number }
    | { readonly kind: 'claim'; readonly slot: number; readonly order: Order }
  );

/** Which of the fence's rules to break, to see whether the checkers notice. */
export type BrokenFence = 'none' | 'owner' | 'tick' | 'claim-order';

/**
 * Postgres as the fence sees it: each statement is atomic and happens at one moment of world time. When it happens, and
 * whether the answer comes back, is the network's business.
 */
export class FakePostgres {
  readonly slots: SlotRow[];
  readonly weights: Float64Array;
  /** Everything ever done to the slots, for the checkers: they do not trust the fence's own columns. */
  readonly records: FenceRecord[] = [];
  isDown = false;
  /** It answers reads and refuses writes, as a standby or with its disk full. */
  isReadOnly = false;
  /** Slots of which an application has locked one row. */
  readonly lockedSlots = new Set<number>();
  /** Slots of which one row cannot be written. */
  readonly badSlots = new Set<number>();
  /** Database epoch ms minus world ms. */
  clockOffsetMs: number;
  /** When the clock was set forward, by world time, and by how many seconds. */
  readonly stepsForward: { readonly atMs: number; readonly seconds: number }[] = [];
  /** By slot: when it was last stamped before its newest stamp, and then; world time. */
  readonly stamps = new Map<number, { readonly beforeMs: number | null; readonly atMs: number }>();
  /** The highest second that the clock showed before it was set back; -Infinity: it never was. */
  setBackFrom = Number.NEGATIVE_INFINITY;
  lastEpoch = 0;
  readonly #worldMs: () => number;
  readonly #broken: BrokenFence;
  /** How many table changes happened; stands for the Postgres snapshot. */
  #changes: { readonly slot: number; readonly delta: number }[] = [];

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
    this.weights = new Float64Array(options.slots);
    this.clockOffsetMs = options.clockOffsetMs;
    this.#worldMs = options.worldMs;
    this.#broken = options.broken;
  }

  /** Epoch ms. */
  get clockMs(): number {
    return this.#worldMs() + this.clockOffsetMs;
  }

  get second(): number {
    return Math.floor(this.clockMs / 1000);
  }

  setClock(byMs: number): void {
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

  /** One row of each slot may be locked or bad; its id is `row-of-` and the slot's number. */
  tick(args: Omit<TickRequest, 'lane'>): TickResult {
    const { worker, incarnation } = args;
    const found = { stamped: 0, rows: 0, visible: 0, missed: 0, skippedIds: [] as string[], held: [] as number[] };
    const undecided: number[] = [];
    const blocked: BlockedRow[] = [];
    const cleared: string[] = [];
    const before: SlotBefore[] = [];
    const lost: number[] = [];
    const ahead: number[] = [];
    let checksum = 0n;
    const isLast = args.isLast === true;
    const isEarly = args.tick > this.second + AHEAD_TICKS;
    for (const slot of args.slots) {
      const row = this.#row(slot);
      if (!isMine(row, args) && this.#broken !== 'owner') {
        lost.push(slot);
        continue;
      }
      if (row.lastTick > args.tick + AHEAD_TICKS) ahead.push(slot);
      const weight = this.weights[slot] ?? 0;
      if (isEarly) continue;
      if (weight === 0 || (row.lastTick >= args.tick && this.#broken !== 'tick')) continue;
      found.visible += weight;
      checksum ^= BigInt(slot * 65_537 + weight);
      const id = `row-of-${slot}`;
      const isPaused = args.leftOutSlots?.includes(slot) === true;
      const isOut = isPaused || args.leftOut?.includes(id) === true;
      const isLocked = this.lockedSlots.has(slot) && !isOut;
      const isBad = this.badSlots.has(slot) && !isOut && !isLocked;
      // The time suffices for a few bad rows.
      const isCutShort = isBad && blocked.length >= BAD_AT_ONCE;
      if (isCutShort) undecided.push(slot);
      if (isLocked && !isLast) found.held.push(slot);
      if (!isLast && (isLocked || isCutShort)) continue;
      if (isLocked) found.skippedIds.push(id);
      if (isBad && !isCutShort) blocked.push({ id, slot, state: '23514', message: 'violates a check constraint' });
      if (!isBad && !isLocked && args.onTrial?.includes(id) === true) cleared.push(id);
      const missed = isPaused ? weight : isOut || isLocked || isBad ? 1 : 0;
      if (weight > missed) before.push({ slot, lastTick: row.lastTick, rows: weight - missed });
      row.lastTick = args.tick;
      this.stamps.set(slot, { beforeMs: this.stamps.get(slot)?.atMs ?? null, atMs: this.#worldMs() });
      found.stamped += 1;
      found.rows += weight - missed;
      found.missed += missed;
      this.records.push({ kind: 'increment', slot, tick: args.tick, worker, incarnation });
    }
    const metLocks = found.held.length + found.skippedIds.length > 0;
    const metBad = blocked.length > 0;
    const { form = 'fast' } = args;
    const result: TickResult = {
      ...found,
      skipped: found.skippedIds.length,
      undecided,
      undecidedRows: undecided.map((slot) => this.weights[slot] ?? 0),
      blocked,
      cleared,
      withheld: 0,
      gaveWay: form !== 'careful' && metBad ? 'rows' : form === 'fast' && metLocks ? 'locks' : null,
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

  rebase(args: SlotHolder & { readonly slots: readonly number[] }): number {
    const { worker, incarnation } = args;
    const tick = this.second;
    let rebased = 0;
    for (const slot of args.slots) {
      const row = this.#row(slot);
      if (!isMine(row, args) || row.lastTick <= tick + AHEAD_TICKS) continue;
      row.lastTick = tick;
      this.records.push({ kind: 'rebase', slot, tick, worker, incarnation });
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

  changeRows(slot: number, delta: number): void {
    const applied = Math.max(delta, -(this.weights[slot] ?? 0));
    if (applied === 0) return;
    this.weights[slot] = (this.weights[slot] ?? 0) + applied;
    this.#changes.push({ slot, delta: applied });
  }

  count() {
    const weights = this.weights.slice();
    const rows = weights.reduce((sum, weight) => sum + weight, 0);
    return { weights, rows, at: String(this.#changes.length), connection: 'only' };
  }

  changesSince(at: string) {
    const deltas = this.#changes.slice(Number(at));
    const added = deltas.reduce((sum, { delta }) => sum + Math.max(0, delta), 0);
    const removed = deltas.reduce((sum, { delta }) => sum + Math.max(0, -delta), 0);
    return { deltas, added, removed, at: String(this.#changes.length), recount: false, connection: 'only' };
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
