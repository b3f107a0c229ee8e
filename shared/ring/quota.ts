/**
 * How much each worker should hold: the even share, dealt so that reaching it moves the least.
 *
 * The rows are divided by the number of workers; the remainder goes, one each, to those that would otherwise have to
 * give it away. A slot heavier than the share cannot be divided: its worker holds it and nothing else, and the rest is
 * shared out among the others. Such slots are called giants here.
 */

/** Slots that are balanced together, and who could own them. */
export interface SlotClass {
  /** The slots, ascending. */
  readonly slots: Int32Array;
  /** The same slots, heaviest first, ascending where they weigh the same. */
  readonly heaviestFirst: Int32Array;
  /** By slot; whole numbers above 0 for the slots of this class. */
  readonly weights: Float64Array;
  /** All workers (indices); of those with an equal claim to a remainder, the first here get it. */
  readonly precedence: Int32Array;
  /** Whether loads must differ by at most one, whatever the mean. */
  readonly isExact: boolean;
}

/** From where to where loads count as even: nothing is moved within. */
export interface Bounds {
  readonly floor: number;
  readonly ceiling: number;
  /** Whether they are as narrow as whole rows allow; otherwise the tolerance is in them. */
  readonly isExact: boolean;
  /** Whether they had to be widened because the slots are too few and too heavy. */
  readonly isCoarse: boolean;
}

export interface Plan {
  /** How many slots, the first of `heaviestFirst`, are giants. */
  readonly giants: number;
  /** The worker of each giant. */
  readonly giantWorkers: Int32Array;
  /** By worker: the weight of the giant it should hold, 0 where it should hold none. */
  readonly giantWeights: Float64Array;
  /** By worker: what it should hold besides giants. */
  readonly quotas: Float64Array;
  /** By worker: what it holds now besides giants. */
  readonly loads: Float64Array;
  /** For the loads of workers without a giant. */
  readonly bounds: Bounds;
  /** The mean load of workers without a giant. */
  readonly mean: number;
  readonly hasOrphans: boolean;
  /** How far loads are out of bounds: the sum of their squared distances. 0: even. */
  readonly unevenness: number;
}

/** From this mean on, in rows per worker, loads may differ by the tolerance; below it by one row. */
const TOLERANCE_MEAN_ROWS = 100;
const TOLERANCE = 0.01;

/** Plans for one class, owned as `owners` says (-1: by nobody); `homeOf` says where a slot would like to be. */
export function makePlan(part: SlotClass, owners: Int32Array, homeOf: (slot: number) => number): Plan {
  const { heaviestFirst, weights } = part;
  const workers = part.precedence.length;
  const { giants, rows } = findGiants(part);
  const loads = new Float64Array(workers);
  let hasOrphans = false;
  for (let index = 0; index < heaviestFirst.length; index += 1) {
    const slot = heaviestFirst[index]!;
    const owner = owners[slot]!;
    if (owner < 0) hasOrphans = true;
    else if (index >= giants) loads[owner]! += weights[slot]!;
  }
  const giantSlots = heaviestFirst.subarray(0, giants);
  const giantWorkers = placeGiants(giantSlots, { owners, loads, homeOf });
  const giantWeights = new Float64Array(workers);
  giantWorkers.forEach((worker, index) => {
    giantWeights[worker] = weights[giantSlots[index]!]!;
  });
  const receivers = workers - giants;
  const bounds = evenBounds(part, { giants, rows, receivers });
  let unevenness = 0;
  giantWorkers.forEach((worker, index) => {
    if (owners[giantSlots[index]!] !== worker) unevenness += weights[giantSlots[index]!]! ** 2;
  });
  for (let worker = 0; worker < workers; worker += 1) {
    unevenness += distance(loads[worker]!, giantWeights[worker]!, bounds) ** 2;
  }
  return {
    giants,
    giantWorkers,
    giantWeights,
    quotas: dealShares(part, { rows, receivers, loads, giantWeights }),
    loads,
    bounds,
    mean: rows / receivers,
    hasOrphans,
    unevenness,
  };
}

/**
 * Takes away the heaviest slot while it alone is more than the share of what is left; one worker always remains
 * without.
 */
function findGiants({ heaviestFirst, weights, precedence }: SlotClass): { giants: number; rows: number } {
  let rows = 0;
  for (let index = 0; index < heaviestFirst.length; index += 1) rows += weights[heaviestFirst[index]!]!;
  let giants = 0;
  while (giants < heaviestFirst.length) {
    const weight = weights[heaviestFirst[giants]!]!;
    if (weight <= Math.ceil(rows / (precedence.length - giants))) break;
    rows -= weight;
    giants += 1;
  }
  return { giants, rows };
}

/**
 * One giant a worker. The heaviest on a worker stays there; the others, and orphans, go to workers that have the least
 * to give away for it, home where that costs nothing.
 */
