import type { TroubleReport } from '../../shared/machine/trouble.ts';
import type { Liveness } from '../../shared/nats/liveness.ts';
import type { RingApplied } from '../../shared/nats/ring-applied.ts';
import type { ClaimResult } from '../../shared/postgres/fence.ts';
import type { TickResult } from '../../shared/postgres/tick-result.ts';
import type { Order, Snapshot } from '../../shared/ring/snapshot.ts';
import type { BlockedChange, BlockedCounts } from './blocked-rows.ts';

/** What never changes in a worker's life. */
export interface WorkerConfig {
  readonly id: string;
  /** ISO time of the process's start; with the id it tells two processes of one id apart. */
  readonly startedAt: string;
  /** The same for the fence, drawn from Postgres: of two processes of one id the later has the higher. */
  readonly incarnation: number;
  readonly heartbeatMs: number;
  readonly leaseTtlMs: number;
  /** Where in the second this worker's round begins, 0–999 ms, spread by id so that Postgres is loaded evenly. */
  readonly phaseMs: number;
  /** Rows that one tick statement aims at: short transactions keep the table HOT-updatable. */
  readonly chunkRows: number;
  /** For people who look where the leader is. @default none */
  readonly natsPrefix?: string;
  /** How long a planned leave may take before the worker goes anyway, ms. */
  readonly graceMs: number;
}

/**
 * Which statement a tick belongs to: the second's round, slots just gained, slots given away but not yet taken, or slots that the
 * round left unstamped.
 */
export type TickLane = 'round' | 'gained' | 'lingering' | 'held';

/** `shared/postgres/fence.ts` says what each does. */
export type TickForm = 'fast' | 'over' | 'careful';

/** Options of a tick statement; defaults are omitted. */
export interface TickManner {
  /** @default 'fast' */
  readonly form?: TickForm;
  /** @default false */
  readonly isLast?: boolean;
  readonly leftOut?: readonly string[];
  readonly leftOutSlots?: readonly number[];
  readonly onTrial?: readonly string[];
}

/** Ascending. Texts are made of those that are printed, and of no others. */
export type Ids = Pick<readonly string[], 'length' | 'slice'>;

export type WorkerEvent =
  | { readonly kind: 'wake' }
  /** The monotonic clock did not count some time, or may not have: the machine was paused, or a clock was set. */
  | { readonly kind: 'pause-noticed' }
  /** Reason: why NATS could not say; left out where it did. */
  | {
      readonly kind: 'identity-checked';
      readonly outcome: 'free' | 'held' | 'unclear';
      readonly reason?: string;
    }
  | {
      readonly kind: 'clock-measured';
      readonly serverMs: number;
      readonly sentMs: number;
      readonly receivedMs: number;
      /** By a clock of the host that counts suspensions, and that nobody sets; it tells a pause from a step of the database's clock. */
      readonly hostMs?: number;
    }
  | { readonly kind: 'clock-failed'; readonly reason?: string }
  | { readonly kind: 'renewed' }
  | { readonly kind: 'renewal-failed'; readonly reason?: string }
  | { readonly kind: 'renewal-taken' }
  | { readonly kind: 'key-removed'; readonly removed: boolean; readonly reason?: string }
  | { readonly kind: 'snapshot-received'; readonly snapshot: Snapshot }
  /** Sequence: the message's place in the stream. */
  | { readonly kind: 'newest-read'; readonly snapshot: Snapshot | null; readonly sequence?: number }
  | { readonly kind: 'newest-failed'; readonly reason?: string }
  /** Issued null: Postgres did not answer. Version null: it was not asked for. */
  | {
      readonly kind: 'issued-read';
      readonly issued: { readonly epoch: number; readonly version: number | null } | null;
      readonly reason?: string;
    }
  | { readonly kind: 'claimed'; readonly order: Order; readonly result: ClaimResult }
  | { readonly kind: 'claim-failed'; readonly order: Order; readonly reason: string }
  | {
      readonly kind: 'ticked';
      readonly lane: TickLane;
      readonly tick: number;
      readonly slots: readonly number[];
      /** @default false */
      readonly isLast?: boolean;
      readonly result: TickResult;
    }
  | {
      readonly kind: 'tick-failed';
      readonly lane: TickLane;
      readonly tick: number;
      readonly slots: readonly number[];
      readonly reason: string;
    }
  | { readonly kind: 'rebased'; readonly slots: number }
  | { readonly kind: 'rebase-failed'; readonly reason: string }
  /** Tick: of the round that asked. */
  | { readonly kind: 'ids-read'; readonly tick: number; readonly ids: Ids }
  | { readonly kind: 'ids-failed'; readonly tick: number; readonly reason?: string }
  | { readonly kind: 'owned-read'; readonly slots: readonly number[] | null; readonly reason?: string }
  | { readonly kind: 'disconnected' | 'reconnected' }
  | { readonly kind: 'drain-requested' | 'undrain-requested' }
  | { readonly kind: 'leave-requested' };

