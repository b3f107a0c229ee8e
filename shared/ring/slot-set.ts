/**
 * Slot sets as text: `0-3,9,12-40`. A snapshot carries one for each worker, and a person reads it there.
 *
 * The ring hands out neighbouring slots together, so ranges keep a snapshot small: 65,536 slots spread over 6,000
 * workers fit in one message. Sets are strictly ascending; `encodeSlots` always joins neighbours, so equal sets are
 * equal texts.
 */

/** A text that is no slot set of this table. Retrying cannot help: the sender is wrong. */
export class SlotSetError extends Error {
  override readonly name = 'SlotSetError';
  readonly code = 'bad-slot-set';
}

const NO_NUMBER = -1;
const DIGITS_MOST = 10;

/** Writes strictly ascending slots as text; `''` for none. */
export function encodeSlots(sorted: ArrayLike<number>): string {
  const parts: string[] = [];
  let index = 0;
  while (index < sorted.length) {
    const first = sorted[index]!;
    let last = first;
    while (index + 1 < sorted.length && sorted[index + 1] === last + 1) {
      last += 1;
      index += 1;
    }
    parts.push(first === last ? `${first}` : `${first}-${last}`);
    index += 1;
  }
  return parts.join(',');
}

/**
 * Reads a slot set of a table with `slots` slots.
 *
 * @returns the slots, ascending; `[]` for `''`.
 * @throws SlotSetError on bad syntax, and on parts out of range, out of order or overlapping.
 */
export function parseSlots(text: string, slots: number): number[] {
  if (text === '') return [];
  const result: number[] = [];
  let previous = -1;
  for (const part of text.split(',')) {
    const dash = part.indexOf('-');
    const first = parseNumber(part, 0, dash < 0 ? part.length : dash);
    const last = dash < 0 ? first : parseNumber(part, dash + 1, part.length);
    if (first === NO_NUMBER || last === NO_NUMBER) {
      throw new SlotSetError(`expected slots like "0-3,9,12-40", got the part ${quote(part)}`);
    }
    if (dash >= 0 && last <= first) {
      throw new SlotSetError(`expected a range's end above its start, got "${part}"`);
    }
    if (last >= slots) throw new SlotSetError(`expected slots from 0 to ${slots - 1}, got "${part}"`);
    if (first <= previous) throw new SlotSetError(`expected ascending slots, got "${part}" after ${previous}`);
    for (let slot = first; slot <= last; slot += 1) result.push(slot);
    previous = last;
  }
  return result;
}

/** By hand: a pattern takes twice as long, and every worker reads all parts of every snapshot. */
function parseNumber(text: string, from: number, to: number): number {
  const length = to - from;
  if (length < 1 || length > DIGITS_MOST || (length > 1 && text[from] === '0')) return NO_NUMBER;
  let number = 0;
  for (let index = from; index < to; index += 1) {
    const digit = text.charCodeAt(index) - 48;
    if (digit < 0 || digit > 9) return NO_NUMBER;
    number = number * 10 + digit;
  }
  return number;
}

function quote(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}
