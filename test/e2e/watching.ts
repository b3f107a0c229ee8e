import type { Watching } from './log-lines.ts';

/** What the same few seconds look like in the logs of all workers. Pure. */
export interface WatchedSeconds {
  /** The judged ticks, one after the other. */
  readonly ticks: readonly number[];
  readonly shares: Readonly<Record<string, number>>;
  /** Every worker wrote exactly one line for each of these seconds. */
  readonly isEverySecond: boolean;
  readonly isSorted: boolean;
  /** Each worker's list is the same in each second. */
  readonly isSteady: boolean;
  /** No id is on two lists. */
  readonly isDisjoint: boolean;
  /** Different ids on all lists together. */
  readonly ids: number;
}

/** Judges the newest seconds that all workers have written; null while one has not written that many yet. */
export function judgeWatching(
  lines: readonly Watching[],
  asked: { readonly workers: readonly string[]; readonly seconds: number },
): WatchedSeconds | null {
  const { workers, seconds } = asked;
  const byWorker = workers.map((worker) => lines.filter((line) => line.worker === worker));
  const last = Math.min(...byWorker.map((own) => own.at(-1)?.tick ?? Number.NEGATIVE_INFINITY));
  if (!Number.isFinite(last)) return null;
  const judged = byWorker.map((own) => own.filter(({ tick }) => tick <= last).slice(-seconds));
  if (judged.some((own) => own.length < seconds)) return null;
  const ticks = Array.from({ length: seconds }, (_, index) => last - seconds + 1 + index);
  const lists = judged.map((own) => own.at(-1)?.ids ?? []);
  const all = lists.flat();
  const ids = new Set(all).size;
  return {
    ticks,
    shares: Object.fromEntries(workers.map((worker, index) => [worker, lists[index]?.length ?? 0])),
    isEverySecond: judged.every((own) => own.every(({ tick }, index) => tick === ticks[index])),
    isSorted: judged.flat().every((line) => isAscending(line.ids)),
    isSteady: judged.every((own, index) => own.every((line) => isSame(line.ids, lists[index] ?? []))),
    isDisjoint: ids === all.length,
    ids,
  };
}

function isAscending(ids: readonly string[]): boolean {
  return ids.every((id, index) => index === 0 || ids[index - 1]! < id);
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((id, index) => id === b[index]);
}
