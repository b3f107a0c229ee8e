import type { Assignment } from '../../shared/ring/assignment.ts';
import type { MembershipState, MembershipStep } from './member.ts';
import { receiveProgress, standingWorkers } from './membership-progress.ts';
import type { CoordinatorEffect, FenceProgress } from './protocol.ts';

/** When the fence is read for what each worker ticks: about once a second, one read at a time. */
export interface ProgressRead {
  /** Of the read under way; null: there is none. */
  readonly startedMs: number | null;
  readonly nextAtMs: number;
}

const READ_EVERY_MS = 1_000;

export function startProgressRead(nowMs: number): ProgressRead {
  return { startedMs: null, nextAtMs: nowMs + READ_EVERY_MS };
}

export function progressReadAtMs({ startedMs, nextAtMs }: ProgressRead): number | null {
  return startedMs === null ? nextAtMs : null;
}

/** Of the workers whose ticks stand still it is asked, too, whether what the ring gives them has rows. */
export function beginProgressRead(
  read: ProgressRead,
  ring: { readonly membership: MembershipState; readonly assignment: Assignment | null },
  nowMs: number,
): { readonly read: ProgressRead; readonly effects: readonly CoordinatorEffect[] } {
  if (read.startedMs !== null || nowMs < read.nextAtMs) return { read, effects: [] };
  const asked = slotsOf(standingWorkers(ring.membership, nowMs), ring.assignment);
  return {
    read: { startedMs: nowMs, nextAtMs: nowMs + READ_EVERY_MS },
    effects: [{ kind: 'read-progress', asked }],
  };
}

/** `progress` null: the read failed. */
export function finishProgressRead(
  read: ProgressRead,
  answer: { readonly progress: FenceProgress | null; readonly membership: MembershipState },
  nowMs: number,
): { readonly read: ProgressRead; readonly step: MembershipStep | null } {
  const { startedMs } = read;
  const over = { ...read, startedMs: null };
  if (answer.progress === null || startedMs === null) return { read: over, step: null };
  return { read: over, step: receiveProgress(answer.membership, answer.progress, { startedMs, nowMs }) };
}

/** A drained worker, or a new one, has none. */
function slotsOf(workers: readonly string[], assignment: Assignment | null) {
  if (workers.length === 0) return [];
  const slots = new Map(workers.map((worker): [string, number[]] => [worker, []]));
  assignment?.owners.forEach((owner, slot) => {
    slots.get(assignment.workers[owner] ?? '')?.push(slot);
  });
  return [...slots].map(([worker, own]) => ({ worker, slots: own }));
}
