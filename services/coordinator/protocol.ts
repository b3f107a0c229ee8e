import type { TroubleReport } from '../../shared/machine/trouble.ts';
import type { LeaderEntry } from '../../shared/nats/leadership-bucket.ts';
import type { Liveness } from '../../shared/nats/liveness.ts';
import type { LivenessEntry } from '../../shared/nats/liveness-bucket.ts';
import type { RingApplied } from '../../shared/nats/ring-applied.ts';
import type { AdoptionVerdict } from '../../shared/postgres/adoption-check.ts';
import type { Recovery } from '../../shared/ring/recovery.ts';
import type { Evidence, Order, Snapshot } from '../../shared/ring/snapshot.ts';

/** What never changes in a coordinator's life. */
export interface CoordinatorConfig {
  readonly id: string;
  readonly startedAt: string;
  readonly slots: number;
  readonly leaseTtlMs: number;
  readonly heartbeatMs: number;
  /** Wall epoch ms minus monotonic ms at the start: only for times that people read. */
  readonly wallOffsetMs: number;
}

export type MemberChange =
  | { readonly kind: 'joined'; readonly worker: string }
  | { readonly kind: 'left'; readonly worker: string; readonly evidence: Evidence };

/** What taking office brings: all that a leader must know to plan. */
export interface Office {
  /** This term's number: newly drawn, or the lapsed term's own where nobody was elected since. */
  readonly epoch: number;
  /** The stream's newest; sequence 0 and null where it holds none. */
  readonly newest: { readonly sequence: number; readonly snapshot: Snapshot | null };
  /** The fence's highest order and the owners it names, for when the stream was lost. */
  readonly fence: { readonly order: Order | null; readonly owners: readonly (string | null)[] };
  readonly table: TableSize;
  readonly members: readonly LivenessEntry[];
  /** What does not fit the epochs that Postgres issued. */
  readonly oddities?: OfficeOddities;
}

export interface OfficeOddities {
  /** The stream's newest, where it is left out of `newest`. */
  readonly rejected: RejectedSnapshot | null;
  /** The last epoch that Postgres had issued, where the stream or the fence held a higher one that the new one is above. */
  readonly raisedFrom: number | null;
  /** Slots whose claims carry an order that nobody can reach: no later claim orders above them. */
  readonly forgedSlots: number;
}

export interface RejectedSnapshot extends Order {
  readonly sequence: number;
  readonly reason: string;
}

export interface TableSize {
  /** Rows per slot. */
  readonly weights: Float64Array;
  readonly rows: number;
  /** The Postgres snapshot this is as of: changes not visible in it are still to be added. */
  readonly at: string;
  /** Names the connection that changes were to be polled over when the table was counted. */
  readonly connection: string;
}

export interface TableChange {
  readonly deltas: readonly { readonly slot: number; readonly delta: number }[];
  readonly added: number;
  readonly removed: number;
  readonly at: string;
  /** The table was truncated: deltas cannot tell, count it again. */
  readonly recount: boolean;
  /** Names the connection that this was polled over: another one may lead to another server. */
  readonly connection: string;
  /** How long reading it took, without the wait for it. */
  readonly readMs: number;
}

/**
 * What was reported since the count contradicts it; the table was truncated, of which deltas cannot tell; or the connection
 * is another one, so that nothing is known of what happened since; or the workers see another number of rows.
 */
export type CountDoubt = 'contradicted' | 'truncated' | 'reconnected' | 'workers-differ';

/** Some: one batch was not enough. */
export type PruneOutcome = 'all' | 'some' | 'failed';

/** What the fence says of the workers' ticks. */
export interface FenceProgress {
  /** The newest tick of each worker's slots, where it has any. */
  readonly ticks: readonly { readonly worker: string; readonly tick: number }[];
  /** The workers whose rows were asked for. */
  readonly asked: readonly string[];
  /** Those of them whose slots have no rows. */
  readonly idle: readonly string[];
}

export type ProbeAnswer =
  | { readonly kind: 'answered'; readonly value: Liveness | null }
  | { readonly kind: 'no-responders' }
  | { readonly kind: 'timeout' };

export type WriteOutcome =
  | { readonly kind: 'won'; readonly revision: number }
  | { readonly kind: 'refused' }
  | { readonly kind: 'failed'; readonly reason?: string };

/** What a coordinator needs, by the name that logs and `/readyz` give it. */
export type Dependency = 'Postgres' | 'NATS' | 'table';

