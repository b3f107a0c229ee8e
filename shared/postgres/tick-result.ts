import type { SlotHolder } from './fence.ts';
import type { TickForm } from './fence-statements.ts';

/** What a tick of the fence is asked, and what it answers. */

/** A process that died during its round left slots one tick behind the others. */
export const ROUND_SPREAD_TICKS = 1;

export interface TickRequest extends SlotHolder {
  readonly tick: number;
  readonly slots: readonly number[];
  readonly lane?: string;
  /** @default false */
  readonly withBefore?: boolean;
  /** `over` and `careful` where rows are known to be locked, or to be bad. @default 'fast' */
  readonly form?: TickForm | 'careful';
  /** Slots with locked rows are stamped, and their locked rows skipped; else they stay unstamped. @default false */
  readonly isLast?: boolean;
  /** Ids of rows that are not tried. */
  readonly leftOut?: readonly string[];
  /** Slots whose rows are not tried: they are stamped only. */
  readonly leftOutSlots?: readonly number[];
  /** Ids of known bad rows that are tried again, apart from the others. */
  readonly onTrial?: readonly string[];
}

export interface TickResult {
  /** Slots that got this tick from this call; those without rows are left alone. */
  readonly stamped: number;
  /** Rows incremented. */
  readonly rows: number;
  /** Rows of all slots asked that were the worker's and had not had this tick, incremented or not. */
  readonly visible: number;
  /** XOR of a second hash of the visible rows' ids: a signed 64-bit integer as text, `0` for none. */
  readonly checksum: string;
  /** Rows of the stamped slots that got no increment, for whatever reason. They never get this one. */
  readonly missed: number;
  /** Those of them that another transaction had locked. */
  readonly skipped: number;
  /** Their ids, at most 100. */
  readonly skippedIds: readonly string[];
  /** Slots left unstamped because rows were locked: to be tried again. */
  readonly held: readonly number[];
  /** Slots for whose rows the time did not suffice: unstamped, and to be tried again, unless it was the last chance. */
  readonly undecided: readonly number[];
  /** How many rows each of them has. */
  readonly undecidedRows: readonly number[];
  /** Rows that cannot be written, found by this call. */
  readonly blocked: readonly BlockedRow[];
  /** Ids of those on trial that were incremented, or are gone. */
  readonly cleared: readonly string[];
  /** So many rows were withheld without an error. Only the careful form finds out which. */
  readonly withheld: number;
  /** Ids, at most 100, of the incremented rows that stand at NULL or 2147483647 now, and cannot count on. A NULL's has a hyphen before it. */
  readonly exhausted: readonly string[];
  readonly exhaustedCount: number;
  /** Of those, the ones that are NULL. */
  readonly nullCount: number;
  /** Slots asked whose fence names another worker, another process of this one, or nobody. */
  readonly lost: readonly number[];
  /** Slots asked that are the worker's, whose last tick is more than two above this one. */
  readonly ahead: readonly number[];
  /** The tick's number is more than two above the database's second: nothing was stamped. The caller's clock is wrong. */
  readonly isEarly: boolean;
  /** A later process of this worker has some of the slots asked. */
  readonly isSuperseded: boolean;
  /** Why the form asked for failed, and another one did it: rows stayed locked, or could not be written. Null: it did not. */
  readonly gaveWay: 'locks' | 'rows' | null;
  /** Of the slots stamped, what their last tick was before, and the rows ticked that can count on; only where it was asked for. */
  readonly before?: readonly SlotBefore[];
}

export interface BlockedRow {
  readonly id: string;
  readonly slot: number;
  /** Postgres' SQL state, or `WITHHELD_STATE`. */
  readonly state: string;
  /** Postgres' words, shortened. */
  readonly message: string;
}

export interface SlotBefore {
  readonly slot: number;
  /** Says nothing of how long the slot has had rows: an empty one is not stamped. */
  readonly lastTick: number;
  readonly rows: number;
}

/** Of a tick that met no locked and no bad row. */
export const NO_TROUBLE = {
  skipped: 0,
  skippedIds: [],
  held: [],
  undecided: [],
  undecidedRows: [],
  blocked: [],
  cleared: [],
  withheld: 0,
  gaveWay: null,
} satisfies Partial<TickResult>;
