import { formatNumber, type Table } from '../support/markdown.ts';
import { barChart } from '../support/svg.ts';
import { countKilled, judge, missedShare, throughputRatio, type WorkloadResult } from './verdicts.ts';

export function figuresTable(results: readonly WorkloadResult[]): Table {
  return {
    head: [
      'workload',
      'tx/s before',
      'without',
      'with',
      'ratio',
      'p99 ms without',
      'with',
      'ticks missed',
      'unavoidable',
      'share',
      'double',
      'tx killed',
      'evictions',
      'longest claim ms',
    ],
    rows: results.map((result) => [
      result.workload,
      formatNumber(result.before.throughput, 1),
      formatNumber(result.without.throughput, 1),
      formatNumber(result.with.throughput, 1),
      throughputRatio(result).toFixed(2),
      formatNumber(result.without.p99Ms, 1),
      formatNumber(result.with.p99Ms, 1),
      formatNumber(result.missed),
      formatNumber(result.unavoidable),
      `${(missedShare(result) * 100).toFixed(2)} %`,
      formatNumber(result.double),
      describeKilled(result.killed),
      formatNumber(result.evictions),
      formatNumber(result.longestClaimMs),
    ]),
  };
}

export function verdictsTable(results: readonly WorkloadResult[]): Table {
  const rows = results.flatMap((result) =>
    judge(result).map(({ target, seen, isMet }) => [result.workload, target, seen, isMet ? 'met' : 'MISSED']),
  );
  return { head: ['workload', 'target', 'seen', 'verdict'], rows };
}

export function throughputChart(results: readonly WorkloadResult[]): string {
  return barChart(
    'Throughput of the application, with Notifi-Scaler to without',
    results.map((result) => {
      const ratio = throughputRatio(result);
      return { label: result.workload, value: ratio, text: ratio.toFixed(2) };
    }),
  );
}

/** "2 (40P01: 2)"; "0". */
function describeKilled(killed: Readonly<Record<string, number>>): string {
  const states = Object.entries(killed).map(([state, count]) => `${state}: ${count}`);
  return states.length === 0 ? '0' : `${countKilled(killed)} (${states.join(', ')})`;
}
