import { earliest } from '../../shared/machine/machine.ts';
import type { WorkerEffect } from './protocol.ts';
import type { SliceState } from './slice.ts';

/**
 * The planned leave: withdraw the liveness key, go on ticking until the fence names others for every slot, then stop.
 * So a scale-down, a rollout or a drain costs no tick.
 *
 * It is over when no slot is mine any more, when there is nobody to hand over to, or when the grace ends.
 */
export interface Departure {
  readonly sinceMs: number;
  readonly isAsking: boolean;
  /** When to read the fence again; null: as soon as there is reason to. */
  readonly askAtMs: number | null;
  /** The slots that the fence still names me for; null: not read since the slice became empty. */
  readonly owned: readonly number[] | null;
}

export interface DepartureContext {
  readonly slice: SliceState;
  readonly worker: string;
  readonly isWithdrawn: boolean;
  readonly graceMs: number;
  readonly nowMs: number;
}

export interface DepartureStep {
  readonly departure: Departure | null;
  readonly effects: readonly WorkerEffect[];
  readonly isOver: boolean;
}

const ASK_EVERY_MS = 20;

export function startDeparture(nowMs: number): Departure {
  return { sinceMs: nowMs, isAsking: false, askAtMs: null, owned: null };
}

/** A failed read (null) is asked again. */
export function finishOwnedRead(
  departure: Departure | null,
  owned: readonly number[] | null,
  nowMs: number,
): Departure | null {
  return departure === null ? null : { ...departure, isAsking: false, askAtMs: nowMs + ASK_EVERY_MS, owned };
}

export function advanceDeparture(departure: Departure | null, context: DepartureContext): DepartureStep {
  if (departure === null) return { departure, effects: [], isOver: false };
  const { slice, nowMs } = context;
  if (nowMs - departure.sinceMs >= context.graceMs) {
    const slots = departure.owned?.length ?? slice.slots.length + slice.lingering.length;
    const over = finish(departure, 'the grace of the planned leave is over');
    return { ...over, effects: [{ kind: 'report', report: { kind: 'grace-over', slots } }, ...over.effects] };
  }
  if (context.isWithdrawn && isNobodyElse(slice, context.worker)) return finish(departure, 'left as the last worker');
  const isHandedOver = slice.slots.length === 0 && slice.applying === null;
  if (!context.isWithdrawn || !isHandedOver) {
    return { departure: { ...departure, askAtMs: null, owned: null }, effects: [], isOver: false };
  }
  if (departure.owned?.length === 0) return finish(departure, 'left; every slot has its new owner');
  const isEarly = departure.askAtMs !== null && nowMs < departure.askAtMs;
  if (departure.isAsking || isEarly) return { departure, effects: [], isOver: false };
  return { departure: { ...departure, isAsking: true }, effects: [{ kind: 'read-owned' }], isOver: false };
}

export function departureWakeAtMs(departure: Departure | null, graceMs: number): number | null {
  if (departure === null) return null;
  return earliest(departure.sinceMs + graceMs, departure.isAsking ? null : departure.askAtMs);
}

function isNobodyElse(slice: SliceState, worker: string): boolean {
  const newest = slice.waiting ?? slice.applying?.snapshot ?? slice.applied;
  return newest === null || newest.workers.every(({ id }) => id === worker);
}

function finish(departure: Departure, reason: string): DepartureStep {
  return { departure, effects: [{ kind: 'stop', code: 0, reason }], isOver: true };
}
