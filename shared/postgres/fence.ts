import type { QueryResultRow } from 'pg';
import { HIGHEST_HONEST } from '../ring/issued-order.ts';
import type { Order } from '../ring/snapshot.ts';
import type { Adoption } from './adoption.ts';
import { CAREFUL_TEXT } from './careful-tick.ts';
import type { PostgresLink } from './connection.ts';
import { mayBeOfRows, PostgresUnavailableError, stateOf } from './failure.ts';
import {
  CLAIM_TEXT,
  DRAW_INCARNATION_TEXT,
  FENCE_SETTINGS,
  OWNED_TEXT,
  REBASE_TEXT,
  readIdsText,
  TICK_SETTINGS,
  type TickForm,
  tickText,
} from './fence-statements.ts';
import { PruningHold } from './pruning-hold.ts';
import type { Statement } from './session.ts';
import type { TableNames } from './table.ts';
import { NO_TROUBLE, ROUND_SPREAD_TICKS, type SlotBefore, type TickRequest, type TickResult } from './tick-result.ts';
import { numberArray, textArray } from './types.ts';
import { UuidList } from './uuid-list.ts';

/** One process of a worker. Two of one id are two owners. */
export interface SlotHolder {
  readonly worker: string;
  /** Drawn once at the process's start; a later process of the same id has a higher one. */
  readonly incarnation: number;
}

export interface ClaimResult {
  /** Stamped as the worker's by this call; the last tick includes whatever the old owner had under way. */
  readonly claimed: readonly ClaimedSlot[];
  /** Another owner's stamp is newer than, or the same as, (epoch, version); or a later process of this worker has the slot. */
  readonly refused: readonly number[];
  /** Only where a later process of this worker has some of the slots. This process has been replaced: it gets none of them back. */
  readonly isSuperseded?: true;
  /** Only where Postgres never issued the claim's epoch, so that nothing was claimed: the last epoch that it did issue. */
  readonly lastEpoch?: number;
}

export interface ClaimedSlot {
  readonly slot: number;
  readonly lastTick: number;
  /** Last ticked in the former owner's last round, so it had rows then: it stands where the other slots claimed from it stand. */
  readonly isStanding: boolean;
}

export interface SlotOwner extends Order {
  readonly slot: number;
  readonly worker: string | null;
  readonly lastTick: number;
}

