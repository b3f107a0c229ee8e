import type { TickResult } from '../../shared/postgres/tick-result.ts';

/**
 * Rows that get no ticks: each costs itself and no other row.
 *
 * - Rows that cannot be written stand in `rows`. Ticks leave them out; each is tried again when its pause is over, and the
 *   pause doubles with each failure. If there are too many to remember, whole slots pause instead.
 * - Rows that stay locked until the end of a second are known for that second only; their slots are tried at every tick.
 * - Rows at NULL or the largest integer are written, and cannot grow.
 *
 * A blocked row begins and ends once, however often it is tried.
 */
export interface BlockedRows {
  readonly rows: ReadonlyMap<string, BadRow>;
  readonly slots: ReadonlyMap<number, PausedSlot>;
  /** Of the newest whole second. */
  readonly passing: Passing;
  /** Of the second under way. */
  readonly gathered: Passing;
}

export const BLOCKED_REASONS = ['locked', 'constraint', 'trigger', 'withheld', 'null', 'exhausted', 'other'] as const;
export type BlockedReason = (typeof BLOCKED_REASONS)[number];
export type BlockedCounts = Readonly<Record<BlockedReason, number>>;

interface BadRow {
  readonly slot: number;
  readonly reason: BlockedReason;
  readonly pauseMs: number;
  readonly trialAtMs: number;
}

interface PausedSlot {
  readonly rows: number;
  readonly reason: BlockedReason;
  readonly pauseMs: number;
  readonly trialAtMs: number;
}

/** Numbers of rows, and the ids of some of them. */
interface Passing {
  readonly counts: Readonly<Record<PassingReason, number>>;
  readonly ids: ReadonlyMap<string, PassingReason>;
}

type PassingReason = 'locked' | 'null' | 'exhausted';

/** What a person is told: rows that became blocked, and ids of those that are blocked no more. */
export interface BlockedChange {
  readonly begun: readonly { readonly id: string; readonly reason: BlockedReason; readonly message: string }[];
  readonly ended: readonly string[];
}

export interface BlockedStep {
  readonly state: BlockedRows;
  readonly change: BlockedChange;
}

/** For one tick statement. */
export interface LeavingOut {
  readonly leftOut: readonly string[];
  readonly leftOutSlots: readonly number[];
  readonly onTrial: readonly string[];
}

const NOTHING: Passing = { counts: { locked: 0, null: 0, exhausted: 0 }, ids: new Map() };
export const NO_BLOCKED_ROWS: BlockedRows = { rows: new Map(), slots: new Map(), passing: NOTHING, gathered: NOTHING };

const PAUSE_FIRST_MS = 1_000;
const PAUSE_LONGEST_MS = 60_000;
/** Rows remembered one by one. Their ids travel with each tick. */
export const ROWS_MOST = 10_000;
const TRIALS_MOST = 200;
const MESSAGES: Readonly<Record<PassingReason, string>> = {
  locked: 'another transaction holds its lock; look for long transactions in pg_stat_activity',
  null: 'its value is NULL; set a value to let it go on',
  exhausted: 'its value is the largest integer; set a smaller one to let it go on',
};

export function leavingOut(state: BlockedRows, slots: readonly number[], nowMs: number): LeavingOut {
  if (state.rows.size === 0 && state.slots.size === 0) return { leftOut: [], leftOutSlots: [], onTrial: [] };
  const asked = new Set(slots);
  const leftOut: string[] = [];
  const onTrial: string[] = [];
  for (const [id, { slot, trialAtMs }] of state.rows) {
    if (!asked.has(slot)) continue;
    const isDue = trialAtMs <= nowMs && onTrial.length < TRIALS_MOST;
    (isDue ? onTrial : leftOut).push(id);
  }
  const leftOutSlots = slots.filter((slot) => (state.slots.get(slot)?.trialAtMs ?? Number.NEGATIVE_INFINITY) > nowMs);
  return { leftOut, leftOutSlots, onTrial };
}

/** Slots of rows that cannot be written, with whether a trial is due. */
export function slotsOfBlocked(state: BlockedRows, nowMs: number): ReadonlyMap<number, boolean> {
  const slots = new Map<number, boolean>();
  for (const { slot, trialAtMs } of state.rows.values()) {
    if (slots.get(slot) !== true) slots.set(slot, trialAtMs <= nowMs);
  }
  for (const [slot, { trialAtMs }] of state.slots) slots.set(slot, trialAtMs <= nowMs || slots.get(slot) === true);
  return slots;
}

