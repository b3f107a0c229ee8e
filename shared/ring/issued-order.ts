/**
 * Which (epoch, version) can a snapshot honestly carry? Pure.
 *
 * Anybody who may publish to `ring.snapshot` can write any number into a message, and snapshots are ordered by these
 * numbers alone: one message with a huge epoch or version would order all later ones below it, indefinitely. So a
 * message proves nothing by itself; Postgres does.
 *
 * - **Epochs** are issued by Postgres (`scaler.draw_epoch`, the last one in `scaler.adoption.epoch`). A higher one was
 *   never issued. A leader draws its epoch before it publishes, so whoever asks Postgres after a snapshot came finds its
 *   epoch there. `CLAIM_TEXT` holds the same rule in Postgres itself.
 * - **Versions** grow by one for each snapshot, and the workers' claims bring them to Postgres (`scaler.slot`). So
 *   Postgres' newest version is behind by the snapshots that nobody has claimed yet. A worker that was away for a day
 *   asks Postgres and compares with that, not with what it applied itself.
 *
 * Why 2^20 versions: only snapshots that give nobody a slot, and those made while Postgres is away, pass without a
 * claim. A leader makes at most one every 20 ms, so 2^20 of them need six hours without any claim. The forger of a
 * version gains at most that much with each message, and would need 2^33 messages to use the numbers up.
 */
import type { Order } from './snapshot.ts';

export const LONGEST_VERSION_LEAP = 2 ** 20;

/**
 * How far a new leader raises the issued epochs above a stream's newest. A database restored from a backup, or a standby
 * that lost its last transactions, has forgotten epochs that workers have seen; a new term must order above them. At one
 * term a second, which is a system in deep trouble, 2^20 terms are twelve days.
 */
export const LONGEST_EPOCH_LEAP = 2 ** 20;

/**
 * Numbers above this, in Postgres itself, were forged before these rules existed: nobody counts that far. Below it there
 * is room for 2^52 more, so a term simply continues above whatever it finds.
 */
export const HIGHEST_HONEST = 2 ** 52;

export interface Issued {
  /** The last epoch that Postgres issued; 0: none. */
  readonly epoch: number;
  /** The highest version known to be in use. */
  readonly version: number;
}

export type Doubt = 'epoch-not-issued' | 'version-leap';

/** Null: the order can be honest. Else what speaks against it. */
export function doubtOrder(order: Order, issued: Issued): Doubt | null {
  if (order.epoch < 1 || order.epoch > issued.epoch) return 'epoch-not-issued';
  return order.version > issued.version + LONGEST_VERSION_LEAP ? 'version-leap' : null;
}

/** For a log line: what was expected and what came. */
export function describeDoubt(doubt: Doubt, order: Order, issued: Issued): string {
  return doubt === 'epoch-not-issued'
    ? `expected an epoch from 1 to ${issued.epoch}, the last that Postgres issued, got ${order.epoch}`
    : `expected a version of at most ${issued.version + LONGEST_VERSION_LEAP}, got ${order.version}`;
}

/**
 * What a new term's epoch must be above, besides all epochs issued. Postgres' own claims count whatever they say, up to
 * what is honest; a message in the stream counts only as far as a restored database can explain it.
 */
export function findEpochFloor(found: {
  /** Of the stream's newest message; null: none. */
  readonly stream: Order | null;
  /** Of the newest claim in Postgres; null: none. */
  readonly fence: Order | null;
  readonly issuedEpoch: number;
}): number {
  const { stream, fence, issuedEpoch } = found;
  const claimed = Math.max(issuedEpoch, fence?.epoch ?? 0);
  const published = stream?.epoch ?? 0;
  return published <= claimed + LONGEST_EPOCH_LEAP ? Math.max(claimed, published) : claimed;
}
