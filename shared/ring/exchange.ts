/**
 * Evens out what whole slots left uneven: a local search that moves one slot, or swaps two, between a worker that holds
 * too much or too little and one at the other end.
 *
 * Every step brings loads nearer to the bounds and makes two of them more alike, so the search ends, and where it ended
 * it finds nothing more. Within the bounds it does nothing, since each step may move rows that would not have had to
 * move.
 */
import { Hands } from './hands.ts';
import { type Pair, possiblePairs } from './pairs.ts';
import { outOfBounds, type Plan, type SlotClass } from './quota.ts';
import { Ranking } from './ranking.ts';

export interface Field {
  readonly part: SlotClass;
  readonly plan: Plan;
  /** By slot; changed in place. */
  readonly owners: Int32Array;
  /** By worker, giants left out; changed in place. */
  readonly loads: Float64Array;
}

/** How many workers at the other end are compared; fewer where too few slots a worker leave little to be found. */
const PARTNERS = { many: 32, few: 8, manySlotsPerWorker: 10 };

/**
 * How many rows may be moved for each that a worker gains which holds too little, while none holds too much: a lack
 * harms nobody.
 */
const ROWS_PER_ROW = 32;

/** The search ends after looking at so many slots, whatever is left: only weights unlike any table's need more. */
const WORK_MAX = { once: 200_000, perSlot: 64 };

interface Exchange extends Pair {
  readonly giver: number;
  readonly taker: number;
}

/** Makes loads even that are not, as far as moving and swapping slots can. */
export function exchangeSlots(field: Field): void {
  const { plan, loads } = field;
  const workers = field.part.precedence.filter((worker) => plan.giantWeights[worker] === 0);
  if (workers.every((worker) => outOfBounds(loads[worker]!, plan.bounds) === 0)) return;
  const hands = new Hands(field);
  const ranking = new Ranking(workers, loads);
  const workMax = WORK_MAX.once + WORK_MAX.perSlot * field.part.slots.length;
  while (ranking.size > 1 && hands.looked < workMax) {
    const giver = ranking.fromMost(0);
    const taker = ranking.fromLeast(0);
    const isTooMuch = loads[giver]! > plan.bounds.ceiling;
    if (!isTooMuch && loads[taker]! >= plan.bounds.floor) return;
    const found = bestExchange(field, hands, ranking);
    if (found !== null) {
      hands.move(found.give, found.giver, found.taker);
      if (found.take >= 0) hands.move(found.take, found.taker, found.giver);
      ranking.set(found.giver, loads[found.giver]! - found.amount);
      ranking.set(found.taker, loads[found.taker]! + found.amount);
      continue;
    }
    const amount = changeIntoSingles(field, hands, { giver, taker });
    if (amount > 0) {
      ranking.set(giver, loads[giver]! - amount);
      ranking.set(taker, loads[taker]! + amount);
    } else if (isTooMuch) ranking.dropMost();
    else ranking.dropLeast();
  }
}

/** By how much less the two are out of bounds, in squares, when `amount` goes from one to the other. */
function gainOf({ plan, loads }: Field, pair: { giver: number; taker: number; amount: number }): number {
  const gives = loads[pair.giver]!;
  const takes = loads[pair.taker]!;
  const before = outOfBounds(gives, plan.bounds) ** 2 + outOfBounds(takes, plan.bounds) ** 2;
  return (
    before - outOfBounds(gives - pair.amount, plan.bounds) ** 2 - outOfBounds(takes + pair.amount, plan.bounds) ** 2
  );
}

/**
 * What should go from giver to taker: enough to bring the one that is out of bounds well into them, but not the other
 * out of them. More than that would only make work for the next step.
 */
function idealAmount({ plan, loads }: Field, { giver, taker }: { giver: number; taker: number }): number {
  const { bounds, mean } = plan;
  const gives = loads[giver]!;
  const takes = loads[taker]!;
  const amount =
    gives > bounds.ceiling
      ? Math.min(gives - Math.floor((mean + bounds.ceiling) / 2), bounds.ceiling - takes)
      : Math.min(Math.ceil((mean + bounds.floor) / 2) - takes, gives - bounds.floor);
  return Math.max(1, amount);
}

/**
 * The best exchange between the worker furthest out and some at the other end: the one that gains most for each row it
 * moves.
 */
function bestExchange(field: Field, hands: Hands, ranking: Ranking): Exchange | null {
  const { part, plan, loads } = field;
  const most = ranking.fromMost(0);
  const least = ranking.fromLeast(0);
  const isTooMuch = loads[most]! > plan.bounds.ceiling;
  const rowsPerRow = isTooMuch || plan.bounds.isExact ? Number.POSITIVE_INFINITY : ROWS_PER_ROW;
  const hasMany = part.slots.length >= PARTNERS.manySlotsPerWorker * loads.length;
  const partners = Math.min(hasMany ? PARTNERS.many : PARTNERS.few, ranking.size - 1);
  let best: Exchange | null = null;
  let bestGainPerRow = 0;
  for (let rank = 0; rank < partners; rank += 1) {
    const giver = isTooMuch ? most : ranking.fromMost(rank);
    const taker = isTooMuch ? ranking.fromLeast(rank) : least;
    const ideal = idealAmount(field, { giver, taker });
    const below = loads[giver]! - loads[taker]!;
    for (const pair of possiblePairs(hands.of(giver), hands.of(taker), { weights: part.weights, ideal, below })) {
      if (pair.rows === pair.amount && pair.amount <= ideal) return { giver, taker, ...pair };
      const gainPerRow = gainOf(field, { giver, taker, amount: pair.amount }) / pair.rows;
      if (gainPerRow <= bestGainPerRow || pair.rows > pair.amount * rowsPerRow) continue;
      best = { giver, taker, ...pair };
      bestGainPerRow = gainPerRow;
    }
  }
  return best;
}

/**
 * Where the giver has only slots too heavy for the difference, a worker with enough slots of weight one changes its
 * lightest: takes it, hands back all but the amount in single rows, and passes the amount on to the taker. So loads
 * differ by one row at most wherever slots of weight one abound. Returns the amount, 0 where nobody can.
 */
function changeIntoSingles(field: Field, hands: Hands, pair: { giver: number; taker: number }): number {
  const { giver, taker } = pair;
  const { loads, part } = field;
  const slot = hands.of(giver).at(-1);
  if (slot === undefined) return 0;
  const weight = part.weights[slot]!;
  const amount = idealAmount(field, pair);
  if (amount >= weight || amount >= loads[giver]! - loads[taker]! || gainOf(field, { giver, taker, amount }) <= 0)
    return 0;
  const changer = hands.singlesOf(taker) >= weight - amount ? taker : hands.richestInSingles();
  if (changer === giver || hands.singlesOf(changer) < (changer === taker ? weight - amount : weight)) return 0;
  hands.move(slot, giver, changer);
  for (let row = 0; row < weight - amount; row += 1) hands.move(hands.of(changer).at(-1)!, changer, giver);
  if (changer !== taker)
    for (let row = 0; row < amount; row += 1) hands.move(hands.of(changer).at(-1)!, changer, taker);
  return amount;
}
