import type { QueryResultRow } from 'pg';
import { HIGHEST_HONEST } from '../ring/issued-order.ts';
import type { Order } from '../ring/snapshot.ts';
import type { Adoption } from './adoption.ts';
import type { PostgresLink } from './connection.ts';
import { stateOf } from './failure.ts';
import { CLAIM_TEXT, FENCE_SETTINGS, REBASE_TEXT, readIdsText, type TickForm, tickText } from './fence-statements.ts';
import { PruningHold } from './pruning-hold.ts';
import type { Statement } from './session.ts';
import type { TableNames } from './table.ts';
import { numberArray } from './types.ts';
import { UuidList } from './uuid-list.ts';

export interface ClaimResult {
  /** Stamped as the worker's by this call; the last tick includes whatever the old owner had under way. */
  readonly claimed: readonly { readonly slot: number; readonly lastTick: number }[];
  /** Another owner's stamp is newer than, or the same as, (epoch, version). */
  readonly refused: readonly number[];
  /** Only where Postgres never issued the claim's epoch, so that nothing was claimed: the last epoch that it did issue. */
  readonly lastEpoch?: number;
}

export interface TickResult {
  /** Slots that got this tick from this call; those without rows are left alone. */
  readonly stamped: number;
  /** Rows incremented. */
  readonly rows: number;
  /** Rows of the stamped slots that got no increment, because another transaction had locked them. They never get this one. */
  readonly skipped: number;
  /** Their ids, at most 100. */
  readonly skippedIds: readonly string[];
  /** Their slots. */
  readonly skippedSlots: readonly number[];
  /** A locked row was waited for in vain, before the locked rows were passed over. */
  readonly isHeldUp: boolean;
  /** XOR of a second hash of the stamped slots' ids, incremented or skipped: a signed 64-bit integer as text, `0` for none. */
  readonly checksum: string;
  /** Ids, at most 100, of the incremented rows that stand at NULL or 2147483647 now, and cannot count on. */
  readonly exhausted: readonly string[];
  readonly exhaustedCount: number;
  /** Slots asked whose fence names another worker, or none. */
  readonly lost: readonly number[];
  /** Slots asked that are the worker's, whose last tick is more than two above this one. */
  readonly ahead: readonly number[];
  /** The tick's number is more than two above the database's second: nothing was stamped. The caller's clock is wrong. */
  readonly isEarly: boolean;
  /** Of the slots stamped, what their last tick was before, and their rows; only where it was asked for. */
  readonly before?: readonly SlotBefore[];
}

export interface SlotBefore {
  readonly slot: number;
  /** Says nothing of how long the slot has had rows: an empty one is not stamped. */
  readonly lastTick: number;
  readonly rows: number;
}

export interface SlotOwner extends Order {
  readonly slot: number;
  readonly worker: string | null;
  readonly lastTick: number;
}

const IS_FORGED = `epoch > ${HIGHEST_HONEST} OR version > ${HIGHEST_HONEST}`;
/** What Postgres answers when a lock was not to be had in time, or when a deadlock chose this statement to give way. */
const GIVES_WAY = new Set(['55P03', '40P01']);
const NOTHING_SKIPPED = { skipped: 0, skippedIds: [], skippedSlots: [] };

const CONTROL_LANE = 'control';
/** The claims', and that of the first ticks of what they gained. */
export const CLAIM_LANE = 'claim';
/** That of a worker's rounds. */
export const TICK_LANE = 'tick';

/**
 * Who may write, decided by Postgres alone. Every call is one statement in one short transaction of its own; each may be
 * repeated at will. All reject as `PostgresLink.query` does; after `PostgresUnavailableError` it is unknown whether the call took
 * effect, and repeating it is safe: a slot is stamped at most once per tick, and claimed at most once per (epoch, version).
 */
export class Fence {
  readonly #link: PostgresLink;
  readonly #tickStatement: (form: Required<TickForm>) => Statement;
  readonly #readIdsText: string;
  readonly #pruning: PruningHold;

