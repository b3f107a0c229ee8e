import type { TickLane } from './protocol.ts';
import { mergeSlots, within } from './slice.ts';

/**
 * What one tick statement is sent for. A statement holds its slots' locks, which claims wait for, and holds pruning back: so it
 * is to be short. But each has costs of its own, and one of few rows says little about how long a row takes.
 */
export interface Chunk {
  readonly lane: TickLane;
  readonly slots: readonly number[];
  /** Some rows are known to be locked: they are passed over without a wait. */
  readonly passOver: boolean;
}

const CHUNK_MS = 20;
const LEAST_CHUNK_ROWS = 3_000;
/** What the newest statement counts in the mean. */
const NEWEST_SHARE = 0.2;

/**
 * Cuts a round. Slots with locked rows come apart and last: the others are as quick as ever, and the locks have the most time to
 * go. Lingering slots come first: their next owner may have died, and their tick must not wait for it.
 */
export function makeChunks(
  asked: {
    readonly slots: readonly number[];
    readonly lingering: readonly number[];
    readonly lockedSlots: readonly number[];
  },
  size: {
    /** Of all `slots`. */
    readonly rows: number;
    /** At most so many in a chunk; fewer where as many have recently taken longer than a statement should. */
    readonly chunkRows: number;
    readonly msPerRow: number | null;
  },
): Chunk[] {
  const { slots, lingering, lockedSlots } = asked;
  const locked = within(slots, lockedSlots);
  const calm = mergeSlots(slots, [], locked);
  const most = chunkRowsFor(size.msPerRow, size.chunkRows);
  const cut = (some: readonly number[], passOver: boolean): Chunk[] =>
    cutSlots(some, (size.rows * some.length) / Math.max(1, slots.length), most).map((part) => ({
      lane: 'round',
      slots: part,
      passOver,
    }));
  const chunks: Chunk[] = [];
  if (lingering.length > 0) {
    chunks.push({ lane: 'lingering', slots: lingering, passOver: within(lingering, lockedSlots).length > 0 });
  }
  // Also of no slots: a round always asks Postgres, so a tick done proves that Postgres answers.
  if (calm.length > 0 || locked.length === 0) chunks.push(...cut(calm, false));
  if (locked.length > 0) chunks.push(...cut(locked, true));
  return chunks;
}

/** How long a row of a tick statement takes, after one more statement; null: not measured yet. */
export function timeRow(
  msPerRow: number | null,
  statement: { readonly rows: number; readonly ms: number },
): number | null {
  if (statement.rows < LEAST_CHUNK_ROWS / 2) return msPerRow;
  const newest = statement.ms / statement.rows;
  return msPerRow === null ? newest : msPerRow + (newest - msPerRow) * NEWEST_SHARE;
}

function chunkRowsFor(msPerRow: number | null, most: number): number {
  if (msPerRow === null) return most;
  return Math.min(most, Math.max(LEAST_CHUNK_ROWS, Math.floor(CHUNK_MS / msPerRow)));
}

/** At least one part. */
function cutSlots(slots: readonly number[], rows: number, chunkRows: number): (readonly number[])[] {
  const count = Math.max(1, Math.min(slots.length, Math.ceil(rows / chunkRows)));
  return Array.from({ length: count }, (_, index) =>
    slots.slice(Math.floor((index * slots.length) / count), Math.floor(((index + 1) * slots.length) / count)),
  );
}
