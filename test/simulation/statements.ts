import type { Timeline } from './timeline.ts';

/** Postgres ends a statement after this long: `STATEMENT_LIMIT_MS` in `shared/postgres/connection.ts`. */
const LIMIT_MS = 10_000;

/** What a statement locks. */
export interface Locking {
  readonly by: Stallable & { readonly incarnation: number };
  /** In slot order: so none waits for another in a circle. */
  readonly slots: readonly number[];
  /** It has come to Postgres, and does not take effect at once. */
  begin?(): void;
}

interface Stallable {
  /** Statements of this process that wait, or are slow. */
  stalled: number;
  noteTrouble(): void;
}

interface Outcome {
  /** It takes effect, all at once. */
  answer(): void;
  /** It has no effect. */
  undo(): void;
}

interface Open {
  readonly locking: Locking;
  readonly outcome: Outcome;
  readonly slots: ReadonlySet<number>;
  isStarted: boolean;
}

/**
 * The statements that lock slots. Most take no time. One that hangs holds its locks, and later statements wait; it goes on
 * although the asker has given up, or died.
 */
export class Statements {
  /** How long the next statement of these processes hangs once it has its locks, ms. */
  readonly hangs = new Map<number, number>();
  /** The share of statements that Postgres undoes at once, as in a deadlock. */
  failShare = 0;
  readonly #timeline: Timeline;
  /** In the order they came; those that wait stand behind what they wait for. */
  readonly #open: Open[] = [];

  constructor(timeline: Timeline) {
    this.#timeline = timeline;
  }

  isLocked(slot: number): boolean {
    return this.#open.some(({ slots }) => slots.has(slot));
  }

  run(locking: Locking, outcome: Outcome): void {
    if (this.#open.length === 0 && !this.hangs.has(locking.by.incarnation)) return outcome.answer();
    const open: Open = { locking, outcome, slots: new Set(locking.slots), isStarted: false };
    this.#open.push(open);
    locking.begin?.();
    locking.by.stalled += 1;
    this.#timeline.after(LIMIT_MS, () => this.#end(open, 'undo'));
    this.#startAll();
  }

  /** Every connection breaks, and what is under way is undone. */
  cancelAll(): void {
    for (const open of [...this.#open]) this.#end(open, 'undo');
  }

  #startAll(): void {
    for (const open of [...this.#open]) {
      if (open.isStarted || !this.#open.includes(open) || this.#isBlocked(open)) continue;
      open.isStarted = true;
      const { incarnation } = open.locking.by;
      const hangsMs = this.hangs.get(incarnation);
      this.hangs.delete(incarnation);
      if (hangsMs === undefined) this.#end(open, 'answer');
      else this.#timeline.after(hangsMs, () => this.#end(open, 'answer'));
    }
  }

  #isBlocked(open: Open): boolean {
    const before = this.#open.slice(0, this.#open.indexOf(open));
    return before.some(({ slots }) => open.locking.slots.some((slot) => slots.has(slot)));
  }

  #end(open: Open, outcome: keyof Outcome): void {
    const index = this.#open.indexOf(open);
    if (index < 0) return;
    this.#open.splice(index, 1);
    open.locking.by.stalled -= 1;
    open.locking.by.noteTrouble();
    open.outcome[outcome]();
    this.#startAll();
  }
}