  constructor(link: PostgresLink, names: TableNames, adoption: Adoption) {
    this.#link = link;
    this.#tickStatement = makeTickStatements(names, adoption.slots);
    this.#readIdsText = readIdsText(names, adoption.slots);
    this.#pruning = new PruningHold(link);
  }

  /**
   * Stamps those of the slots that are not the worker's yet and whose stamp is older. Waits for the old owners' statements
   * under way; after it they can no longer touch these slots.
   */
  async claim(args: {
    readonly worker: string;
    readonly epoch: number;
    readonly version: number;
    readonly slots: readonly number[];
    readonly lane?: string;
  }): Promise<ClaimResult> {
    const values = [numberArray(args.slots), args.worker, args.epoch, args.version];
    const statement = { name: 'fence-claim', text: CLAIM_TEXT, values };
    type Row = { slots: number[]; lastTicks: number[]; refused: number[]; lastEpoch: number };
    const { slots, lastTicks, refused, lastEpoch } = await this.#one<Row>(args.lane ?? CLAIM_LANE, statement);
    const claimed = slots.map((slot, index) => ({ slot, lastTick: lastTicks[index]! }));
    return args.epoch > lastEpoch ? { claimed, refused, lastEpoch } : { claimed, refused };
  }

  /**
   * Opens the connections that claims and ticks go by, and has their statements prepared there: neither shall wait for that
   * when it counts. Stamps nothing, and may be repeated.
   */
  async warm(worker: string): Promise<void> {
    const nothing = { worker, tick: 0, slots: [] };
    await Promise.all([
      this.tick(nothing),
      this.readIds(nothing),
      this.claim({ worker, epoch: 0, version: 0, slots: [] }),
      this.tick({ ...nothing, lane: CLAIM_LANE }),
      this.tick({ ...nothing, lane: CLAIM_LANE, withBefore: true }),
    ]);
  }

  /**
   * Increments the rows of those of the slots that are the worker's and have not had this tick or a later one. A row that another
   * transaction has locked is waited for briefly, and then skipped with all others that are locked.
   */
  async tick(args: {
    readonly worker: string;
    readonly tick: number;
    readonly slots: readonly number[];
    readonly lane?: string;
    /** @default false */
    readonly withBefore?: boolean;
    /** Waits for no row, at twice the cost: some are known to be locked. @default false */
    readonly passOver?: boolean;
  }): Promise<TickResult> {
    const values = [numberArray(args.slots), args.worker, args.tick];
    const { lane = TICK_LANE, withBefore = false, passOver = false } = args;
    const send = { lane, values, withBefore };
    if (lane !== TICK_LANE) return this.#tick({ ...send, passOver });
    this.#pruning.begin(args.tick);
    try {
      return await this.#tick({ ...send, passOver });
    } finally {
      this.#pruning.end();
    }
  }