function placeGiants(
  giantSlots: Int32Array,
  now: { owners: Int32Array; loads: Float64Array; homeOf: (slot: number) => number },
): Int32Array {
  const result = new Int32Array(giantSlots.length).fill(-1);
  const isTaken = new Uint8Array(now.loads.length);
  giantSlots.forEach((slot, index) => {
    const owner = now.owners[slot]!;
    if (owner < 0 || isTaken[owner] === 1) return;
    isTaken[owner] = 1;
    result[index] = owner;
  });
  if (!result.includes(-1)) return result;
  const leastFirst = Int32Array.from(now.loads.keys()).sort((a, b) => now.loads[a]! - now.loads[b]! || a - b);
  let next = 0;
  giantSlots.forEach((slot, index) => {
    if (result[index] !== -1) return;
    while (isTaken[leastFirst[next]!] === 1) next += 1;
    const home = now.homeOf(slot);
    const isHomeAsGood = isTaken[home] === 0 && now.loads[home] === now.loads[leastFirst[next]!];
    const worker = isHomeAsGood ? home : leastFirst[next]!;
    isTaken[worker] = 1;
    result[index] = worker;
  });
  return result;
}

/**
 * The whole share for everyone; the remainder's rows first to workers that hold them already, so that they need not
 * move.
 */
function dealShares(
  part: SlotClass,
  deal: { rows: number; receivers: number; loads: Float64Array; giantWeights: Float64Array },
): Float64Array {
  const { loads, giantWeights } = deal;
  const share = Math.floor(deal.rows / deal.receivers);
  let remainder = deal.rows - share * deal.receivers;
  const quotas = new Float64Array(loads.length);
  for (const isHolderTurn of [true, false]) {
    for (let index = 0; index < part.precedence.length; index += 1) {
      const worker = part.precedence[index]!;
      if (giantWeights[worker]! > 0 || loads[worker]! > share !== isHolderTurn) continue;
      quotas[worker] = remainder > 0 ? share + 1 : share;
      if (remainder > 0) remainder -= 1;
    }
  }
  return quotas;
}

function distance(load: number, giantWeight: number, bounds: Bounds): number {
  if (giantWeight > 0) return load + giantWeight <= bounds.ceiling ? 0 : load;
  return outOfBounds(load, bounds);
}

/** How far a load is from the bounds, 0 within. */
export function outOfBounds(load: number, { floor, ceiling }: Bounds): number {
  return Math.max(0, load - ceiling, floor - load);
}

/**
 * What counts as even. Where whole slots cannot come as near to the mean as is asked for, the nearest they can come
 * takes the mean's place, so that no row is moved for what cannot be reached.
 */
function evenBounds(part: SlotClass, left: { giants: number; rows: number; receivers: number }): Bounds {
  const mean = left.rows / left.receivers;
  const { leastMaximum, mostMinimum } = boundsOfWholeSlots(part, left);
  const isExact = part.isExact || mean < TOLERANCE_MEAN_ROWS;
  const floorOf = (rows: number): number => (isExact ? Math.floor(rows) : Math.ceil(rows * (1 - TOLERANCE)));
  const ceilingOf = (rows: number): number => (isExact ? Math.ceil(rows) : Math.floor(rows * (1 + TOLERANCE)));
  const isMinimumCoarse = mostMinimum < floorOf(mean);
  const isMaximumCoarse = leastMaximum > ceilingOf(mean);
  return {
    floor: floorOf(isMinimumCoarse ? mostMinimum : mean),
    ceiling: ceilingOf(isMaximumCoarse ? leastMaximum : mean),
    isExact,
    isCoarse: isMinimumCoarse || isMaximumCoarse,
  };
}

/**
 * No assignment has a maximum below `leastMaximum` or a minimum above `mostMinimum`.
 *
 * With k whole slots a worker and some over, x ≥ 1 workers hold more than k. They hold at least (k + 1)·x slots, and at
 * least all that are left by the others' k each; were these the lightest there are, their mean would still bound the
 * maximum. Which x it is nobody knows, so the least of all bounds counts. The minimum likewise, with the heaviest.
 */
function boundsOfWholeSlots(
  { heaviestFirst, weights }: SlotClass,
  left: { giants: number; rows: number; receivers: number },
): { leastMaximum: number; mostMinimum: number } {
  const { giants, rows, receivers } = left;
  const count = heaviestFirst.length - giants;
  const each = Math.floor(count / receivers);
  const over = count - each * receivers;
  if (over === 0) return { leastMaximum: 0, mostMinimum: Number.POSITIVE_INFINITY };
  const heaviest = new Float64Array(count + 1);
  for (let index = 0; index < count; index += 1) {
    heaviest[index + 1] = heaviest[index]! + weights[heaviestFirst[giants + index]!]!;
  }
  let leastMaximum = Number.POSITIVE_INFINITY;
  let mostMinimum = 0;
  for (let x = 1; x <= receivers; x += 1) {
    const slotsOfHolders = Math.max((each + 1) * x, over + each * x);
    if (slotsOfHolders <= count) leastMaximum = Math.min(leastMaximum, (rows - heaviest[count - slotsOfHolders]!) / x);
    const slotsOfOthers = Math.min(each * x, count - (each + 1) * (receivers - x));
    if (slotsOfOthers >= 0) mostMinimum = Math.max(mostMinimum, heaviest[slotsOfOthers]! / x);
  }
  return { leastMaximum, mostMinimum };
}
