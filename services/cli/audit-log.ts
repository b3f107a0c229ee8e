import type { InspectedRow } from '../../shared/postgres/inspection.ts';
import { addLag, beginTrack, canGrow, followTrack, type Moment, type Track } from './audit-track.ts';

/**
 * Holds a table against the promise "each row grows by exactly one each second", from samples taken outside.
 *
 * Each sample reads, in one statement, every row's value and the last tick of its slot. The two are written by one
 * statement too, so between two samples a row must have grown by as much as its slot's tick number: more is a double
 * tick, less are missed ones. The database's own seconds bound both, so that the fence is not merely believed.
 *
 * What it cannot see: a double and a missed tick of one row between two samples. A slot is ticked once a second, so samples that
 * are less than a second apart see every tick alone, except right after an outage, when two follow each other closely.
 */
export interface AuditSample {
  /** The database's clock, epoch seconds. */
  readonly atSeconds: number;
  /**
   * When the sample was asked for and answered, by a clock of the auditor's host that nobody sets; missing: steps of the database's
   * clock are not known.
   */
  readonly takenMs?: { readonly from: number; readonly to: number };
  /** Everyone the fence names for any slot, also for slots without rows. */
  readonly workers: readonly string[];
  readonly rows: readonly InspectedRow[];
}

export interface RowFinding {
  readonly id: string;
  readonly slot: number;
  readonly owner: string | null;
  readonly missed: number;
  readonly double: number;
  readonly isMisnamed: boolean;
}

export interface AuditResult {
  readonly seconds: number;
  readonly samples: number;
  /** The longest time between two samples: within it, a double and a missed tick of one row cancel. */
  readonly longestGapSeconds: number;
  /** Postgres did not answer. Ticks missed during the outage are counted all the same. */
  readonly blindSeconds: number;
  /** In the last sample. */
  readonly rows: number;
  readonly missed: number;
  readonly double: number;
  /** Most rows at one sample whose slot has no owner in the fence. */
  readonly unowned: number;
  /** Rows whose `currentworker` named another than the fence's owner, after a tick of the owner. */
  readonly misnamed: number;
  /** Rows at NULL or the largest integer: nobody can tick them. In the last sample. */
  readonly exhausted: number;
  /** In the last sample. */
  readonly shares: Readonly<Record<string, number>>;
  /** At the last sample, or for a second at a time: handovers and new rows make shares uneven for some milliseconds. */
  readonly isUneven: boolean;
  /** The longest time for which every sample showed uneven shares. */
  readonly unevenSeconds: number;
  /** The worst rows, at most ten. */
  readonly worst: readonly RowFinding[];
  readonly isClean: boolean;
}

/** Shares that are uneven for longer are a fault: a handover is promised within this. */
const SETTLING_SECONDS = 1;
/** A difference between two clocks that is no step, but the way of an answer. */
const STEP_TOLERANCE_MS = 500;

export class AuditLog {
  readonly #isUneven: (shares: readonly number[]) => boolean;
  #tracks = new Map<string, Track>();
  #first: AuditSample | null = null;
  #last: AuditSample | null = null;
  #samples = 0;
  #longestGapSeconds = 0;
  #blindSeconds = 0;
  #steppedSeconds = 0;
  #mostUnowned = 0;
  /** For how long the samples up to the last have shown uneven shares without exception; null: the last one did not. */
  #unevenForSeconds: number | null = null;
  #longestUnevenSeconds = 0;
  /** Findings of rows that were deleted meanwhile. */
  #gone: Track[] = [];

  constructor(isUneven: (shares: readonly number[]) => boolean) {
    this.#isUneven = isUneven;
  }

