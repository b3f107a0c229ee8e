/** Which ticks were missed, and how long rest took to come back, by the trouble that was there. */
export interface TroubleTally {
  readonly trouble: string;
  times: number;
  /** Row-seconds. */
  missed: number;
  /** From each trouble's end until all was at rest; those that the next trouble overtook are left out. */
  readonly settledMs: number[];
}

/** What came so long after the last trouble's end is not its doing. */
const AFTERMATH_MS = 20_000;
const CALM = 'no fault near';

/** Two faults at once are told of together; each single kind has a line of its own. */
export class Tally {
  readonly #tallies = new Map<string, TroubleTally>();
  #current: { readonly trouble: string; endedMs: number | null; isSettled: boolean } | null = null;
  #missed = 0;

  begin(trouble: string): void {
    this.#of(trouble).times += 1;
    this.#current = { trouble, endedMs: null, isSettled: false };
  }

  end(nowMs: number): void {
    if (this.#current !== null) this.#current.endedMs = nowMs;
  }

  /** A look at the system: all ticks missed so far, and whether it is at rest now. */
  note(seen: { readonly missed: number; readonly isAtRest: boolean; readonly nowMs: number }): void {
    const current = this.#current;
    const isNear = current !== null && (current.endedMs === null || seen.nowMs - current.endedMs < AFTERMATH_MS);
    const more = seen.missed - this.#missed;
    if (more > 0) {
      this.#of(isNear ? current.trouble : CALM).missed += more;
      this.#missed = seen.missed;
    }
    if (current === null || current.endedMs === null || current.isSettled || !seen.isAtRest) return;
    current.isSettled = true;
    this.#of(current.trouble).settledMs.push(seen.nowMs - current.endedMs);
  }

  /** Those that cost most first. */
  result(): TroubleTally[] {
    return [...this.#tallies.values()].sort((a, b) => b.missed - a.missed || (a.trouble < b.trouble ? -1 : 1));
  }

  #of(trouble: string): TroubleTally {
    const known = this.#tallies.get(trouble);
    if (known !== undefined) return known;
    const made: TroubleTally = { trouble, times: 0, missed: 0, settledMs: [] };
    this.#tallies.set(trouble, made);
    return made;
  }
}
