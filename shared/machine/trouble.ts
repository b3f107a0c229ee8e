import { earliest } from './machine.ts';

/**
 * How something that a service depends on treats it: Postgres, NATS, the table. Failures become two reports, one when the
 * trouble begins and one when it ends, however many there are.
 *
 * States: fine → troubled (a request failed, or has had no answer for `SILENCE_MS`) → calm (all that failed has succeeded
 * since) → fine, after `CALM_MS` of calm. A failure during the calm is part of the same trouble.
 */
export interface Watch {
  /** Requests without an answer, by what they ask for. */
  readonly pending: ReadonlyMap<string, Pending>;
  /** What failed and has not succeeded since. */
  readonly failing: ReadonlyMap<string, Failing>;
  readonly trouble: Trouble | null;
  /** Has anything been answered? */
  readonly hasAnswered: boolean;
}

interface Pending {
  readonly count: number;
  readonly sinceMs: number;
  readonly isSilent: boolean;
}

interface Failing {
  readonly reason: string;
  readonly atMs: number;
}

interface Trouble {
  readonly sinceMs: number;
  /** Answers that were failures; a silence counts once its request has failed. */
  readonly failures: number;
  /** The newest. */
  readonly reason: string;
  /** Null: something still fails or is silent. */
  readonly calmSinceMs: number | null;
}

export type TroubleReport =
  | { readonly kind: 'trouble-began'; readonly what: string; readonly reason: string }
  | { readonly kind: 'trouble-ended'; readonly reason: string; readonly failures: number; readonly tookMs: number };

export interface WatchStep {
  readonly watch: Watch;
  readonly report: TroubleReport | null;
}

export interface Unready {
  readonly reason: string;
  /** Monotonic ms. */
  readonly sinceMs: number;
}

export const NO_TROUBLE: Watch = { pending: new Map(), failing: new Map(), trouble: null, hasAnswered: false };

/** Healthy servers answer within milliseconds; a statement's own limit is much longer. */
export const SILENCE_MS = 2_000;
/** Longer than the pauses between two attempts: a fault that comes and goes each second is one trouble. */
export const CALM_MS = 3_000;
/** A request that is not repeated says nothing after this time. Those that go on are repeated sooner. */
const FORGET_MS = 15_000;

/** A request was sent; `noteAnswer` ends it. */
export function noteRequest(watch: Watch, what: string, nowMs: number): Watch {
  const before = watch.pending.get(what);
  const count = (before?.count ?? 0) + 1;
  const pending = new Map(watch.pending).set(what, { isSilent: false, sinceMs: nowMs, ...before, count });
  return { ...watch, pending };
}

/** `reason` null: it succeeded. An answer that was not asked for counts too. */
export function noteAnswer(
  watch: Watch,
  answer: { readonly what: string; readonly reason: string | null },
  nowMs: number,
): WatchStep {
  const { what, reason } = answer;
  const answered = { ...watch, pending: endRequest(watch.pending, what, nowMs), hasAnswered: true };
  if (reason === null) {
    if (!watch.failing.has(what)) return advanceWatch(answered, nowMs);
    const failing = new Map(watch.failing);
    failing.delete(what);
    return advanceWatch({ ...answered, failing }, nowMs);
  }
  const failing = new Map(watch.failing).set(what, { reason, atMs: nowMs });
  const before = watch.trouble ?? { sinceMs: watch.pending.get(what)?.sinceMs ?? nowMs, failures: 0 };
  const trouble = { ...before, failures: before.failures + 1, reason, calmSinceMs: null };
  const report: TroubleReport | null = watch.trouble === null ? { kind: 'trouble-began', what, reason } : null;
  return { watch: { ...answered, failing, trouble }, report };
}

