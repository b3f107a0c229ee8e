/**
 * Holds a table against the promise "each row grows by exactly one each second", from samples taken outside.
 *
 * Each sample reads, in one statement, every row's value and the last tick of its slot. The two are written by one
 * statement too, so between two samples a row must have grown by as much as its slot's tick number: more is a double
 * tick, less are missed ones. The database's own seconds bound both, so that the fence is not merely believed.
 */
export interface AuditedRow {
  readonly id: string;
  /** Null: it cannot grow, as neither can the largest integer. */
  readonly value: number | null;
  readonly slot: number;
  /** Whom the fence names for the row's slot. */
  readonly owner: string | null;
  readonly lastTick: number;
}

export interface AuditSample {
  /** The database's clock, epoch seconds. */
  readonly atSeconds: number;
  /** Everyone the fence names for any slot, also for slots without rows. */
  readonly workers: readonly string[];
  readonly rows: readonly AuditedRow[];
}

export interface RowFinding {
  readonly id: string;
  readonly slot: number;
  readonly owner: string | null;
  readonly missed: number;
  readonly double: number;
}

export interface AuditResult {
  readonly seconds: number;
  readonly samples: number;
  readonly rows: number;
  readonly missed: number;
  readonly double: number;
  /** Rows whose slot has no owner in the fence. */
  readonly unowned: number;
  /** Rows at NULL or the largest integer: nobody can tick them. */
  readonly exhausted: number;
  readonly shares: Readonly<Record<string, number>>;
  readonly isUneven: boolean;
  /** The worst rows, at most ten. */
  readonly worst: readonly RowFinding[];
  readonly isClean: boolean;
}

interface Track {
  readonly row: AuditedRow;
  /** Ticks are owed from the one after this on: the slot's last, or the second the row was first seen in where that is later. */
  readonly tick: number;
  readonly missed: number;
  readonly double: number;
  readonly firstValue: number;
  /** No tick up to this one came after the row was first seen. */
  readonly firstTick: number;
}

const LARGEST_INTEGER = 2_147_483_647;
/** A slot ticked in this second or the one before is up to date: workers' phases differ. */
const FRESH_TICKS = 2;

export class AuditLog {
  readonly #isUneven: (shares: readonly number[]) => boolean;
  #tracks = new Map<string, Track>();
  #first: AuditSample | null = null;
  #last: AuditSample | null = null;
  #samples = 0;
  /** Findings of rows that were deleted meanwhile. */
  #gone: Track[] = [];

  constructor(isUneven: (shares: readonly number[]) => boolean) {
    this.#isUneven = isUneven;
  }

  add(sample: AuditSample): void {
    this.#first ??= sample;
    const tracks = new Map<string, Track>();
    for (const row of sample.rows) {
      if (isExhausted(row.value)) continue;
      const known = this.#tracks.get(row.id);
      tracks.set(row.id, known === undefined ? begin(row, sample) : compare(known, row, sample));
    }
    for (const [id, track] of this.#tracks) if (!tracks.has(id)) this.#gone.push(track);
    this.#tracks = tracks;
    this.#last = sample;
    this.#samples += 1;
  }

  result(): AuditResult {
    const first = this.#first;
    const last = this.#last;
    if (first === null || last === null) throw new Error('no sample was taken');
    const tracks = this.#finished(last);
    const missed = tracks.reduce((sum, track) => sum + track.missed, 0);
    const double = tracks.reduce((sum, track) => sum + track.double, 0);
    const shares = countShares(last);
    const isUneven = this.#isUneven(Object.values(shares));
    const unowned = last.rows.filter(({ owner }) => owner === null).length;
    return {
      seconds: Math.round(last.atSeconds - first.atSeconds),
      samples: this.#samples,
      rows: last.rows.length,
      missed,
      double,
      unowned,
      exhausted: last.rows.filter(({ value }) => isExhausted(value)).length,
      shares,
      isUneven,
      worst: listFindings(tracks).slice(0, 10),
      isClean: missed === 0 && double === 0 && unowned === 0 && !isUneven,
    };
  }

  /** All rows with a missed or double tick, the worst first. */
  findings(): RowFinding[] {
    return this.#last === null ? [] : listFindings(this.#finished(this.#last));
  }

  #finished(last: AuditSample): Track[] {
    return [...[...this.#tracks.values()].map((track) => addLag(track, last)), ...this.#gone];
  }
}

/** A row seen for the first time. Its slot may have been empty until now: then its ticks are owed from this second on. */
function begin(row: AuditedRow, sample: AuditSample): Track {
  const second = Math.floor(sample.atSeconds);
  return {
    row,
    tick: row.lastTick >= second - FRESH_TICKS ? row.lastTick : second,
    missed: 0,
    double: 0,
    firstValue: row.value ?? 0,
    firstTick: Math.max(row.lastTick, second - FRESH_TICKS),
  };
}

function compare(known: Track, row: AuditedRow, sample: AuditSample): Track {
  const grown = (row.value ?? 0) - (known.row.value ?? 0);
  // Somebody else set the value: what it grew by says nothing.
  if (grown < 0) return { ...begin(row, sample), missed: known.missed, double: known.double };
  const owed = Math.max(0, row.lastTick - known.tick);
  // Not what is owed: a slot first seen standing still may yet be ticked for that second, and for the one before it.
  const allowed = Math.max(0, row.lastTick - known.row.lastTick);
  // Workers' estimates of the database's clock may be a little ahead of it.
  const possible = Math.floor(sample.atSeconds) + 1 - known.firstTick;
  const beyondClock = (row.value ?? 0) - known.firstValue - possible - known.double;
  return {
    ...known,
    row,
    tick: Math.max(known.tick, row.lastTick),
    missed: known.missed + Math.max(0, owed - grown),
    double: known.double + Math.max(0, grown - allowed, beyondClock),
  };
}

/** Seconds at the end that nobody has ticked, and that are too long ago to be still on their way. */
function addLag(track: Track, last: AuditSample): Track {
  const lag = Math.floor(last.atSeconds) - FRESH_TICKS - track.tick;
  return lag > 0 ? { ...track, missed: track.missed + lag } : track;
}

function listFindings(tracks: readonly Track[]): RowFinding[] {
  return tracks
    .filter((track) => track.missed > 0 || track.double > 0)
    .sort((a, b) => b.double - a.double || b.missed - a.missed || (a.row.id < b.row.id ? -1 : 1))
    .map(({ row, missed, double }) => ({ id: row.id, slot: row.slot, owner: row.owner, missed, double }));
}

function countShares({ workers, rows }: AuditSample): Record<string, number> {
  const shares: Record<string, number> = Object.fromEntries(workers.map((worker) => [worker, 0]));
  for (const { owner } of rows) if (owner !== null) shares[owner] = (shares[owner] ?? 0) + 1;
  return shares;
}

function isExhausted(value: number | null): boolean {
  return value === null || value >= LARGEST_INTEGER;
}
