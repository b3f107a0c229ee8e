import { type BlockedRows, slotsOfBlocked } from './blocked-rows.ts';
import type { TickForm } from './protocol.ts';

/**
 * Which slots are ticked in a slower form, apart from the others: one bad row is to slow down one slot. A slot goes back to
 * the fast form when it has been without trouble for some rounds.
 *
 * Where the fast form fails again and again, because an application locks rows everywhere, all slots go by the slower form for
 * a while: a statement that fails has written for nothing.
 */
export interface TroubledSlots {
  readonly slots: ReadonlyMap<number, Trouble>;
  readonly everywhere: Trouble | null;
  /** Rounds in a row that were worn out by locks. */
  readonly wornOut: number;
  /** Rounds in a row of which rows were withheld without an error. */
  readonly withheld: number;
  readonly nextCheck: number;
}

interface Trouble {
  readonly form: Exclude<TickForm, 'fast'>;
  /** The last tick for which it counts. */
  readonly until: number;
}

export const NO_TROUBLED_SLOTS: TroubledSlots = {
  slots: new Map(),
  everywhere: null,
  wornOut: 0,
  withheld: 0,
  nextCheck: 0,
};

const CALM_ROUNDS = 3;
const WARY_ROUNDS_MOST = 16;
const CHECK_PAUSE_MOST = 64;

export function noteTrouble(
  state: TroubledSlots,
  slots: readonly number[],
  trouble: { readonly form: Trouble['form']; readonly tick: number },
): TroubledSlots {
  if (slots.length === 0) return state;
  const { form, tick } = trouble;
  const next = new Map(state.slots);
  for (const slot of slots) {
    const isCareful = form === 'careful' || (next.get(slot)?.form === 'careful' && next.get(slot)!.until > tick);
    next.set(slot, { form: isCareful ? 'careful' : form, until: tick + CALM_ROUNDS });
  }
  return { ...state, slots: next };
}

/** Rounds in which the fast form failed twice, or each time, have waited and written enough for nothing. */
export function endTroubledRound(
  state: TroubledSlots,
  round: {
    readonly tick: number;
    readonly fastChunks: number;
    readonly heldUp: number;
    readonly isWithheld: boolean;
  },
): TroubledSlots {
  const { tick } = round;
  const kept = [...state.slots].filter(([, { until }]) => until > tick);
  const slots = kept.length === state.slots.size ? state.slots : new Map(kept);
  let next: TroubledSlots = { ...state, slots };
  if (next.everywhere !== null && next.everywhere.until <= tick) next = { ...next, everywhere: null };
  if (round.heldUp > 0 && (round.heldUp > 1 || round.fastChunks === 1)) {
    const wornOut = next.wornOut + 1;
    const rounds = Math.min(WARY_ROUNDS_MOST, 2 ** wornOut);
    const isWary = wornOut > 1 || round.heldUp > 1;
    next = { ...next, wornOut, everywhere: isWary ? { form: 'over', until: tick + rounds } : next.everywhere };
  } else if (round.fastChunks > 0 && round.heldUp === 0) {
    next = { ...next, wornOut: 0 };
  }
  if (!round.isWithheld) return { ...next, withheld: 0, nextCheck: 0 };
  const withheld = next.withheld + 1;
  if (tick < next.nextCheck) return { ...next, withheld };
  // The careful form finds out which rows: in the next round, and then ever more seldom.
  const nextCheck = tick + Math.min(CHECK_PAUSE_MOST, 2 ** withheld);
  return { ...next, withheld, nextCheck, everywhere: { form: 'careful', until: tick + 1 } };
}

/** The slots that do not go by the fast form, in their order. */
export function formsOf(
  state: TroubledSlots,
  blocked: BlockedRows,
  slots: readonly number[],
  nowMs: number,
): { readonly over: readonly number[]; readonly careful: readonly number[] } {
  const ofBlocked = slotsOfBlocked(blocked, nowMs);
  if (state.everywhere === null && state.slots.size === 0 && ofBlocked.size === 0) return { over: [], careful: [] };
  const over: number[] = [];
  const careful: number[] = [];
  for (const slot of slots) {
    const form = state.slots.get(slot)?.form;
    const isOnTrial = ofBlocked.get(slot);
    if (isOnTrial === true || form === 'careful' || state.everywhere?.form === 'careful') careful.push(slot);
    else if (isOnTrial === false || form === 'over' || state.everywhere !== null) over.push(slot);
  }
  return { over, careful };
}
