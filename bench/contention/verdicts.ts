/** The figures of a workload and the targets that they are held against. Pure. */
import { quantile } from '../support/statistics.ts';
import type { ApplicationRun } from './application-messages.ts';
import type { MissedTicks } from './missed-ticks.ts';

export interface WorkloadResult extends MissedTicks {
  readonly workload: string;
  readonly isRowLocked: boolean;
  readonly rows: number;
  readonly seconds: number;
  /** The application's table before a coordinator adopted it. */
  readonly before: Speed;
  /** Its twin that nobody adopted, and the adopted table: at the same time. */
  readonly without: Speed;
  readonly with: Speed;
  readonly killed: Readonly<Record<string, number>>;
  readonly evictions: number;
  /** Null: no claim was logged. */
  readonly longestClaimMs: number | null;
  /** Why the table was not at rest again within a minute; null: it was. */
  readonly unrest: string | null;
}

export interface Speed {
  /** Committed transactions a second. */
  readonly throughput: number;
  readonly p99Ms: number;
}

export interface Verdict {
  readonly target: string;
  readonly seen: string;
  readonly isMet: boolean;
}

const LONGEST_CLAIM_MS = 100;
const MISSED_SHARE = 0.005;
const THROUGHPUT_RATIO = 0.95;

export function speedOf({ throughput, latenciesMs }: ApplicationRun): Speed {
  return { throughput, p99Ms: quantile(latenciesMs, 0.99) };
}

export function countKilled(killed: Readonly<Record<string, number>>): number {
  return Object.values(killed).reduce((total, count) => total + count, 0);
}

export function throughputRatio(result: WorkloadResult): number {
  return result.with.throughput / result.without.throughput;
}

/** Of all ticks due while the application ran: the missed ones that somebody could have done. */
export function missedShare({ avoidable, rows, seconds }: WorkloadResult): number {
  return avoidable / (rows * seconds);
}

/** The targets that a workload has, met or not. */
export function judge(result: WorkloadResult): Verdict[] {
  return result.isRowLocked ? judgeLockedRow(result) : judgeOthers(result);
}

function judgeLockedRow({ missedByOthers, evictions, longestClaimMs }: WorkloadResult): Verdict[] {
  return [
    {
      target: 'only the locked row misses ticks',
      seen: `other rows missed ${missedByOthers}`,
      isMet: missedByOthers === 0,
    },
    { target: 'no worker is evicted', seen: `${evictions} evictions`, isMet: evictions === 0 },
    {
      target: `claims take at most ${LONGEST_CLAIM_MS} ms`,
      seen: longestClaimMs === null ? 'no claim was logged' : `the longest took ${longestClaimMs} ms`,
      isMet: longestClaimMs !== null && longestClaimMs <= LONGEST_CLAIM_MS,
    },
  ];
}

function judgeOthers(result: WorkloadResult): Verdict[] {
  const share = missedShare(result);
  const killed = countKilled(result.killed);
  const ratio = throughputRatio(result);
  return [
    {
      target: `at most ${MISSED_SHARE * 100} % of the ticks are missed`,
      seen: `${(share * 100).toFixed(2)} %`,
      isMet: share <= MISSED_SHARE,
    },
    { target: 'no application transaction is killed', seen: `${killed} killed`, isMet: killed === 0 },
    {
      target: `throughput at least ${THROUGHPUT_RATIO} of that without`,
      seen: ratio.toFixed(3),
      isMet: ratio >= THROUGHPUT_RATIO,
    },
  ];
}