export type WorkerEffect =
  /** Is another living process using this id? Nothing else happens before the answer. */
  | { readonly kind: 'check-identity' }
  /** My id is free: from now on probes of it are answered. */
  | { readonly kind: 'serve-probe' }
  | { readonly kind: 'measure-clock' }
  | { readonly kind: 'renew'; readonly value: Liveness }
  | { readonly kind: 'remove-key' }
  | { readonly kind: 'read-newest' }
  /** The last epoch that Postgres issued and, where asked for, the version of its newest claim. */
  | { readonly kind: 'read-issued'; readonly withVersion: boolean }
  | { readonly kind: 'claim'; readonly order: Order; readonly slots: readonly number[] }
  | ({
      readonly kind: 'tick';
      readonly lane: TickLane;
      readonly tick: number;
      readonly slots: readonly number[];
      /** Asks what the slots stood at, to count what they missed. Slots just gained, or held, are always asked. @default false */
      readonly withBefore?: boolean;
    } & TickManner)
  | { readonly kind: 'rebase'; readonly slots: readonly number[] }
  | { readonly kind: 'read-ids'; readonly tick: number; readonly slots: readonly number[] }
  | { readonly kind: 'read-owned' }
  | { readonly kind: 'tell-applied'; readonly applied: RingApplied }
  | { readonly kind: 'report'; readonly report: WorkerReport }
  /** The last effect of a worker's life. */
  | { readonly kind: 'stop'; readonly code: 0 | 1; readonly reason: string };

/** What a worker asks, by the name that logs and `/readyz` give it. */
export type Server = 'Postgres' | 'NATS';

/** What a person or a metric is told; none of it changes what happens. */
export type WorkerReport =
  | {
      readonly kind: 'watching';
      readonly tick: number;
      readonly ring: number;
      readonly ids: Ids;
      readonly isChanged: boolean;
      readonly tookMs: number;
    }
  | {
      readonly kind: 'ring-applied';
      readonly snapshot: Snapshot;
      /** In slots. */
      readonly gained: number;
      readonly lost: number;
      readonly rows: number;
      readonly tookMs: number;
    }
  | { readonly kind: 'registered' }
  | { readonly kind: 'identity-unclear' }
  /** Missed: row-seconds. Seconds: of the longest gap. */
  | { readonly kind: 'ticks-missed'; readonly missed: number; readonly rows: number; readonly seconds: number }
  /** Rows of ticked slots that missed the tick; `skipped` of them because other transactions had locked them. */
  | { readonly kind: 'rows-missed'; readonly count: number; readonly skipped: number }
  | ({ readonly kind: 'blocked-rows' } & BlockedChange)
  | { readonly kind: 'blocked-counted'; readonly counts: BlockedCounts }
  | { readonly kind: 'slots-lost'; readonly slots: readonly number[]; readonly ring: number }
  | { readonly kind: 'claims-refused'; readonly slots: readonly number[]; readonly ring: number }
  | {
      readonly kind: 'snapshot-rejected';
      readonly epoch: number;
      readonly version: number;
      /** Null: heard by the plain subscription. */
      readonly sequence: number | null;
      readonly reason: string;
      readonly isRepeated: boolean;
    }
  | { readonly kind: 'failed'; readonly what: 'claim' | 'tick'; readonly reason: string }
  | (TroubleReport & { readonly server: Server })
  | { readonly kind: 'tick-early'; readonly tick: number }
  | { readonly kind: 'rebased'; readonly slots: number }
  | { readonly kind: 'drained' | 'undrained' }
  | { readonly kind: 'leaving' }
  | { readonly kind: 'grace-over'; readonly slots: number };
