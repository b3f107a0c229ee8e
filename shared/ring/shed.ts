import { type HashRing, homeOf } from './hash-ring.ts';
import type { Plan, SlotClass } from './quota.ts';

/**
 * Lets slots go: first those whose home has room for them, then others away from home, last those at home. Within each
 * the order is the ring's, which says nothing about weights: shedding the heaviest would leave some workers with
 * nothing but light slots, and a large claim to run, for the same rows.
 */
export function shedSlots(
  part: SlotClass,
  plan: Plan,
  scene: { owners: Int32Array; loads: Float64Array; ring: HashRing },
): void {
  const { owners, loads, ring } = scene;
  const { slots, weights } = part;
  const before = owners.slice();
  const excess = loads.map((load, worker) => Math.max(0, load - plan.quotas[worker]!));
  if (excess.every((rows) => rows === 0)) return;
  const hasRoom = loads.map((load, worker) => (load < plan.quotas[worker]! ? 1 : 0));
  const isGiant = new Uint8Array(owners.length);
  for (let index = 0; index < plan.giants; index += 1) isGiant[part.heaviestFirst[index]!] = 1;
  for (const turn of [0, 1, 2]) {
    for (let index = 0; index < slots.length; index += 1) {
      const slot = slots[index]!;
      const owner = owners[slot]!;
      if (owner < 0 || weights[slot]! > excess[owner]! || isGiant[slot] === 1) continue;
      const home = homeOf(ring, slot);
      if ((home === owner ? 2 : hasRoom[home] === 1 ? 0 : 1) !== turn) continue;
      owners[slot] = -1;
      excess[owner]! -= weights[slot]!;
    }
  }
  trimExcess(part, plan, { before, owners, excess });
  for (let index = plan.giants; index < part.heaviestFirst.length; index += 1) {
    const slot = part.heaviestFirst[index]!;
    if (owners[slot]! < 0 && before[slot]! >= 0) loads[before[slot]!]! -= weights[slot]!;
  }
}

/**
 * Where the released slots do not add up to the excess: releases a kept one in place of a lighter released one, if that
 * comes nearer.
 */
function trimExcess(
  part: SlotClass,
  plan: Plan,
  now: { before: Int32Array; owners: Int32Array; excess: Float64Array },
): void {
  const { before, owners, excess } = now;
  const { weights } = part;
  const kept: number[][] = [];
  const released: number[][] = [];
  for (let index = plan.giants; index < part.heaviestFirst.length; index += 1) {
    const slot = part.heaviestFirst[index]!;
    const owner = before[slot]!;
    if (owner < 0 || excess[owner] === 0) continue;
    const list = owners[slot] === owner ? kept : released;
    list[owner] ??= [];
    list[owner]!.push(slot);
  }
  released.forEach((candidates, worker) => {
    const others = kept[worker] ?? [];
    let next = 0;
    let best = { keep: -1, release: -1, more: 0 };
    for (const keep of candidates) {
      while (next < others.length && weights[others[next]!]! - weights[keep]! > excess[worker]!) next += 1;
      if (next === others.length) break;
      const more = weights[others[next]!]! - weights[keep]!;
      if (more > best.more) best = { keep, release: others[next]!, more };
    }
    if (best.more === 0) return;
    owners[best.keep] = worker;
    owners[best.release] = -1;
  });
}
