import { median, sum } from '../support/statistics.ts';
import type { Strategy } from './strategy.ts';

export interface Spread {
  /** The fullest worker's keys, in means. */
  readonly fullest: number;
  /** Keys of the fullest less those of the emptiest. */
  readonly range: number;
}

/** Keys that changed owner, and the fewest that had to. */
export interface Moved {
  readonly keys: number;
  readonly minimum: number;
}

export interface Outcome {
  readonly name: string;
  readonly note: string;
  readonly spread: Spread;
  readonly join: Moved;
  readonly leave: Moved;
  readonly rollingReplacement: Moved;
  /** After the rolling replacement: what its history did to the evenness. */
  readonly spreadAfter: Spread;
  /** One whole assignment. */
  readonly ms: number;
}

/**
 * Every strategy meets the same keys and the same events: one worker joins; of the first ones one in the middle dies; all are
 * replaced one after the other, each new one joining before its predecessor goes, as in a rollout.
 */
export function compare(strategy: Strategy, keys: readonly string[], workers: readonly string[]): Outcome {
  const timesMs: number[] = [];
  const begin = () => {
    const share = strategy.start();
    return (present: readonly string[]): readonly string[] => {
      const startedMs = performance.now();
      const owners = share(keys, present);
      timesMs.push(performance.now() - startedMs);
      return owners;
    };
  };
  const dying = workers[Math.floor(workers.length / 2)] ?? '';
  const first = begin();
  const before = first(workers);
  const joined = moved(before, first([...workers, 'worker-new']), null);
  const second = begin();
  second(workers);
  const left = moved(before, second(workers.filter((id) => id !== dying)), dying);
  const rolled = replaceAll(begin(), workers);
  return {
    name: strategy.name,
    note: strategy.note,
    spread: spreadOf(before, workers),
    join: joined,
    leave: left,
    rollingReplacement: rolled.moved,
    spreadAfter: rolled.spread,
    ms: median(timesMs),
  };
}

function replaceAll(share: (present: readonly string[]) => readonly string[], workers: readonly string[]) {
  let present = workers;
  let owners = share(present);
  const steps: Moved[] = [];
  for (const [index, old] of workers.entries()) {
    for (const [next, gone] of [
      [[...present, `replacement-${index}`], null],
      [[...present, `replacement-${index}`].filter((id) => id !== old), old],
    ] as const) {
      const after = share(next);
      steps.push(moved(owners, after, gone));
      present = next;
      owners = after;
    }
  }
  const total = { keys: sum(steps.map(({ keys }) => keys)), minimum: sum(steps.map(({ minimum }) => minimum)) };
  return { moved: total, spread: spreadOf(owners, present) };
}

/**
 * `gone` null: somebody joined, and an even share of the keys must move, rounded down. Else what the gone one had must, no
 * more. Fewer than that means that the newcomer got less than its share.
 */
function moved(before: readonly string[], after: readonly string[], gone: string | null): Moved {
  const keys = before.reduce((count, owner, index) => count + (owner === after[index] ? 0 : 1), 0);
  if (gone !== null) return { keys, minimum: before.filter((owner) => owner === gone).length };
  return { keys, minimum: Math.floor(before.length / (new Set(before).size + 1)) };
}

export function spreadOf(owners: readonly string[], workers: readonly string[]): Spread {
  const counts = new Map(workers.map((id) => [id, 0]));
  for (const owner of owners) counts.set(owner, (counts.get(owner) ?? 0) + 1);
  const held = [...counts.values()];
  return { fullest: (Math.max(...held) * held.length) / owners.length, range: Math.max(...held) - Math.min(...held) };
}
