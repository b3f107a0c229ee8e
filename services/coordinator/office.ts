import { type Assignment, assign } from '../../shared/ring/assignment.ts';
import {
  describeDoubt,
  doubtOrder,
  findEpochFloor,
  HIGHEST_HONEST,
  type Issued,
} from '../../shared/ring/issued-order.ts';
import { compareOrder, type Order } from '../../shared/ring/snapshot.ts';
import type { CoordinatorEffect, CoordinatorReport, Office, OfficeOddities, RejectedSnapshot } from './protocol.ts';

const NO_ODDITIES: OfficeOddities = { rejected: null, raisedFrom: null, forgedSlots: 0 };

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
  // Nor on a stream that was restored without the newest snapshots: the fence has claims by later ones, so the ring is announced.
  const isWhole = newest.snapshot !== null && (fence === null || compareOrder(newest.snapshot, fence) >= 0);
  const isOwn = lapsedEpoch !== null && newest.snapshot?.epoch === lapsedEpoch && lastEpoch === lapsedEpoch;
  const isResumed = isOwn && isWhole;
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

export function reportOddities({ epoch, oddities }: Office): CoordinatorEffect[] {
  const reports: CoordinatorReport[] = [];
  const { rejected, raisedFrom, forgedSlots }: OfficeOddities = oddities ?? NO_ODDITIES;
  if (rejected !== null) reports.push({ kind: 'snapshot-rejected', snapshot: rejected });
  if (raisedFrom !== null) reports.push({ kind: 'epoch-raised', from: raisedFrom, to: epoch });
  if (forgedSlots > 0) reports.push({ kind: 'fence-forged', slots: forgedSlots });
  return reports.map((report) => ({ kind: 'report', report }));
}

/** The stream is lost: the fence still knows who had what. Slots that nobody has claimed yet are shared out among them. */
export function assignmentOfFence({ fence: { owners }, table }: Office): Assignment | null {
  const workers = [...new Set(owners.filter((owner) => owner !== null))].sort();
  if (workers.length === 0) return null;
  const indexes = new Map(workers.map((worker, index) => [worker, index]));
  const claimed = Int32Array.from(owners, (owner) => (owner === null ? -1 : (indexes.get(owner) ?? -1)));
  const previous: Assignment = { workers, owners: claimed };
  return claimed.includes(-1) ? assign({ weights: table.weights, workers, previous }) : previous;
}
