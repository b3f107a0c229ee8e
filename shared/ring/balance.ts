/**
 * Shares the slots of one class out among the workers: evenly, moving as little as possible, and where there is a
 * choice to where the hash ring wants them.
 *
 * 1. Plan: everyone's quota, see quota.ts. All within bounds and no orphans: done, nothing moves.
 * 2. Shed: whoever holds more than its quota lets go of slots, as near to the excess as whole slots come from below.
 * 3. Place: what was let go and what has no owner goes home, or along the ring, or to whoever has the most room.
 * 4. Exchange: loads that are still out of bounds are evened out, see exchange.ts.
 *
 * Then all of it again from there, as long as that makes it more even: so what comes out is what would come out once
 * more.
 */
import { exchangeSlots } from './exchange.ts';
import { type HashRing, homeOf } from './hash-ring.ts';
import { placeSlots } from './place.ts';
import { makePlan, type Plan, type SlotClass } from './quota.ts';
import { shedSlots } from './shed.ts';

/**
 * What a balanced class is worth improving by where it cannot become even: as if one load came in from this share of
 * the mean.
 */
const NOTABLE = 0.05;

/**
 * By slot its owner, -1 for none; `ring` is only asked for when something moves. Returns `owners` itself when nothing
 * does.
 */
export function balance(part: SlotClass, owners: Int32Array, ring: () => HashRing): Int32Array {
  const planFor = (now: Int32Array): Plan => makePlan(part, now, (slot) => homeOf(ring(), slot));
  let current = owners;
  let plan = planFor(current);
  while (plan.hasOrphans || plan.unevenness > 0) {
    const next = rebalance(part, plan, current, ring());
    const nextPlan = planFor(next);
    if (!plan.hasOrphans && !isWorthMoving(plan, nextPlan)) break;
    current = next;
    plan = nextPlan;
  }
  return current;
}

/**
 * Without this, a few heavy slots that can never be shared out evenly would have rows moved for nothing at every change
 * of the table.
 */
function isWorthMoving(plan: Plan, next: Plan): boolean {
  const gain = plan.unevenness - next.unevenness;
  if (plan.bounds.isExact) return gain > 0;
  const isEvenNow = next.unevenness === 0 && !plan.bounds.isCoarse;
  return isEvenNow || gain >= (NOTABLE * plan.mean) ** 2;
}

function rebalance(part: SlotClass, plan: Plan, before: Int32Array, ring: HashRing): Int32Array {
  const owners = before.slice();
  const loads = plan.loads.slice();
  plan.giantWorkers.forEach((worker, index) => {
    owners[part.heaviestFirst[index]!] = worker;
  });
  shedSlots(part, plan, { owners, loads, ring });
  placeSlots(part, plan, { owners, loads, ring });
  exchangeSlots({ part, plan, owners, loads });
  return owners;
}