export type MendOutcome =
  /** `slots`: what it is adopted with now. */
  | { readonly kind: 'mended'; readonly what: 'schema' | 'equipment'; readonly slots: number }
  /** Somebody must do what the reason says. */
  | { readonly kind: 'refused'; readonly reason: string }
  /** Postgres did not answer. */
  | { readonly kind: 'failed'; readonly reason: string };

export type CoordinatorEvent =
  | { readonly kind: 'wake' }
  // leadership
  | { readonly kind: 'leader-observed'; readonly entry: LeaderEntry | null }
  | { readonly kind: 'leader-read'; readonly entry: LeaderEntry | null }
  | { readonly kind: 'leader-read-failed'; readonly reason?: string }
  | { readonly kind: 'leader-written'; readonly sentMs: number; readonly outcome: WriteOutcome }
  | { readonly kind: 'leader-probed'; readonly leader: string; readonly answer: ProbeAnswer }
  | { readonly kind: 'office-ready'; readonly attempt: number; readonly office: Office }
  /** From: whose failure it is. @default Postgres */
  | {
      readonly kind: 'office-failed';
      readonly attempt: number;
      readonly reason: string;
      readonly from?: 'Postgres' | 'NATS';
    }
  // membership
  | { readonly kind: 'worker-heard'; readonly value: Liveness }
  | { readonly kind: 'worker-stored'; readonly worker: string; readonly revision: number }
  /** Revision null: heard by the plain subscription. */
  | { readonly kind: 'worker-removed'; readonly worker: string; readonly revision: number | null }
  /** Entries null: the read failed. */
  | { readonly kind: 'members-read'; readonly entries: readonly LivenessEntry[] | null; readonly reason?: string }
  | { readonly kind: 'worker-probed'; readonly worker: string; readonly answer: ProbeAnswer }
  /** From the system account: a client of this name, a worker or a coordinator, lost its connection. May be late or doubled. */
  | { readonly kind: 'connection-closed'; readonly client: string }
  /** Whether each lost connection is told of so, for certain. */
  | { readonly kind: 'disconnects-certain'; readonly isCertain: boolean }
  | {
      readonly kind: 'key-read';
      readonly worker: string;
      readonly outcome: { readonly entry: LivenessEntry | null } | 'failed';
      readonly reason?: string;
    }
  | {
      readonly kind: 'key-deleted';
      readonly worker: string;
      readonly outcome: 'deleted' | 'changed' | 'failed';
      readonly reason?: string;
    }
  /** Progress null: the read failed. */
  | { readonly kind: 'progress-read'; readonly progress: FenceProgress | null; readonly reason?: string }
  // table
  | { readonly kind: 'table-counted'; readonly table: TableSize | null; readonly reason?: string }
  /** Since which Postgres snapshot was asked; change null: the read failed. */
  | {
      readonly kind: 'table-changed';
      readonly since: string;
      readonly change: TableChange | null;
      readonly reason?: string;
    }
  /** Up to which Postgres snapshot was to be pruned. */
  | { readonly kind: 'table-pruned'; readonly at: string; readonly outcome: PruneOutcome }
  /** Verdict null: Postgres did not answer. */
  | { readonly kind: 'table-checked'; readonly verdict: AdoptionVerdict | null; readonly reason?: string }
  | { readonly kind: 'table-mended'; readonly outcome: MendOutcome }
  // publishing
  | { readonly kind: 'snapshot-published'; readonly sequence: number; readonly order: Order }
  | { readonly kind: 'snapshot-refused'; readonly order: Order; readonly reason: string }
  | { readonly kind: 'snapshot-failed'; readonly order: Order; readonly reason: string }
  /** A message on the snapshots' subject, stored or not. Order null: it is no snapshot. */
  | { readonly kind: 'snapshot-heard'; readonly order: Order | null }
  /** Newest null: the stream could not be read; lastEpoch null: the last epoch issued, read after it, could not. */
  | {
      readonly kind: 'newest-read';
      readonly newest: Office['newest'] | null;
      readonly lastEpoch: number | null;
      readonly reasons?: { readonly newest?: string; readonly lastEpoch?: string };
    }
  /** A worker has taken over what a snapshot gave it. */
  | { readonly kind: 'ring-applied'; readonly applied: RingApplied }
  // connection and life
  | { readonly kind: 'disconnected' | 'reconnected' }
  | { readonly kind: 'leave-requested' };

