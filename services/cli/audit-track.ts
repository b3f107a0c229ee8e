import type { InspectedRow } from '../../shared/postgres/inspection.ts';

/** What an audit knows of one row, up to its newest sample. Pure. */
export interface Track {
  readonly row: InspectedRow;
  /** Ticks are owed from the one after this on: the slot's last, or the second the row was first seen in where that is later. */
  readonly tick: number;
  readonly missed: number;
  readonly double: number;
  /** `currentworker` named another than the owner, after a tick of the owner. */
  readonly isMisnamed: boolean;
  /** Tick numbers that the database's clock skipped, and that this row's slot has not passed yet: nobody owes them. */
  readonly skipped: number;
  readonly firstValue: number;
  /** No tick up to this one came after the row was first seen; less the clock's steps until then. */
  readonly firstTick: number;
  /** How the row stood when its slot was first seen with this owner: the tick that made it so may be a former owner's. */
  readonly ownedFrom: { readonly tick: number; readonly value: number };
}

/** When a sample was taken. */
export interface Moment {
  /** By the database's clock. */
  readonly atSeconds: number;
  /** By how much that clock has been set forward since the audit began. */
  readonly steppedSeconds: number;
  /** Set forward since the sample before; negative: back. */
  readonly stepTicks: number;
  /** Since the sample before. */
  readonly passedSeconds: number;
}

const LARGEST_INTEGER = 2_147_483_647;
/** A slot ticked in this second or the one before is up to date: workers' phases differ. */
export const FRESH_TICKS = 2;
/** Workers' estimates of the database's clock may be a little ahead of it, and a late tick may be followed at once by the next. */
const SPARE_TICKS = 2;

export function canGrow({ value }: InspectedRow): boolean {
  return value !== null && value < LARGEST_INTEGER;
}

/** A row seen for the first time. Its slot may have been empty until now: then its ticks are owed from this second on. */
export function beginTrack(row: InspectedRow, { atSeconds, steppedSeconds }: Moment): Track {
  const second = Math.floor(atSeconds);
  return {
    row,
    tick: row.lastTick >= second - FRESH_TICKS ? row.lastTick : second,
    missed: 0,
    double: 0,
    isMisnamed: false,
    skipped: 0,
    firstValue: countOf(row),
    firstTick: Math.max(row.lastTick, second - FRESH_TICKS) - steppedSeconds,
    ownedFrom: { tick: row.lastTick, value: countOf(row) },
  };
}

export function followTrack(known: Track, row: InspectedRow, moment: Moment): Track {
  const grown = countOf(row) - countOf(known.row);
  // Somebody else set the value: what it grew by says nothing.
  if (grown < 0) return { ...beginTrack(row, moment), ...findingsOf(known) };
  if (row.lastTick < known.row.lastTick) return followSetBack(known, row, { grown, moment });
  const owed = Math.max(0, row.lastTick - known.tick);
  // Not what is owed: a slot first seen standing still may yet be ticked for that second, and for the one before it.
  const allowed = row.lastTick - known.row.lastTick;
  const possible = Math.floor(moment.atSeconds - moment.steppedSeconds) + 1 - known.firstTick;
  const beyondClock = countOf(row) - known.firstValue - possible - known.double;
  const lacking = Math.max(0, owed - grown);
  const skipped = known.skipped + Math.max(0, moment.stepTicks);
  const forgiven = Math.min(lacking, skipped);
  return nameTrack({
    ...known,
    row,
    tick: Math.max(known.tick, row.lastTick),
    missed: known.missed + lacking - forgiven,
    double: known.double + Math.max(0, grown - allowed, beyondClock),
    skipped: skipped - forgiven,
    ownedFrom: row.owner === known.row.owner ? known.ownedFrom : { tick: row.lastTick, value: countOf(row) },
  });
}

/** The database's clock was set back, and the slot with it: its seconds come again. Only elapsed time bounds the ticks in between. */
function followSetBack(
  known: Track,
  row: InspectedRow,
  { grown, moment }: { readonly grown: number; readonly moment: Moment },
): Track {
  const double = Math.max(0, grown - Math.ceil(moment.passedSeconds) - SPARE_TICKS);
  return { ...beginTrack(row, moment), ...findingsOf(known), tick: row.lastTick, double: known.double + double };
}

/** Seconds at the end that nobody has ticked, and that are too long ago to be still on their way. */
export function addLag(track: Track, atSeconds: number): Track {
  const lag = Math.floor(atSeconds) - FRESH_TICKS - track.tick - track.skipped;
  return lag > 0 ? { ...track, missed: track.missed + lag } : track;
}

/** A row that its owner ticked names the owner. One that did not grow was perhaps skipped, because it was locked. */
function nameTrack(track: Track): Track {
  const { row, ownedFrom } = track;
  const isTicked = row.lastTick > ownedFrom.tick && countOf(row) > ownedFrom.value;
  return isTicked && row.owner !== null && row.currentWorker !== row.owner ? { ...track, isMisnamed: true } : track;
}

function findingsOf({ missed, double, isMisnamed }: Track): Pick<Track, 'missed' | 'double' | 'isMisnamed'> {
  return { missed, double, isMisnamed };
}

function countOf({ value }: InspectedRow): number {
  return value ?? 0;
}
