import type { AdoptionVerdict } from '../../shared/postgres/adoption-check.ts';
import type { CoordinatorEffect, CoordinatorEvent } from './protocol.ts';

/**
 * Sees now and then whether the adopted table and schema `scaler` are as they were adopted, and has them mended, one attempt
 * at a time, where the caller says that this coordinator may. The check also shows a standby that Postgres answers.
 *
 * States: sound → damaged (a check says so) → mending → sound, or refused (somebody must do what the reason says) → mending
 * again after a pause.
 */
export interface TableCare {
  readonly isChecking: boolean;
  readonly nextCheckAtMs: number;
  /** The newest; null: none yet. */
  readonly verdict: AdoptionVerdict | null;
  readonly isMending: boolean;
  readonly nextMendAtMs: number;
  /** Why it could not be mended, with what to do; null: it was not tried, or done. */
  readonly refusal: string | null;
}

export interface CareStep {
  readonly state: TableCare;
  readonly effects: readonly CoordinatorEffect[];
}

export const NO_CARE: TableCare = {
  isChecking: false,
  nextCheckAtMs: Number.NEGATIVE_INFINITY,
  verdict: null,
  isMending: false,
  nextMendAtMs: Number.NEGATIVE_INFINITY,
  refusal: null,
};

const CHECK_EVERY_MS = 2_000;
const CHECK_RETRY_MS = 500;
const MEND_RETRY_MS = 5_000;

export function advanceCare(
  state: TableCare,
  { mayMend, knownEpoch, nowMs }: { readonly mayMend: boolean; readonly knownEpoch: number; readonly nowMs: number },
): CareStep {
  const effects: CoordinatorEffect[] = [];
  let next = state;
  if (!next.isChecking && nowMs >= next.nextCheckAtMs) {
    next = { ...next, isChecking: true };
    effects.push({ kind: 'check-table' });
  }
  const { verdict } = next;
  if (mayMend && verdict?.kind === 'mendable' && !next.isMending && nowMs >= next.nextMendAtMs) {
    next = { ...next, isMending: true };
    effects.push({ kind: 'mend-table', what: verdict.what, above: knownEpoch });
  }
  return { state: next, effects };
}

export function receiveCheck(
  state: TableCare,
  { verdict }: Extract<CoordinatorEvent, { kind: 'table-checked' }>,
  nowMs: number,
): TableCare {
  const checked = { ...state, isChecking: false };
  // Postgres did not answer: what was found before stands.
  if (verdict === null) return { ...checked, nextCheckAtMs: nowMs + CHECK_RETRY_MS };
  const refusal = verdict.kind === 'mendable' ? state.refusal : null;
  const pauseMs = verdict.kind === 'sound' ? CHECK_EVERY_MS : CHECK_RETRY_MS;
  return { ...checked, verdict, refusal, nextCheckAtMs: nowMs + pauseMs };
}

export function receiveMending(
  state: TableCare,
  { outcome }: Extract<CoordinatorEvent, { kind: 'table-mended' }>,
  nowMs: number,
): TableCare {
  const done = { ...state, isMending: false, nextCheckAtMs: nowMs };
  if (outcome.kind === 'mended') return { ...done, verdict: null, refusal: null };
  const nextMendAtMs = nowMs + MEND_RETRY_MS;
  return { ...done, nextMendAtMs, refusal: outcome.kind === 'refused' ? outcome.reason : state.refusal };
}

/** What is wrong, for people; null: nothing, or nothing known. */
export function describeDamage({ verdict, refusal }: TableCare): string | null {
  if (refusal !== null) return refusal;
  return verdict === null || verdict.kind === 'sound' ? null : verdict.reason;
}

/** Does it still have to be seen whether mending helps? */
export function isBeingMended({ verdict, isMending, refusal }: TableCare): boolean {
  return isMending && refusal === null && verdict?.kind === 'mendable';
}

export function careWakeAtMs(state: TableCare, { mayMend }: { readonly mayMend: boolean }): number | null {
  const checkAtMs = state.isChecking ? Number.POSITIVE_INFINITY : state.nextCheckAtMs;
  const isDamaged = mayMend && state.verdict?.kind === 'mendable' && !state.isMending;
  const atMs = Math.min(checkAtMs, isDamaged ? state.nextMendAtMs : Number.POSITIVE_INFINITY);
  return atMs === Number.POSITIVE_INFINITY ? null : atMs;
}
