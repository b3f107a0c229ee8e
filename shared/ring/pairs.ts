/** Which slots two workers could exchange. A hand is a worker's slots, heaviest first. */

/** A slot to move, or two to swap. */
export interface Pair {
  readonly give: number;
  /** -1 where nothing comes back. */
  readonly take: number;
  /** By how much the giver's load falls and the taker's grows. */
  readonly amount: number;
  /** All rows that move. */
  readonly rows: number;
}

interface Wanted {
  readonly weights: Float64Array;
  /** The amount that should be passed on, at least 1. */
  readonly ideal: number;
  /** Amounts from this on would not make the two more alike. */
  readonly below: number;
}

/**
 * A slot is too light to help when not even this many of its kind would do: moving thousands one by one takes long and
 * gains little.
 */
const STEPS_MAX = 128;

/**
 * What is worth considering: the heaviest slot of at most the ideal weight, and nothing else where there is one, since
 * it moves no row in vain. Otherwise the lightest that is heavier, and the best swap.
 */
export function possiblePairs(gives: readonly number[], takes: readonly number[], want: Wanted): readonly Pair[] {
  const { weights, ideal, below } = want;
  const pairs: Pair[] = [];
  const at = firstNotAbove(gives, weights, Math.min(ideal, below - 1));
  for (const give of [gives[at], gives[at - 1]]) {
    if (give === undefined) continue;
    const rows = weights[give]!;
    if (rows * STEPS_MAX < ideal || rows >= below) continue;
    pairs.push({ give, take: -1, amount: rows, rows });
    if (rows <= ideal) return pairs;
  }
  const swap = nearestSwap(gives, takes, want);
  if (swap !== null) pairs.push(swap);
  return pairs;
}

/** Where in a hand, heaviest first, the slots begin that weigh no more than `weight`. */
function firstNotAbove(hand: readonly number[], weights: Float64Array, weight: number): number {
  let low = 0;
  let high = hand.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (weights[hand[middle]!]! > weight) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Finds the two slots whose swap passes on an amount nearest to the ideal, above 0 and below `below`; of several the
 * lightest. A surplus counts twice as far as a lack. Both hands are heaviest first, so as the given slot gets lighter
 * the one to take back does too.
 */
function nearestSwap(
  gives: readonly number[],
  takes: readonly number[],
  { weights, ideal, below }: Wanted,
): Pair | null {
  let best = { give: -1, take: -1, miss: Number.POSITIVE_INFINITY, rows: Number.POSITIVE_INFINITY };
  let next = 0;
  for (let index = 0; index < gives.length; index += 1) {
    const give = gives[index]!;
    const weight = weights[give]!;
    while (next < takes.length && weights[takes[next]!]! > weight - ideal) next += 1;
    for (let at = Math.max(0, next - 1); at <= next && at < takes.length; at += 1) {
      const take = takes[at]!;
      const amount = weight - weights[take]!;
      const rows = weight + weights[take]!;
      const miss = amount > ideal ? 2 * (amount - ideal) : ideal - amount;
      if (amount <= 0 || amount >= below || miss > best.miss || (miss === best.miss && rows >= best.rows)) continue;
      best = { give, take, miss, rows };
    }
  }
  if (best.give < 0) return null;
  const { give, take, rows } = best;
  return { give, take, amount: weights[give]! - weights[take]!, rows };
}