const IS_FORGED = `epoch > ${HIGHEST_HONEST} OR version > ${HIGHEST_HONEST}`;
/** What Postgres answers when a lock was not to be had in time, or when a deadlock chose this statement to give way. */
const GIVES_WAY = new Set(['55P03', '40P01']);

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
  readonly #tickStatement: (form: TickForm, withBefore: boolean) => Statement;
  readonly #readIdsText: string;
  readonly #pruning: PruningHold;

  constructor(link: PostgresLink, names: TableNames, adoption: Adoption) {
    this.#link = link;
    this.#tickStatement = makeTickStatements(names, adoption.slots);
    this.#readIdsText = readIdsText(names, adoption.slots);
    this.#pruning = new PruningHold(link);
  }

  /**
   * Stamps those of the slots that are not this process's yet and whose stamp is older, or names a former process of the worker.
   * Waits for the old owners' statements under way; after it they can no longer touch these slots.
   */
  async claim(
    args: SlotHolder & {
      readonly epoch: number;
      readonly version: number;
      readonly slots: readonly number[];
      readonly lane?: string;
    },
  ): Promise<ClaimResult> {
    const values = [numberArray(args.slots), args.worker, args.incarnation, args.epoch, args.version];
    const statement = { name: 'fence-claim', text: CLAIM_TEXT, values };
    type Row = {
      slots: number[];
      lastTicks: number[];
      formers: number[];
      refused: number[];
      isSuperseded: boolean;
      lastEpoch: number;
    };
    const row = await this.#one<Row>(args.lane ?? CLAIM_LANE, statement);
    const { slots, lastTicks, formers, refused, isSuperseded, lastEpoch } = row;
    const rounds = lastRounds(formers, lastTicks);
    const claimed = slots.map((slot, index) => {
      const lastTick = lastTicks[index]!;
      return {
        slot,
        lastTick,
        isStanding: lastTick > 0 && lastTick >= rounds.get(formers[index]!)! - ROUND_SPREAD_TICKS,
      };
    });
    return {
      claimed,
      refused,
      ...(isSuperseded && { isSuperseded }),
      ...(args.epoch > lastEpoch && { lastEpoch }),
    };
  }

  /**
   * Opens the connections that claims and ticks go by, and has their statements prepared there: neither shall wait for that
   * when it counts. Stamps nothing, and may be repeated.
   */
  async warm(holder: SlotHolder): Promise<void> {
    const nothing = { ...holder, tick: 0, slots: [] };
    await Promise.all([
      this.tick(nothing),
      this.readIds(nothing),
      this.claim({ ...holder, epoch: 0, version: 0, slots: [] }),
      this.tick({ ...nothing, lane: CLAIM_LANE }),
      this.tick({ ...nothing, lane: CLAIM_LANE, withBefore: true }),
      this.tick({ ...nothing, withBefore: true }),
    ]);
  }

  /**
   * Increments the rows of those of the slots that are this process's and have not had this tick or a later one. A form that fails
   * because of some rows was undone whole, and stamped no slot; the next slower one takes its place.
   */
  async tick(args: TickRequest): Promise<TickResult> {
    const { form = 'fast' } = args;
    if ((args.lane ?? TICK_LANE) !== TICK_LANE || form !== 'fast') return this.#tick(args, form);
    this.#pruning.begin(args.tick);
    try {
      return await this.#tick(args, form);
    } finally {
      this.#pruning.end();
    }
  }

  async #tick(args: TickRequest, form: TickForm | 'careful'): Promise<TickResult> {
    if (form === 'careful') return this.#tickCarefully(args);
    try {
      return await this.#tickAtOnce(args, form);
    } catch (error) {
      if (form === 'fast' && GIVES_WAY.has(stateOf(error) ?? '')) {
        return { ...(await this.#tick(args, 'over')), gaveWay: 'locks' };
      }
      // A trigger may wait for locks, too; and a locked table lets nothing through.
      if (!mayBeOfRows(error) && !GIVES_WAY.has(stateOf(error) ?? '')) throw error;
      try {
        return { ...(await this.#tickCarefully(args)), gaveWay: 'rows' };
      } catch (second) {
        // Otherwise it says no more than the first, or that the function is not there yet.
        throw second instanceof PostgresUnavailableError ? second : error;
      }
    }
  }

  async #tickAtOnce(args: TickRequest, form: TickForm): Promise<TickResult> {
    const values: unknown[] = [numberArray(args.slots), args.worker, args.incarnation, args.tick];
    if (form === 'over') values.push(...leavingOut(args), args.isLast ?? false);
    const statement = { ...this.#tickStatement(form, args.withBefore ?? false), values };
    type Row = TickResult & { readonly rowsBySlot?: Pairs; readonly lastTicks?: Pairs };
    const { rowsBySlot, lastTicks, ...row } = await this.#one<Row>(args.lane ?? TICK_LANE, statement);
    const result = { ...NO_TROUBLE, ...row };
    return rowsBySlot === undefined ? result : { ...result, before: joinBefore(rowsBySlot, new Map(lastTicks)) };
  }

  async #tickCarefully(args: TickRequest): Promise<TickResult> {
    const { worker, incarnation, tick, slots, onTrial = [], isLast = false } = args;
    const values = [numberArray(slots), worker, incarnation, tick, ...leavingOut(args), textArray(onTrial), isLast];
    const statement = { name: 'fence-tick-careful', text: CAREFUL_TEXT, values };
    const { result } = await this.#one<{ result: TickResult }>(args.lane ?? TICK_LANE, statement);
    return { ...NO_TROUBLE, ...result };
  }

  /**
   * Sets back to the database's second those of this process's slots that lie more than two ticks ahead of it: the database's
   * clock stepped back. @returns how many.
   */
  async rebase(args: SlotHolder & { readonly slots: readonly number[] }): Promise<number> {
    const values = [numberArray(args.slots), args.worker, args.incarnation];
    return (await this.#ask(CONTROL_LANE, { name: 'fence-rebase', text: REBASE_TEXT, values })).length;
  }

  /** The slots that the fence names this process for, ascending. */
  async owned({ worker, incarnation }: SlotHolder): Promise<number[]> {
    const statement = { name: 'fence-owned', text: OWNED_TEXT, values: [worker, incarnation] };
    return (await this.#ask<{ slot: number }>(CONTROL_LANE, statement)).map(({ slot }) => slot);
  }

  /** The slots that the fence names any process of this worker for, ascending. */
  async ownedBy(worker: string): Promise<number[]> {
    const text = 'SELECT slot FROM scaler.slot WHERE worker = $1 ORDER BY slot';
    const rows = await this.#ask<{ slot: number }>(CONTROL_LANE, { name: 'fence-owned-by', text, values: [worker] });
    return rows.map(({ slot }) => slot);
  }

  /** For a process that starts: higher than any that a slot names for this worker. */
  async drawIncarnation(worker: string): Promise<number> {
    const statement = { name: 'fence-draw-incarnation', text: DRAW_INCARNATION_TEXT, values: [worker] };
    return (await this.#one<{ incarnation: number }>(CONTROL_LANE, statement)).incarnation;
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
    const settings = lane === TICK_LANE || lane === CLAIM_LANE ? TICK_SETTINGS : FENCE_SETTINGS;
    return (await this.#link.query<Row>(lane, { ...statement, settings })).rows;
  }

  async #one<Row extends QueryResultRow>(lane: string, statement: Statement): Promise<Row> {
    return (await this.#ask<Row>(lane, statement))[0]!;
  }
}

/** The newest tick that each former owner made; nobody made none. */
function lastRounds(formers: readonly number[], lastTicks: readonly number[]): ReadonlyMap<number, number> {
  const newest = new Map<number, number>();
  formers.forEach((former, index) => {
    newest.set(former, former === 0 ? Number.POSITIVE_INFINITY : Math.max(lastTicks[index]!, newest.get(former) ?? 0));
  });
  return newest;
}

type Pairs = readonly (readonly [slot: number, of: number])[];

function joinBefore(rowsBySlot: Pairs, lastTicks: ReadonlyMap<number, number>): SlotBefore[] {
  return rowsBySlot
    .map(([slot, rows]) => ({ slot, rows, lastTick: lastTicks.get(slot)! }))
    .sort((a, b) => a.slot - b.slot);
}

function leavingOut({ leftOut = [], leftOutSlots = [] }: TickRequest): string[] {
  return [textArray(leftOut), numberArray(leftOutSlots)];
}

/** One name for each form, since a name is prepared with one text. */
function makeTickStatements(names: TableNames, slots: number): (form: TickForm, withBefore: boolean) => Statement {
  const make = (form: TickForm, withBefore: boolean): Statement => ({
    name: `fence-tick-${form}${withBefore ? '-before' : ''}`,
    text: tickText(names, slots, { form, withBefore }),
  });
  const forms = { fast: [make('fast', false), make('fast', true)], over: [make('over', false), make('over', true)] };
  return (form, withBefore) => forms[form][withBefore ? 1 : 0]!;
}
