import { PHASES } from '../../shared/ring/recovery.ts';
import { type Summary, summarize } from '../support/statistics.ts';
import type { RecoveryEvent } from './events.ts';
import type { Measurement } from './measurement.ts';

/** All that is told of one kind of event. Pure. */
export interface EventResult {
  readonly event: Pick<RecoveryEvent, 'key' | 'title' | 'from' | 'promise'>;
  readonly measurements: readonly Measurement[];
  /** Repetitions that came to no end, with the reason. */
  readonly failures: readonly string[];
}

export interface BenchSetting {
  readonly workers: number;
  readonly coordinators: number;
  readonly rows: number;
  readonly repeat: number;
  /** What as many bare processes took, see `measureFloor`. */
  readonly floorMs: readonly number[];
  /** How crashes become known. */
  readonly evidence: string;
  readonly machine: string;
  readonly at: string;
}

export function describeInMarkdown(setting: BenchSetting, results: readonly EventResult[]): string {
  const { workers, coordinators, rows, evidence, machine, at, floorMs } = setting;
  return [
    '# Time to recover, measured',
    '',
    `${workers} workers, ${coordinators} coordinators, ${rows} rows, each process real, ${evidence}, on ${machine}; ${at}. Times in ms.`,
    '',
    'Handover: from the fault to the moment that the last orphaned row’s slot was seen claimed in Postgres by another worker, from outside. First tick: to the moment that it was seen ticked by that worker;',
    'up to a second where its former owner had ticked the second already, and nothing is late.',
    `${describeResolution(results)}`,
    '',
    describeFloor(floorMs),
    '',
    markdownTable(
      ['event', 'from', 'n', 'p50', 'p90', 'p99', 'max', 'promise p50 / p99', 'first tick p50', 'max'],
      results.map(handoverRow),
    ),
    '',
    markdownTable(
      [
        'event',
        'missed ticks',
        'as told',
        'most of one row',
        'promise',
        'double ticks',
        'rings, most',
        'moved rows / minimum',
        'incomplete',
        'failed',
      ],
      results.map(costRow),
    ),
    '',
    'Phases, as the leader summed them up: from the evidence on. A phase that an event does not have, or whose ends are not known, is left out.',
    '',
    markdownTable(['event', 'phase', 'n', 'p50', 'p90', 'p99', 'max'], results.flatMap(phaseRows)),
    '',
  ].join('\n');
}

/** One sentence, for the terminal and for the page. */
export function describeFloor(floorMs: readonly number[]): string {
  const [n, p50, p90, p99, max] = figures(summarize(floorMs));
  return `What the workers’ own work takes of this machine when one leaves: the others as bare processes that tick, renew and log, from the ring’s publish to the last claim: n ${n}, p50 ${p50}, p90 ${p90}, p99 ${p99}, max ${max} ms.`;
}

/** One event, in a few lines for the terminal. */
export function describeInText(result: EventResult): string {
  const { event, measurements, failures } = result;
  const [, , n, p50, p90, p99, max, promise] = handoverRow(result);
  const missed = sum(measurements, ({ missed }) => missed);
  const double = sum(measurements, ({ double }) => double);
  const lines = [
    `${event.title}: n ${n}, handover p50 ${p50} p90 ${p90} p99 ${p99} max ${max} ms (promised ${promise}), ${missed} missed, ${double} double`,
    ...phaseRows(result).map(
      ([, phase, , ...figures]) =>
        `    ${String(phase).padEnd(26)}${figures.map((one) => String(one).padStart(9)).join('')}`,
    ),
    ...failures.map((reason) => `    failed: ${reason}`),
  ];
  return lines.join('\n');
}

function handoverRow({ event, measurements }: EventResult): string[] {
  const handover = summarize(measurements.map(({ handoverMs }) => handoverMs));
  const firstTick = summarize(known(measurements.map(({ firstTickMs }) => firstTickMs)));
  const { p50, p99 } = event.promise;
  const promise = `${p50 === null ? '–' : `≤ ${p50}`} / ≤ ${p99}`;
  return [event.title, event.from, ...figures(handover), promise, ms(firstTick?.p50), ms(firstTick?.max)];
}

function costRow({ event, measurements, failures }: EventResult): string[] {
  const missed = sum(measurements, (one) => one.missed);
  const told = sum(measurements, ({ missedTold }) => missedTold ?? 0);
  const most = Math.max(0, ...measurements.map(({ missedPerRow }) => missedPerRow));
  const double = sum(measurements, (one) => one.double);
  const rings = Math.max(0, ...measurements.map((one) => one.rings));
  const moved = sum(measurements, ({ movedRows }) => movedRows);
  const minimum = sum(measurements, ({ minimumRows }) => minimumRows);
  const incomplete = measurements.filter(({ isComplete }) => !isComplete).length;
  const counts = [
    missed,
    told,
    most,
    event.promise.missedPerRow,
    double,
    rings,
    `${moved} / ${minimum}`,
    incomplete,
    failures.length,
  ];
  return [event.title, ...counts.map(String)];
}

function phaseRows({ event, measurements }: EventResult): string[][] {
  return PHASES.flatMap((phase) => {
    const summary = summarize(known(measurements.map(({ phases }) => phases?.[phase] ?? null)));
    return summary === null ? [] : [[event.title, phase, ...figures(summary)]];
  });
}

function describeResolution(results: readonly EventResult[]): string {
  const gaps = summarize(results.flatMap(({ measurements }) => measurements.flatMap(({ gapsMs }) => gapsMs)));
  if (gaps === null) return 'The fence was not looked at.';
  return `The fence was looked at every ${ms(gaps.p50)} ms (p50; p99 ${ms(gaps.p99)}): so much later than it happened a claim may have been seen.`;
}

function figures(summary: Summary | null): string[] {
  if (summary === null) return ['0', '–', '–', '–', '–'];
  return [String(summary.n), ms(summary.p50), ms(summary.p90), ms(summary.p99), ms(summary.max)];
}

function ms(value: number | undefined): string {
  return value === undefined ? '–' : value.toFixed(1);
}

function known(values: readonly (number | null)[]): number[] {
  return values.filter((value) => value !== null);
}

function sum(measurements: readonly Measurement[], of: (measurement: Measurement) => number): number {
  return measurements.reduce((total, measurement) => total + of(measurement), 0);
}

function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].join('\n');
}
