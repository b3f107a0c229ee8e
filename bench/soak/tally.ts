import type { Gap } from './gaps.ts';

/** Which ticks were missed, and how long rest took to come back, by the trouble that was there. */
export interface TroubleTally {
  readonly trouble: string;
  times: number;
  /** Row-seconds. */
  missed: number;
  /** From each trouble's end until all was at rest; those that the next trouble overtook are left out. */
  readonly settledMs: number[];
}

interface Episode {
  readonly trouble: string;
  readonly beganMs: number;
  /** Null: it lasts. */
  endedMs: number | null;
  isSettled: boolean;
}

/** What begins so long after a trouble's end is not its doing. */
const AFTERMATH_MS = 20_000;
export const CALM = 'no fault near';

/** All times are epoch ms, by the clock that services, database and this run share. */
export class Tally {
  readonly #tallies = new Map<string, TroubleTally>();
  readonly #episodes: Episode[] = [];

  begin(trouble: string, nowMs: number): void {
    this.#of(trouble).times += 1;
    this.#episodes.push({ trouble, beganMs: nowMs, endedMs: null, isSettled: false });
  }

  end(nowMs: number): void {
    const episode = this.#episodes.at(-1);
    if (episode !== undefined) episode.endedMs = nowMs;
  }

  /** Puts a gap down to the last trouble that had begun when the first missing tick was due at the latest. */
  missed(gap: Gap): void {
    const dueMs = (gap.fromSecond + 1) * 1000;
    const cause = this.#episodes.findLast(({ beganMs }) => beganMs <= dueMs);
    const isNear = cause !== undefined && dueMs - (cause.endedMs ?? dueMs) < AFTERMATH_MS;
    this.#of(isNear ? cause.trouble : CALM).missed += gap.missed;
  }

  atRest(nowMs: number): void {
    const episode = this.#episodes.at(-1);
    if (episode === undefined || episode.endedMs === null || episode.isSettled) return;
    episode.isSettled = true;
    this.#of(episode.trouble).settledMs.push(nowMs - episode.endedMs);
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