  async #tick(args: {
    readonly lane: string;
    readonly values: readonly unknown[];
    readonly withBefore: boolean;
    readonly passOver: boolean;
  }): Promise<TickResult> {
    const { lane, values, withBefore } = args;
    const send = async (passOver: boolean, isHeldUp: boolean) => {
      const statement = { ...this.#tickStatement({ withBefore, passOver }), values };
      const row = await this.#one<TickResult & QueryResultRow>(lane, statement);
      return { ...NOTHING_SKIPPED, ...row, isHeldUp };
    };
    if (args.passOver) return send(true, false);
    try {
      return await send(false, false);
    } catch (error) {
      // It was undone whole: no slot is stamped.
      if (!GIVES_WAY.has(stateOf(error) ?? '')) throw error;
      return send(true, true);
    }
  }

  /**
   * Sets back to the database's second those of the worker's slots that lie more than two ticks ahead of it: the database's
   * clock stepped back. @returns how many.
   */
  async rebase(args: { readonly worker: string; readonly slots: readonly number[] }): Promise<number> {
    const values = [numberArray(args.slots), args.worker];
    return (await this.#ask(CONTROL_LANE, { name: 'fence-rebase', text: REBASE_TEXT, values })).length;
  }

  /** The slots that the fence names this worker for, ascending. */
  async owned(worker: string): Promise<number[]> {
    const text = 'SELECT slot FROM scaler.slot WHERE worker = $1 ORDER BY slot';
    const rows = await this.#ask<{ slot: number }>(CONTROL_LANE, { name: 'fence-owned', text, values: [worker] });
    return rows.map(({ slot }) => slot);
  }

  /** The highest honest (epoch, version) of any claim; null before the first. See `countForged`. */
  async newest(): Promise<Order | null> {
    const text = `SELECT epoch, version FROM scaler.slot WHERE epoch > 0 AND NOT (${IS_FORGED})
      ORDER BY epoch DESC, version DESC LIMIT 1`;
    const rows = await this.#ask<Order & QueryResultRow>(CONTROL_LANE, { name: 'fence-newest', text });
    return rows[0] ?? null;
  }

  /** How many slots carry an epoch or version that nobody can reach honestly. A later claim cannot order above them. */
  async countForged(): Promise<number> {
    const text = `SELECT count(*)::int AS slots FROM scaler.slot WHERE ${IS_FORGED}`;
    return (await this.#one<{ slots: number }>(CONTROL_LANE, { name: 'fence-count-forged', text })).slots;
  }

  /** All slots, ascending. */
  async owners(): Promise<SlotOwner[]> {
    const text = 'SELECT slot, epoch, version, worker, last_tick AS "lastTick" FROM scaler.slot ORDER BY slot';
    return this.#ask<SlotOwner & QueryResultRow>(CONTROL_LANE, { name: 'fence-owners', text });
  }

  /** The ids of the slots' rows, in ascending order. */
  async readIds({ slots }: { readonly slots: readonly number[] }): Promise<UuidList> {
    const statement = { name: 'fence-read-ids', text: this.#readIdsText, values: [numberArray(slots)] };
    return new UuidList((await this.#one<{ ids: Buffer }>('ids', statement)).ids);
  }

  /** The database's own clock, epoch ms with its fraction. */
  async measureClock(): Promise<{ readonly serverMs: number }> {
    const text = 'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS "serverMs"';
    return this.#one<{ serverMs: number }>(CONTROL_LANE, { name: 'fence-clock', text });
  }

  /** A leader's term: never drawn before, and above `above`. */
  async drawEpoch(above: number): Promise<number> {
    const statement = { name: 'fence-draw-epoch', text: 'SELECT scaler.draw_epoch($1) AS epoch', values: [above] };
    return (await this.#one<{ epoch: number }>(CONTROL_LANE, statement)).epoch;
  }

  /** The last epoch drawn; 0 before the first. */
  async lastEpoch(): Promise<number> {
    const statement = { name: 'fence-last-epoch', text: 'SELECT epoch FROM scaler.adoption' };
    return (await this.#one<{ epoch: number }>(CONTROL_LANE, statement)).epoch;
  }

  async #ask<Row extends QueryResultRow>(lane: string, statement: Statement): Promise<Row[]> {
    return (await this.#link.query<Row>(lane, { ...statement, settings: FENCE_SETTINGS })).rows;
  }

  async #one<Row extends QueryResultRow>(lane: string, statement: Statement): Promise<Row> {
    return (await this.#ask<Row>(lane, statement))[0]!;
  }
}

/** One name for each form, since a name is prepared with one text. */
function makeTickStatements(names: TableNames, slots: number): (form: Required<TickForm>) => Statement {
  const make = (name: string, form: TickForm): Statement => ({ name, text: tickText(names, slots, form) });
  const plain = make('fence-tick', {});
  const before = make('fence-tick-before', { withBefore: true });
  const over = make('fence-tick-over', { passOver: true });
  const overBefore = make('fence-tick-over-before', { passOver: true, withBefore: true });
  return ({ withBefore, passOver }) => {
    if (passOver) return withBefore ? overBefore : over;
    return withBefore ? before : plain;
  };
}