export type CoordinatorEffect =
  | { readonly kind: 'read-leader' }
  /** Revision null: create, the key must not exist; else replace exactly that revision. */
  | { readonly kind: 'write-leader'; readonly epoch: number; readonly revision: number | null }
  | { readonly kind: 'remove-leader'; readonly revision: number }
  | { readonly kind: 'probe-leader'; readonly leader: string }
  /** Draws an epoch, unless `lapsedEpoch` is still the last one drawn and the newest published; reads all an office needs. */
  | { readonly kind: 'take-office'; readonly attempt: number; readonly lapsedEpoch: number | null }
  | { readonly kind: 'read-members' }
  | { readonly kind: 'probe-worker'; readonly worker: string }
  | { readonly kind: 'read-key'; readonly worker: string }
  | { readonly kind: 'delete-key'; readonly worker: string; readonly revision: number }
  /** Of those listed it is also asked whether their slots have rows. */
  | {
      readonly kind: 'read-progress';
      readonly asked: readonly { readonly worker: string; readonly slots: readonly number[] }[];
    }
  | { readonly kind: 'count-table' }
  /** Is what was adopted still there? */
  | { readonly kind: 'check-table' }
  /** Adopts the table again. `above`: the highest epoch known; a new schema is to issue none that is not higher. */
  | { readonly kind: 'mend-table'; readonly what: 'schema' | 'equipment'; readonly above: number }
  | { readonly kind: 'read-changes'; readonly since: string }
  /**
   * Deletes a batch of the changes that are visible in `at` and not in `after` (null: all that are visible in `at`), unless a
   * later epoch was drawn, whose leader may not have read them, or the connection is another one.
   */
  | {
      readonly kind: 'prune-changes';
      readonly after: string | null;
      readonly at: string;
      readonly epoch: number;
      readonly connection: string;
    }
  | { readonly kind: 'publish-size'; readonly rows: number; readonly added: number; readonly removed: number }
  | { readonly kind: 'publish-snapshot'; readonly snapshot: Snapshot; readonly expectedSequence: number }
  | { readonly kind: 'read-newest' }
  | { readonly kind: 'publish-recovery'; readonly recovery: Recovery }
  | { readonly kind: 'report'; readonly report: CoordinatorReport }
  | { readonly kind: 'stop'; readonly code: 0 | 1; readonly reason: string };

export type CoordinatorReport =
  | {
      readonly kind: 'leading';
      readonly epoch: number;
      readonly isResumed: boolean;
      readonly workers: number;
      readonly rows: number;
    }
  | { readonly kind: 'stepped-down'; readonly reason: string }
  | { readonly kind: 'office-failed'; readonly reason: string }
  | { readonly kind: 'member-changed'; readonly change: MemberChange }
  | { readonly kind: 'member-suspected'; readonly worker: string; readonly evidence: Evidence }
  | { readonly kind: 'member-cleared'; readonly worker: string; readonly evidence: Evidence }
  | { readonly kind: 'table-resized'; readonly rows: number; readonly added: number; readonly removed: number }
  /** The row count cannot be right, and the table will be counted again. */
  | { readonly kind: 'count-doubted'; readonly reason: CountDoubt }
  | { readonly kind: 'published'; readonly snapshot: Snapshot }
  | { readonly kind: 'publish-failed'; readonly reason: string }
  /** What nothing waits for was done, as counted changes deleted; reason: why not. */
  | {
      readonly kind: 'aside';
      readonly what: 'prune' | 'publish-size' | 'publish-recovery' | 'remove-leader';
      readonly reason: string | null;
    }
  | { readonly kind: 'table-mended'; readonly what: 'schema' | 'equipment' }
  | (TroubleReport & { readonly server: Dependency })
  | { readonly kind: 'snapshot-rejected'; readonly snapshot: RejectedSnapshot }
  /** Its order can be honest, but this leader did not publish it: the ring in force is published again, above it. */
  | {
      readonly kind: 'snapshot-overruled';
      readonly epoch: number;
      readonly version: number;
      readonly sequence: number;
    }
  | { readonly kind: 'epoch-raised'; readonly from: number; readonly to: number }
  | { readonly kind: 'fence-forged'; readonly slots: number }
  | { readonly kind: 'applied-rejected'; readonly applied: RingApplied }
  /** Of no recovery under way. In row-seconds. */
  | { readonly kind: 'ticks-missed'; readonly missed: number; readonly workers: readonly string[] }
  | { readonly kind: 'recovered'; readonly recovery: Recovery };
