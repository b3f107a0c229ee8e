/**
 * When may the whole table be counted again? The first recount starts at once. A count that is contradicted again and
 * again, or fails, is repeated after growing pauses, so that counting never takes more than a small share of the time.
 *
 * States: not due → due (someone demanded it) → counting (the caller's state) → not due, or due again after the pause.
 */
export interface Recount {
  /** Since when the count has been known to be wrong; null: it is not. */
  readonly dueSinceMs: number | null;
  readonly notBeforeMs: number;
  /** The last pause; 0: there was none, or all has been calm since. */
  readonly pauseMs: number;
}

const FIRST_PAUSE_MS = 100;
const FAILURE_PAUSE_MS = 500;
/** In times the duration of the count before: the share of the time that counting may take, at first and in the long run. */
const FIRST_PAUSE_SHARE = 10;
const LONGEST_PAUSE_SHARE = 50;
const LONGEST_PAUSE_MS = 2_000;
const LONGEST_FAILURE_PAUSE_MS = 5_000;
/** Without a demand for this long after the last pause, the next recount starts at once again. */
const CALM_MS = 10_000;

export const NO_RECOUNT: Recount = {
  dueSinceMs: null,
  notBeforeMs: Number.NEGATIVE_INFINITY,
  pauseMs: 0,
};

export function demandRecount(recount: Recount, nowMs: number): Recount {
  if (recount.dueSinceMs !== null) return recount;
  const isCalm = nowMs > recount.notBeforeMs + CALM_MS;
  return { ...recount, dueSinceMs: nowMs, pauseMs: isCalm ? 0 : recount.pauseMs };
}

/** Null: none is due. */
export function recountAtMs({ dueSinceMs, notBeforeMs }: Recount): number | null {
  return dueSinceMs === null ? null : Math.max(dueSinceMs, notBeforeMs);
}

export function finishRecount(recount: Recount, tookMs: number, nowMs: number): Recount {
  const grownMs = Math.max(FIRST_PAUSE_MS, FIRST_PAUSE_SHARE * tookMs, 2 * recount.pauseMs);
  const pauseMs = Math.min(grownMs, Math.max(LONGEST_PAUSE_MS, LONGEST_PAUSE_SHARE * tookMs));
  return { dueSinceMs: null, notBeforeMs: nowMs + pauseMs, pauseMs };
}

/** It stays due. */
export function failRecount(recount: Recount, tookMs: number, nowMs: number): Recount {
  const grownMs = Math.max(FAILURE_PAUSE_MS, tookMs, 2 * recount.pauseMs);
  const pauseMs = Math.min(grownMs, Math.max(LONGEST_FAILURE_PAUSE_MS, tookMs));
  return { ...recount, notBeforeMs: nowMs + pauseMs, pauseMs };
}
