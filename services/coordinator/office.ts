import {
  describeDoubt,
  doubtOrder,
  findEpochFloor,
  HIGHEST_HONEST,
  type Issued,
} from '../../shared/ring/issued-order.ts';
import type { Order } from '../../shared/ring/snapshot.ts';
import type { Office, RejectedSnapshot } from './protocol.ts';

/**
 * What a coordinator that won the key makes of what it found. Pure: the effect reads and draws, this decides.
 *
 * Only Postgres' word counts. A snapshot whose epoch Postgres never issued, or whose version leaps, is not built on,
 * whoever stored it: the fence knows who owns what. See `shared/ring/issued-order.ts` for the bounds.
 */
export interface OfficePlan {
  /** The stream's newest, without a snapshot that was rejected. */
  readonly newest: Office['newest'];
  readonly rejected: RejectedSnapshot | null;
  /** The lapsed term goes on. False: an epoch above `above` is to be drawn. */
  readonly isResumed: boolean;
  readonly above: number;
}

export function planOffice(found: {
  readonly newest: Office['newest'];
  /** The newest claim. */
  readonly fence: Order | null;
  /** The last epoch that Postgres issued. Read after the newest: a leader draws before it publishes. */
  readonly lastEpoch: number;
  readonly lapsedEpoch: number | null;
}): OfficePlan {
  const { fence, lastEpoch, lapsedEpoch } = found;
  const { snapshot: published } = found.newest;
  const rejected = rejectUnissued(found.newest, { epoch: lastEpoch, version: fence?.version ?? 0 });
  const newest = rejected === null ? found.newest : { ...found.newest, snapshot: null };
  // Resumed only if nobody was elected since: a later leader's snapshots may be out, even if the stream refused them.
  const isResumed = lapsedEpoch !== null && newest.snapshot?.epoch === lapsedEpoch && lastEpoch === lapsedEpoch;
  return { newest, rejected, isResumed, above: findEpochFloor({ stream: published, fence, issuedEpoch: lastEpoch }) };
}

/** Null: it can be honest, or there is none. */
export function rejectUnissued({ sequence, snapshot }: Office['newest'], issued: Issued): RejectedSnapshot | null {
  const doubt = snapshot === null ? null : doubtOrder(snapshot, issued);
  if (snapshot === null || doubt === null) return null;
  const { epoch, version } = snapshot;
  return { epoch, version, sequence, reason: describeDoubt(doubt, snapshot, issued) };
}

/** Null: a term of this epoch can begin. Else why not, for the person who must repair it. */
export function describeForgedEpoch(epoch: number): string | null {
  if (epoch <= HIGHEST_HONEST) return null;
  return `expected epochs of at most ${HIGHEST_HONEST} in scaler.adoption and sequence scaler.epoch, got ${epoch}: a forged one reached Postgres; repair it as docs/operations.md says`;
}
