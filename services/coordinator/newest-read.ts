import { compareOrder, type Order } from '../../shared/ring/snapshot.ts';
import { rejectUnissued } from './office.ts';
import {
  isForeign,
  isPublishing,
  overrule,
  type PlannerContext,
  type PlannerState,
  type PlannerStep,
  resolvePublish,
  restorePublished,
} from './planner.ts';
import type { CoordinatorEvent, CoordinatorReport, Office } from './protocol.ts';

/**
 * A leader looks at the stream's newest message now and then, at once when a publish went without an answer, and at once
 * when it hears a snapshot that is not its own.
 *
 * States: idle (until `nextAtMs`) → busy → idle. Stale: something was published, or fell in doubt, since the read under
 * way began, so its answer says nothing.
 */
export interface NewestRead {
  readonly isBusy: boolean;
  readonly isStale: boolean;
  readonly nextAtMs: number;
  /** The sequence rejected last, so that it is reported once. */
  readonly rejected: number | null;
}

export interface NewestVerdict {
  readonly read: NewestRead;
  /** Why the term is over; null: it goes on. */
  readonly refusal: string | null;
  /** What becomes of the plan; null: nothing. */
  readonly step: PlannerStep | null;
  readonly isOverruled: boolean;
  readonly reports: readonly CoordinatorReport[];
}

const EVERY_MS = 5_000;
const RETRY_MS = 250;

export function startNewestRead({ oddities }: Office, nowMs: number): NewestRead {
  return { isBusy: false, isStale: false, nextAtMs: nowMs + EVERY_MS, rejected: oddities?.rejected?.sequence ?? null };
}

export function isReadDue(read: NewestRead, nowMs: number): boolean {
  return !read.isBusy && nowMs >= read.nextAtMs;
}

export function beginRead(read: NewestRead, nowMs: number): NewestRead {
  return { ...read, isBusy: true, isStale: false, nextAtMs: nowMs };
}

/** A publish fell in doubt: whatever a read under way says, it is asked again. */
export function readAgain(read: NewestRead, nowMs: number): NewestRead {
  return { ...read, isStale: true, nextAtMs: nowMs };
}

/** A snapshot was heard. The leader's own need no look; a read under way may have been answered before another's. */
export function hearSnapshot(
  read: NewestRead,
  planner: PlannerState,
  heard: { readonly order: Order | null; readonly nowMs: number },
): NewestRead {
  const { order, nowMs } = heard;
  const { published } = planner;
  const isOwn =
    order !== null && (isPublishing(planner, order) || (published !== null && compareOrder(published, order) === 0));
  return isOwn ? read : { ...read, isStale: read.isBusy, nextAtMs: nowMs };
}

/**
 * Postgres says whether this term's epoch is still the last one; the stream says what became of the ring.
 *
 * - A later epoch, even if its holder lost the race for the key, ends the term: workers may have seen its snapshots, and
 *   order ours below. An epoch that Postgres has forgotten, as after a restore, ends it too: no claim under it succeeds.
 * - A snapshot that cannot be honest counts as none, so the one in force takes its place.
 * - One that can be, but is not this leader's, is overruled.
 * - A publish in doubt was stored, or is sent again. If the snapshot in force is gone from the stream, it is put back.
 */
export function judgeNewest(
  before: NewestRead,
  planner: PlannerState,
  event: Extract<CoordinatorEvent, { kind: 'newest-read' }>,
  context: PlannerContext,
): NewestVerdict {
  const { lastEpoch } = event;
  const isInDoubt = planner.publishing?.isInDoubt === true;
  // Without Postgres' word nobody can say whether a later leader has published.
  const isUnclear = lastEpoch === null && (event.newest?.snapshot?.epoch ?? 0) > planner.epoch;
  const isUseless = event.newest === null || before.isStale || isUnclear;
  const isUrgent = before.isStale || isUnclear || isInDoubt;
  const pauseMs = isUseless && isUrgent ? RETRY_MS : EVERY_MS;
  const read = { ...before, isBusy: false, isStale: false, nextAtMs: context.nowMs + pauseMs };
  const refusal = lastEpoch === null ? null : describeOtherEpoch(planner.epoch, lastEpoch);
  const nothing: NewestVerdict = { read, refusal, step: null, isOverruled: false, reports: [] };
  if (refusal !== null || event.newest === null || isUseless) return nothing;
  if (planner.publishing !== null && !isInDoubt) return nothing;
  const { sequence, snapshot } = event.newest;
  const rejected = rejectUnissued(event.newest, { epoch: planner.epoch, version: planner.version });
  if (rejected !== null) {
    const step = settle(planner, { sequence, snapshot: null });
    const reports: CoordinatorReport[] =
      before.rejected === sequence ? [] : [{ kind: 'snapshot-rejected', snapshot: rejected }];
    return { ...nothing, read: { ...read, rejected: sequence }, step, reports };
  }
  if (snapshot === null || !isForeign(planner, { sequence, snapshot })) {
    return { ...nothing, step: settle(planner, event.newest) };
  }
  const { epoch, version } = snapshot;
  const step = overrule(planner, { sequence, snapshot }, context);
  return { ...nothing, step, isOverruled: true, reports: [{ kind: 'snapshot-overruled', epoch, version, sequence }] };
}

function settle(planner: PlannerState, newest: Office['newest']): PlannerStep {
  return planner.publishing === null ? restorePublished(planner, newest) : resolvePublish(planner, newest);
}

/** Null: the term's epoch is the last one issued. */
function describeOtherEpoch(epoch: number, lastEpoch: number): string | null {
  if (lastEpoch > epoch) return `epoch ${lastEpoch} has been issued since`;
  return lastEpoch < epoch ? `Postgres issued epochs only up to ${lastEpoch}: restored from a backup?` : null;
}
