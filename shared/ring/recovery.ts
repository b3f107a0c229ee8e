import type { Movement } from './assignment.ts';
import type { Cause, Order } from './snapshot.ts';

/**
 * How long a disruption took to mend. A disruption is named by the (epoch, version) of the snapshot that answered it.
 *
 * All times are by one clock, the leader's monotonic one: what a worker did is dated by when the leader heard of it. No
 * two machines' clocks are ever compared; the way of one message is in the figures instead.
 */
export interface Recovery extends Order {
  /** The snapshot's own `at`: ISO 8601, UTC. For people. */
  readonly at: string;
  readonly cause: Cause;
  readonly moved: Movement;
  /** How many workers gained slots. */
  readonly workers: number;
  /** What those workers told of: slots gained, and the rows in them that were behind and got their first tick. */
  readonly slots: number;
  readonly rows: number;
  readonly phases: Phases;
  /** Seconds without a tick, times the rows concerned, as far as the workers are certain of them. */
  readonly missed: number;
  /** False: not all told in time; the phases that this leaves open are null. */
  readonly isComplete: boolean;
  /** Who did not tell. */
  readonly missing: readonly string[];
  /** Whose first tick, or else claim, was heard of last; null: nobody gained, or nobody told. */
  readonly slowest: string | null;
}

/** In ms. Null: it has no such phase (nobody gained, no tick was due), or its beginning or end is not known. */
export interface Phases {
  /** From the first cause's evidence to the plan. */
  readonly evidenceToDecided: number | null;
  /** To the stream's acknowledgement, or to the first word of a worker that has it, whichever came first. */
  readonly decidedToPublished: number | null;
  /** To the last gaining worker's claim. */
  readonly publishedToLastClaim: number | null;
  /** To the last first tick. */
  readonly lastClaimToLastFirstTick: number | null;
  /** From the evidence to the end of the last phase there is. */
  readonly total: number | null;
}

export const PHASES = [
  'evidenceToDecided',
  'decidedToPublished',
  'publishedToLastClaim',
  'lastClaimToLastFirstTick',
  'total',
] as const satisfies readonly (keyof Phases)[];