  add(sample: AuditSample): void {
    const moment = this.#begin(sample);
    const tracks = new Map<string, Track>();
    for (const row of sample.rows) {
      if (!canGrow(row)) continue;
      const known = this.#tracks.get(row.id);
      tracks.set(row.id, known === undefined ? beginTrack(row, moment) : followTrack(known, row, moment));
    }
    for (const [id, track] of this.#tracks) if (!tracks.has(id)) this.#gone.push(track);
    this.#tracks = tracks;
    this.#noteShares(sample, moment.passedSeconds);
    this.#first ??= sample;
    this.#last = sample;
    this.#samples += 1;
  }

  noteSilence(seconds: number): void {
    this.#blindSeconds += seconds;
  }

  /** Until the first sample there is no result. */
  get hasSamples(): boolean {
    return this.#last !== null;
  }

  result(): AuditResult {
    const first = this.#first;
    const last = this.#last;
    if (first === null || last === null) throw new Error('no sample was taken');
    const tracks = this.#finished(last);
    const missed = tracks.reduce((sum, track) => sum + track.missed, 0);
    const double = tracks.reduce((sum, track) => sum + track.double, 0);
    const misnamed = tracks.filter(({ isMisnamed }) => isMisnamed).length;
    const isUneven = this.#unevenForSeconds !== null || this.#longestUnevenSeconds >= SETTLING_SECONDS;
    const unowned = this.#mostUnowned;
    return {
      seconds: Math.round(last.atSeconds - first.atSeconds - this.#steppedSeconds),
      samples: this.#samples,
      longestGapSeconds: round(this.#longestGapSeconds),
      blindSeconds: round(this.#blindSeconds),
      rows: last.rows.length,
      missed,
      double,
      unowned,
      misnamed,
      exhausted: last.rows.filter((row) => !canGrow(row)).length,
      shares: countShares(last),
      isUneven,
      unevenSeconds: round(this.#longestUnevenSeconds),
      worst: listFindings(tracks).slice(0, 10),
      isClean: missed === 0 && double === 0 && unowned === 0 && misnamed === 0 && !isUneven,
    };
  }

  /** All rows with a missed or double tick or a wrong name, the worst first. */
  findings(): RowFinding[] {
    return this.#last === null ? [] : listFindings(this.#finished(this.#last));
  }

  #begin(sample: AuditSample): Moment {
    const before = this.#last;
    const stepTicks = before === null ? 0 : stepBetween(before, sample);
    const passedSeconds = before === null ? 0 : Math.max(0, sample.atSeconds - before.atSeconds - stepTicks);
    this.#steppedSeconds += stepTicks;
    this.#longestGapSeconds = Math.max(this.#longestGapSeconds, passedSeconds);
    return { atSeconds: sample.atSeconds, steppedSeconds: this.#steppedSeconds, stepTicks, passedSeconds };
  }

  #noteShares(sample: AuditSample, passedSeconds: number): void {
    const isUneven = this.#isUneven(Object.values(countShares(sample)));
    const since = this.#unevenForSeconds;
    this.#unevenForSeconds = isUneven ? (since === null ? 0 : since + passedSeconds) : null;
    this.#longestUnevenSeconds = Math.max(this.#longestUnevenSeconds, this.#unevenForSeconds ?? 0);
    const unowned = sample.rows.filter(({ owner }) => owner === null).length;
    this.#mostUnowned = Math.max(this.#mostUnowned, unowned);
  }

  #finished(last: AuditSample): Track[] {
    return [...[...this.#tracks.values()].map((track) => addLag(track, last.atSeconds)), ...this.#gone];
  }
}

/** By how many whole seconds the database's clock was set, forward or back, as far as the time of the answers leaves no doubt. */
function stepBetween(before: AuditSample, after: AuditSample): number {
  if (before.takenMs === undefined || after.takenMs === undefined) return 0;
  const wentMs = (after.atSeconds - before.atSeconds) * 1000;
  const mostMs = after.takenMs.to - before.takenMs.from;
  const leastMs = after.takenMs.from - before.takenMs.to;
  const isForward = wentMs > mostMs + STEP_TOLERANCE_MS;
  const isBack = wentMs < leastMs - STEP_TOLERANCE_MS;
  return isForward || isBack ? Math.round((wentMs - (mostMs + leastMs) / 2) / 1000) : 0;
}

function listFindings(tracks: readonly Track[]): RowFinding[] {
  return tracks
    .filter((track) => track.missed > 0 || track.double > 0 || track.isMisnamed)
    .sort((a, b) => b.double - a.double || b.missed - a.missed || (a.row.id < b.row.id ? -1 : 1))
    .map(({ row, missed, double, isMisnamed }) => {
      return { id: row.id, slot: row.slot, owner: row.owner, missed, double, isMisnamed };
    });
}

function countShares({ workers, rows }: AuditSample): Record<string, number> {
  const shares: Record<string, number> = Object.fromEntries(workers.map((worker) => [worker, 0]));
  for (const { owner } of rows) if (owner !== null) shares[owner] = (shares[owner] ?? 0) + 1;
  return shares;
}

/** Hundredths. */
function round(seconds: number): number {
  return Math.round(seconds * 100) / 100;
}