/** Takes in what one tick statement found. */
export function noteBlocked(
  state: BlockedRows,
  result: TickResult,
  asked: { readonly slots: readonly number[]; readonly isLast: boolean; readonly nowMs: number },
): BlockedStep {
  const gathered = gather(state.gathered, result);
  if (result.blocked.length === 0 && result.cleared.length === 0 && state.slots.size === 0) {
    return { state: { ...state, gathered }, change: NO_CHANGE };
  }
  const rows = new Map(state.rows);
  const slots = new Map(state.slots);
  const begun: BlockedChange['begun'][number][] = [];
  const ended = result.cleared.filter((id) => rows.delete(id));
  const tooMany = new Map<number, BlockedReason>();
  for (const { id, slot, state: sqlState, message } of result.blocked) {
    const reason = reasonOf(sqlState);
    const former = rows.get(id);
    if (former === undefined && rows.size >= ROWS_MOST) {
      tooMany.set(slot, reason);
      continue;
    }
    const pauseMs = reason === 'locked' ? 0 : lengthen(former?.pauseMs);
    rows.set(id, { slot, reason, pauseMs, trialAtMs: asked.nowMs + pauseMs });
    if (former === undefined) begun.push({ id, reason, message });
  }
  for (const slot of asked.slots) {
    const former = slots.get(slot);
    const isTried = former !== undefined && former.trialAtMs <= asked.nowMs;
    const index = result.undecided.indexOf(slot);
    const isOver = tooMany.has(slot) || (index >= 0 && asked.isLast && rows.size >= ROWS_MOST);
    if (isOver && (former === undefined || isTried)) {
      const pauseMs = lengthen(former?.pauseMs);
      const reason = tooMany.get(slot) ?? former?.reason ?? reasonOf(result.blocked[0]?.state ?? '');
      const count = result.undecidedRows[index] ?? former?.rows ?? 1;
      slots.set(slot, { rows: count, reason, pauseMs, trialAtMs: asked.nowMs + pauseMs });
    } else if (isTried && result.stamped > 0 && index < 0) {
      slots.delete(slot);
    }
  }
  return { state: { ...state, rows, slots, gathered }, change: { begun, ended } };
}

/** A second is whole: what was gathered stands until the next one is. Only `slots` are the worker's still. */
export function endBlockedSecond(
  state: BlockedRows,
  second: { readonly slots: readonly number[]; readonly isWhole: boolean },
): BlockedStep {
  const own = new Set(second.slots);
  const rows = keepOwn(state.rows, ([, { slot }]) => own.has(slot));
  const slots = keepOwn(state.slots, ([slot]) => own.has(slot));
  // Slots that are still to be tried say nothing yet of rows that cannot grow.
  const passing = second.isWhole ? state.gathered : keepLarger(state.passing, state.gathered);
  const begun = [...passing.ids].flatMap(([id, reason]) =>
    state.passing.ids.get(id) === reason ? [] : [{ id, reason, message: MESSAGES[reason] }],
  );
  const ended = [...state.passing.ids.keys()].filter((id) => !passing.ids.has(id) && !rows.has(id));
  return { state: { rows, slots, passing, gathered: NOTHING }, change: { begun, ended } };
}

export function countBlocked({ rows, slots, passing }: BlockedRows): BlockedCounts {
  const counts = Object.fromEntries(BLOCKED_REASONS.map((reason) => [reason, 0])) as Record<BlockedReason, number>;
  for (const { reason } of rows.values()) counts[reason] += 1;
  for (const slot of slots.values()) counts[slot.reason] += slot.rows;
  for (const reason of ['locked', 'null', 'exhausted'] as const) counts[reason] += passing.counts[reason];
  return counts;
}

export function totalOf(counts: BlockedCounts): number {
  return BLOCKED_REASONS.reduce((sum, reason) => sum + counts[reason], 0);
}

/** By the SQL state. Classes: integrity constraint violation, WITH CHECK OPTION violation. */
export function reasonOf(sqlState: string): BlockedReason {
  if (sqlState === 'NSW01') return 'withheld';
  if (sqlState === '55P03' || sqlState === '40P01') return 'locked';
  if (sqlState.startsWith('23') || sqlState.startsWith('44')) return 'constraint';
  return sqlState === 'P0001' || sqlState === 'P0004' ? 'trigger' : 'other';
}

const NO_CHANGE: BlockedChange = { begun: [], ended: [] };

function gather(gathered: Passing, result: TickResult): Passing {
  if (result.skipped === 0 && result.exhaustedCount === 0) return gathered;
  const { locked, null: nulls, exhausted } = gathered.counts;
  const ids = new Map(gathered.ids);
  for (const id of result.skippedIds) ids.set(id, 'locked');
  for (const id of result.exhausted) {
    if (id.startsWith('-')) ids.set(id.slice(1), 'null');
    else ids.set(id, 'exhausted');
  }
  return {
    counts: {
      locked: locked + result.skipped,
      null: nulls + result.nullCount,
      exhausted: exhausted + result.exhaustedCount - result.nullCount,
    },
    ids,
  };
}

function keepLarger(former: Passing, gathered: Passing): Passing {
  const larger = (reason: PassingReason) => Math.max(former.counts[reason], gathered.counts[reason]);
  const unable = [...former.ids].filter(([, reason]) => reason !== 'locked');
  return {
    counts: { locked: gathered.counts.locked, null: larger('null'), exhausted: larger('exhausted') },
    ids: new Map([...unable, ...gathered.ids]),
  };
}

/** The same map where nothing is to go. */
function keepOwn<Key, Value>(map: ReadonlyMap<Key, Value>, isOwn: (entry: [Key, Value]) => boolean) {
  const kept = [...map].filter(isOwn);
  return kept.length === map.size ? map : new Map(kept);
}

function lengthen(pauseMs: number | undefined): number {
  return pauseMs === undefined ? PAUSE_FIRST_MS : Math.min(PAUSE_LONGEST_MS, Math.max(PAUSE_FIRST_MS, pauseMs * 2));
}