/** What time alone brings: a silence, the end of a calm. Cheap where there is nothing. */
export function advanceWatch(watch: Watch, nowMs: number): WatchStep {
  const seen = forgetFailures(noteSilence(watch, nowMs), nowMs);
  const { trouble } = seen;
  const silent = findSilent(seen);
  if (trouble === null) {
    if (silent === null) return { watch: seen, report: null };
    const { what, sinceMs } = silent;
    const reason = `no answer for ${formatSeconds(nowMs - sinceMs)}`;
    return {
      watch: { ...seen, trouble: { sinceMs, failures: 0, reason, calmSinceMs: null } },
      report: { kind: 'trouble-began', what, reason },
    };
  }
  if (silent !== null || seen.failing.size > 0) {
    const isSame = trouble.calmSinceMs === null;
    return { watch: isSame ? seen : { ...seen, trouble: { ...trouble, calmSinceMs: null } }, report: null };
  }
  const calmSinceMs = trouble.calmSinceMs ?? nowMs;
  if (nowMs - calmSinceMs < CALM_MS) return { watch: { ...seen, trouble: { ...trouble, calmSinceMs } }, report: null };
  const { failures, reason, sinceMs } = trouble;
  return {
    watch: { ...seen, trouble: null },
    report: { kind: 'trouble-ended', reason, failures, tookMs: calmSinceMs - sinceMs },
  };
}

export function watchWakeAtMs({ pending, failing, trouble }: Watch): number | null {
  let atMs: number | null = null;
  for (const { sinceMs, isSilent } of pending.values()) if (!isSilent) atMs = earliest(atMs, sinceMs + SILENCE_MS);
  if (trouble === null) return atMs;
  // What is asked again just now is forgotten by its answer, if at all.
  for (const [what, failed] of failing) if (!pending.has(what)) atMs = earliest(atMs, failed.atMs + FORGET_MS);
  return earliest(atMs, trouble.calmSinceMs === null ? null : trouble.calmSinceMs + CALM_MS);
}

/** Null: there is no trouble, or it is calm. The reason is the server's own, or how long it has been silent. */
export function describeTrouble(watch: Watch, nowMs: number): Unready | null {
  const { trouble } = watch;
  if (trouble === null || trouble.calmSinceMs !== null) return null;
  const silent = findSilent(watch);
  const reason = silent === null ? trouble.reason : `no answer for ${formatSeconds(nowMs - silent.sinceMs)}`;
  return { reason, sinceMs: trouble.sinceMs };
}

/** Why this one request fails; null: it does not. */
export function failureOf({ failing }: Watch, what: string): string | null {
  return failing.get(what)?.reason ?? null;
}

export function formatSeconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function endRequest(pending: Watch['pending'], what: string, nowMs: number): Watch['pending'] {
  const before = pending.get(what);
  if (before === undefined) return pending;
  const rest = new Map(pending);
  // Which one of several was answered is unknown: the others count from now.
  if (before.count > 1) rest.set(what, { count: before.count - 1, sinceMs: nowMs, isSilent: false });
  else rest.delete(what);
  return rest;
}

function noteSilence(watch: Watch, nowMs: number): Watch {
  let pending: Map<string, Pending> | null = null;
  for (const [what, one] of watch.pending) {
    if (one.isSilent || nowMs - one.sinceMs < SILENCE_MS) continue;
    pending ??= new Map(watch.pending);
    pending.set(what, { ...one, isSilent: true });
  }
  return pending === null ? watch : { ...watch, pending };
}

function forgetFailures(watch: Watch, nowMs: number): Watch {
  let failing: Map<string, Failing> | null = null;
  for (const [what, { atMs }] of watch.failing) {
    // One under way will say more.
    if (nowMs - atMs < FORGET_MS || watch.pending.has(what)) continue;
    failing ??= new Map(watch.failing);
    failing.delete(what);
  }
  return failing === null ? watch : { ...watch, failing };
}

function findSilent({ pending }: Watch): { readonly what: string; readonly sinceMs: number } | null {
  let found: { what: string; sinceMs: number } | null = null;
  for (const [what, { isSilent, sinceMs }] of pending) {
    if (isSilent && (found === null || sinceMs < found.sinceMs)) found = { what, sinceMs };
  }
  return found;
}
