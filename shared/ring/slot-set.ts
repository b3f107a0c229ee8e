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

const FIRST = '(?:0|[1-9]\\d{0,9})';
const PART = `${FIRST}(?:-[1-9]\\d{0,9})?`;
const PART_PATTERN = new RegExp(`^${PART}$`);
const SET_PATTERN = new RegExp(`^${PART}(?:,${PART})*$`);

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
 * A pattern and `JSON.parse`, both built in, rather than a look at each character: every worker reads all parts of every
 * snapshot, and code that runs so rarely runs slowly.
 */
export function visitRanges(text: string, slots: number, visit: (first: number, last: number) => void): void {
  if (text === '') return;
  if (!SET_PATTERN.test(text)) throw badPart(text);
  // `0-3,9` becomes [0, -3, 9]: what is negative ends the range before it.
  const numbers = JSON.parse(`[${text.replaceAll('-', ',-')}]`) as number[];
  let previous = -1;
  for (let index = 0; index < numbers.length; index += 1) {
    const first = numbers[index]!;
    const end = numbers[index + 1] ?? 0;
    const isRange = end < 0;
    const last = isRange ? -end : first;
    if (isRange) index += 1;
    if (last >= slots || first <= previous || (isRange && last <= first)) {
      throw badPlace({ first, last, isRange, previous }, slots);
    }
    visit(first, last);
    previous = last;
  }
}

function badPart(text: string): SlotSetError {
  const part = text.split(',').find((candidate) => !PART_PATTERN.test(candidate)) ?? text;
  return new SlotSetError(`expected slots like "0-3,9,12-40", got the part ${quote(part)}`);
}

function badPlace(
  at: { readonly first: number; readonly last: number; readonly isRange: boolean; readonly previous: number },
  slots: number,
): SlotSetError {
  const part = at.isRange ? `${at.first}-${at.last}` : `${at.first}`;
  if (at.isRange && at.last <= at.first) {
    return new SlotSetError(`expected a range's end above its start, got "${part}"`);
  }
  if (at.last >= slots) return new SlotSetError(`expected slots from 0 to ${slots - 1}, got "${part}"`);
  return new SlotSetError(`expected ascending slots, got "${part}" after ${at.previous}`);
}

function quote(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}
