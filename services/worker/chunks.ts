import type { TickForm, TickLane } from './protocol.ts';
import { mergeSlots, within } from './slice.ts';

/**
 * What one tick statement is sent for. A statement holds its slots' locks, which claims wait for, and holds pruning back: so it
 * is to be short. But each has costs of its own, and one of few rows says little about how long a row takes.
 */
export interface Chunk {
  readonly lane: TickLane;
  readonly slots: readonly number[];
  readonly form: TickForm;
}

const CHUNK_MS = 20;
const LEAST_CHUNK_ROWS = 3_000;
/** What the newest statement counts in the mean. */
const NEWEST_SHARE = 0.2;

/** How much longer a row takes, about; claims wait for a statement of any form. */
const SLOWNESS: Readonly<Record<TickForm, number>> = { fast: 1, over: 2, careful: 4 };

export interface ChunkSize {
  /** Of all `slots`. */
  readonly rows: number;
  /** At most so many in a chunk; fewer where as many have recently taken longer than a statement should. */
  readonly chunkRows: number;
  readonly msPerRow: number | null;
}

/**
 * Cuts a round. Slots with trouble come apart and last: the others are as quick as ever, and locks have the most time to go.
 * Lingering slots come first: their next owner may have died, and their tick must not wait for it.
 */
export function makeChunks(
  asked: {
    readonly slots: readonly number[];
    readonly lingering: readonly number[];
    /** Slots that do not go by the fast form. */
    readonly over: readonly number[];
    readonly careful: readonly number[];
  },
  size: ChunkSize,
): Chunk[] {
  const { slots, lingering, over, careful } = asked;
  const isCalm = over.length === 0 && careful.length === 0;
  const [oddOver, oddCareful] = [within(slots, over), within(slots, careful)];
  const calm = isCalm ? slots : mergeSlots(slots, [], mergeSlots(oddOver, oddCareful));
  const hasTrouble = within(lingering, over).length > 0 || within(lingering, careful).length > 0;
  const chunks: Chunk[] = [];
  if (lingering.length > 0) chunks.push({ lane: 'lingering', slots: lingering, form: hasTrouble ? 'over' : 'fast' });
  const cut = (some: readonly number[], form: TickForm) =>
    cutSlots(some, { ...size, rows: (SLOWNESS[form] * size.rows * some.length) / Math.max(1, slots.length) }).map(
      (part): Chunk => ({ lane: 'round', slots: part, form }),
    );
  // Also of no slots: a round always asks Postgres, so a tick done proves that Postgres answers.
  if (calm.length > 0 || isCalm) chunks.push(...cut(calm, 'fast'));
  if (oddOver.length > 0) chunks.push(...cut(oddOver, 'over'));
  if (oddCareful.length > 0) chunks.push(...cut(oddCareful, 'careful'));
  if (!chunks.some(({ lane }) => lane === 'round')) chunks.push(...cut(calm, 'fast'));
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

/** `rows`: of the slots to be cut. @returns at least one part. */
export function cutSlots(slots: readonly number[], { rows, chunkRows, msPerRow }: ChunkSize): (readonly number[])[] {
  const most = chunkRowsFor(msPerRow, chunkRows);
  const count = Math.max(1, Math.min(slots.length, Math.ceil(rows / most)));
  return Array.from({ length: count }, (_, index) =>
    slots.slice(Math.floor((index * slots.length) / count), Math.floor(((index + 1) * slots.length) / count)),
  );
}
