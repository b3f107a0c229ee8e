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

const [ZERO, NINE, DASH, COMMA] = [48, 57, 45, 44];
const DIGITS_MOST = 10;
const PART_PATTERN = /^(0|[1-9]\d{0,9})(-(0|[1-9]\d{0,9}))?$/;

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
  const result: number[] = [];
  visitRanges(text, slots, (first, last) => {
    for (let slot = first; slot <= last; slot += 1) result.push(slot);
  });
  return result;
}

/**
 * Hands each part of a slot set to `visit`, its ends included; a single slot is a range from itself to itself. Throws as
 * `parseSlots` does, with the parts before the bad one visited.
 *
 * One loop over the characters: every worker reads all parts of every snapshot, and a pattern and `JSON.parse` take twice as
 * long.
 */
export function visitRanges(text: string, slots: number, visit: (first: number, last: number) => void): void {
  if (text === '') return;
  const end = text.length;
  let previous = -1;
  /** Of a range, once its dash is passed. */
  let start = -1;
  let number = 0;
  let digits = 0;
  for (let index = 0; index <= end; index += 1) {
    const code = index < end ? text.charCodeAt(index) : COMMA;
    if (code >= ZERO && code <= NINE && digits < DIGITS_MOST && (digits === 0 || number > 0)) {
      number = number * 10 + (code - ZERO);
      digits += 1;
      continue;
    }
    if (digits === 0) throw badPart(text);
    if (code === DASH && start < 0) {
      start = number;
    } else if (code === COMMA) {
      const first = start < 0 ? number : start;
      if (number >= slots || first <= previous || number <= start) throw badPlace({ start, number, previous }, slots);
      visit(first, number);
      previous = number;
      start = -1;
    } else {
      throw badPart(text);
    }
    number = 0;
    digits = 0;
  }
}

function badPart(text: string): SlotSetError {
  const part = text.split(',').find((candidate) => !PART_PATTERN.test(candidate)) ?? text;
  return new SlotSetError(`expected slots like "0-3,9,12-40", got the part ${quote(part)}`);
}

function badPlace(
  { start, number, previous }: { readonly start: number; readonly number: number; readonly previous: number },
  slots: number,
): SlotSetError {
  const part = start < 0 ? `${number}` : `${start}-${number}`;
  if (number <= start) return new SlotSetError(`expected a range's end above its start, got "${part}"`);
  if (number >= slots) return new SlotSetError(`expected slots from 0 to ${slots - 1}, got "${part}"`);
  return new SlotSetError(`expected ascending slots, got "${part}" after ${previous}`);
}

function quote(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}
