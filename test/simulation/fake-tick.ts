import type { BlockedRow, TickRequest } from '../../shared/postgres/tick-result.ts';
import type { Rows } from './fake-rows.ts';
import { hashOf, nameOf } from './fake-rows.ts';

/** Bad rows that one tick statement has the time to find; a slot that is begun is brought to its end. */
const BAD_AT_ONCE = 2;

/** What becomes of one slot's rows in a tick. */
export interface TriedSlot {
  readonly isStamped: boolean;
  /** Ids of the rows incremented. */
  readonly ticked: readonly string[];
}

/** What a tick statement finds of the rows of its slots, one slot after the other. */
export class RowsTried {
  visible = 0;
  checksum = 0n;
  readonly held: number[] = [];
  readonly undecided: number[] = [];
  readonly undecidedRows: number[] = [];
  readonly blocked: BlockedRow[] = [];
  readonly skippedIds: string[] = [];
  readonly cleared: string[] = [];
  readonly #rows: Rows;
  readonly #leftOut: ReadonlySet<string>;
  readonly #paused: ReadonlySet<number>;
  readonly #onTrial: readonly string[];
  readonly #isLast: boolean;

  readonly #seen: ReadonlySet<string> | null;

  constructor(
    rows: Rows,
    args: Pick<TickRequest, 'leftOut' | 'leftOutSlots' | 'onTrial' | 'isLast'> & {
      readonly seen: ReadonlySet<string> | null;
    },
  ) {
    this.#rows = rows;
    this.#seen = args.seen;
    this.#leftOut = new Set(args.leftOut);
    this.#paused = new Set(args.leftOutSlots);
    this.#onTrial = args.onTrial ?? [];
    this.#isLast = args.isLast === true;
    this.cleared.push(...this.#onTrial.filter((name) => !rows.has(name)));
  }

  /** Those that the statement sees. */
  of(slot: number): readonly string[] {
    const all = [...this.#rows.of(slot)];
    return this.#seen === null ? all : all.filter((id) => this.#seen?.has(id));
  }

  try(slot: number): TriedSlot {
    const { locked, bad } = this.#rows;
    const all = this.of(slot);
    this.visible += all.length;
    for (const id of all) this.checksum ^= hashOf(nameOf(id, slot));
    const wanted = this.#paused.has(slot) ? [] : all.filter((id) => !this.#leftOut.has(nameOf(id, slot)));
    const met = wanted.filter((id) => locked.has(id));
    const unable = wanted.filter((id) => bad.has(id) && !locked.has(id));
    if (met.length > 0 && !this.#isLast) this.held.push(slot);
    if (met.length > 0 && !this.#isLast) return { isStamped: false, ticked: [] };
    this.skippedIds.push(...met.map((id) => nameOf(id, slot)));
    if (unable.length > 0 && this.blocked.length >= BAD_AT_ONCE) {
      this.undecided.push(slot);
      this.undecidedRows.push(wanted.length);
      return { isStamped: this.#isLast, ticked: [] };
    }
    const message = 'violates a check constraint';
    this.blocked.push(...unable.map((id) => ({ id: nameOf(id, slot), slot, state: '23514', message })));
    const ticked = wanted.filter((id) => !locked.has(id) && !bad.has(id));
    this.cleared.push(...ticked.map((id) => nameOf(id, slot)).filter((name) => this.#onTrial.includes(name)));
    return { isStamped: true, ticked };
  }
}
