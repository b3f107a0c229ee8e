import type { AuditResult } from '../../services/cli/audit-log.ts';
import { formatTable } from '../../services/cli/output.ts';
import type { ProcessMemory } from './memory.ts';
import type { TroubleTally } from './tally.ts';

export interface SoakResult {
  readonly seed: number;
  readonly minutes: number;
  readonly isInterrupted: boolean;
  readonly troubles: readonly TroubleTally[];
  readonly audit: AuditResult;
  readonly memory: readonly ProcessMemory[];
  /** What must not happen, and did. */
  readonly failures: readonly string[];
}

/** The final tables. */
export function describeSoak(result: SoakResult): string {
  const { audit, troubles, memory, failures } = result;
  const times = troubles.reduce((sum, trouble) => sum + trouble.times, 0);
  const ran = `${result.minutes.toFixed(1)} minutes${result.isInterrupted ? ', interrupted' : ''}`;
  const lines = [
    `soak of ${ran}, seed ${result.seed}: ${times} troubles, ${audit.rows} rows, ${audit.samples} samples`,
    `double ticks: ${audit.double}; missed ticks, in row-seconds: ${audit.missed}`,
    '',
    formatTable(
      ['trouble', 'times', 'missed', 'missed each', 'rest after s: median', 'longest'],
      foldPairs(troubles).map((trouble) => troubleRow(trouble)),
    ),
    '',
    memory.length === 0
      ? 'no memory to tell of: no process was there for long, or this system has no /proc'
      : formatTable(
          ['process', 'minutes', 'first MB', 'last MB', 'most MB', 'slope MB/h'],
          memory.map((each) => memoryRow(each)),
        ),
    '',
    ...(failures.length === 0 ? ['passed'] : ['FAILED', ...failures.map((failure) => `  ${failure}`)]),
  ];
  return lines.join('\n');
}

/** Pairs are many, and each comes seldom: here they are one line, in the JSON each has its own. */
function foldPairs(troubles: readonly TroubleTally[]): TroubleTally[] {
  const pairs = troubles.filter(({ trouble }) => trouble.includes(' + '));
  if (pairs.length === 0) return [...troubles];
  const singles = troubles.filter((trouble) => !pairs.includes(trouble));
  const sum = (count: (pair: TroubleTally) => number) => pairs.reduce((total, pair) => total + count(pair), 0);
  const times = sum((pair) => pair.times);
  const missed = sum((pair) => pair.missed);
  return [
    ...singles,
    { trouble: 'two of these at once', times, missed, settledMs: pairs.flatMap(({ settledMs }) => settledMs) },
  ];
}

function troubleRow({ trouble, times, missed, settledMs }: TroubleTally): (string | number)[] {
  const sorted = [...settledMs].sort((a, b) => a - b);
  const seconds = (ms: number | undefined) => (ms === undefined ? '–' : (ms / 1000).toFixed(1)).padStart(7);
  const each = times === 0 ? '–' : (missed / times).toFixed(1);
  return [
    trouble,
    times,
    missed,
    each.padStart(11),
    seconds(sorted[Math.floor(sorted.length / 2)]).padStart(20),
    seconds(sorted.at(-1)),
  ];
}

function memoryRow({ name, minutes, firstMb, lastMb, mostMb, slopeMbPerHour }: ProcessMemory): (string | number)[] {
  const [first, last, most] = [firstMb, lastMb, mostMb].map((mb) => mb.toFixed(1).padStart(8));
  const slope = slopeMbPerHour === null ? '–' : slopeMbPerHour.toFixed(2);
  return [name, minutes.toFixed(1).padStart(7), first!, last!, most!, slope.padStart(10)];
}
