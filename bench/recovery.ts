/**
 * How long does it take until every row is ticked again? Real processes and real signals, watched from outside.
 * Run: `npm run bench:recovery -- --help`; it ends by itself, and with it all that it started.
 */
import { writeFile } from 'node:fs/promises';
import { arch, cpus, loadavg, platform } from 'node:os';
import { parseArgs } from 'node:util';
import { randomNumbers } from '../test/support/assignment-oracle.ts';
import { EVENTS, type RecoveryEvent } from './recovery/events.ts';
import { Fleet } from './recovery/fleet.ts';
import { drawHistograms, type Histogram } from './recovery/histogram-picture.ts';
import { type Measurement, measureOnce, pauseAtRandom } from './recovery/measurement.ts';
import { type BenchSetting, describeInMarkdown, describeInText, type EventResult } from './recovery/report.ts';

const COORDINATORS = 2;
const QUICK_REPEAT = 2;
/** In a row: then the fleet is beyond mending. */
const FAILURES_MOST = 3;

const HELP = `Measures the time to recover from each kind of disruption, on servers and processes of its own.

Usage: npm run bench:recovery -- [options]

  --workers N       workers, at least 2 (4)
  --rows N          rows, 64 to 100000 (240)
  --repeat N        repetitions of each event (30)
  --events LIST     some of ${EVENTS.map(({ key }) => key).join(',')} (all)
  --probes-only     coordinators have no login in NATS' system account
  --quick           ${QUICK_REPEAT} repetitions of each
  --json FILE       all that was measured
  --markdown FILE   tables
  --svg FILE        histograms (beside the Markdown, where that is asked for)
`;

const { values } = parseArgs({
  options: {
    workers: { type: 'string', default: '4' },
    rows: { type: 'string', default: '240' },
    repeat: { type: 'string' },
    events: { type: 'string' },
    'probes-only': { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
    markdown: { type: 'string' },
    svg: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

process.exitCode = values.help ? showHelp() : await run();

function showHelp(): number {
  process.stdout.write(HELP);
  return 0;
}

async function run(): Promise<number> {
  const events = chooseEvents(values.events);
  const workers = wholeNumber('workers', values.workers, { min: 2, max: 100 });
  const rows = wholeNumber('rows', values.rows, { min: 64, max: 100_000 });
  const asked = values.repeat ?? (values.quick ? QUICK_REPEAT : 30);
  const repeat = wholeNumber('repeat', String(asked), { min: 1, max: 10_000 });
  const interrupted = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => interrupted.abort());
  say(`starting ${COORDINATORS} coordinators and ${workers} workers for ${rows} rows`);
  const probesOnly = values['probes-only'];
  const fleet = await Fleet.start({ workers, coordinators: COORDINATORS, rows, probesOnly }, interrupted.signal);
  const { natsVersion } = fleet;
  const results: EventResult[] = [];
  try {
    for (const event of events) {
      if (interrupted.signal.aborted) break;
      results.push(await measureEvent(fleet, event, { repeat, signal: interrupted.signal }));
    }
  } finally {
    await fleet.stop();
  }
  // Of the last quarter of an hour, this bench's own share included: what else ran is in the figures.
  const load = `load ${loadavg()[2]?.toFixed(1)}`;
  const processor = `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, ${platform()} ${arch()}, Node ${process.version}, ${load}`;
  const setting = {
    workers,
    coordinators: COORDINATORS,
    rows,
    repeat,
    evidence: `nats-server ${natsVersion}, ${probesOnly ? 'probes only' : 'with the system account'}`,
    machine: processor,
    at: new Date().toISOString(),
  };
  await writeResults(setting, results);
  return results.some(({ failures }) => failures.length > 0) ? 1 : 0;
}

async function measureEvent(
  fleet: Fleet,
  event: RecoveryEvent,
  { repeat, signal }: { readonly repeat: number; readonly signal: AbortSignal },
): Promise<EventResult> {
  const random = randomNumbers(EVENTS.indexOf(event));
  const measurements: Measurement[] = [];
  const failures: string[] = [];
  for (let round = 0; round < repeat && !signal.aborted && failures.length < FAILURES_MOST; round += 1) {
    const victim = fleet.workerIds[round % fleet.workerIds.length] ?? '';
    try {
      await fleet.settle();
      await pauseAtRandom(random);
      const measurement = await measureOnce(fleet, event, victim);
      measurements.push(measurement);
      const { handoverMs, missed, double } = measurement;
      const figures = `${handoverMs.toFixed(1)} ms, ${missed} missed, ${double} double`;
      process.stderr.write(`${event.key} ${round + 1}/${repeat}: ${figures}\n`);
    } catch (error) {
      failures.push(`repetition ${round + 1}: ${error instanceof Error ? error.message : String(error)}`);
      process.stderr.write(`${event.key} ${round + 1}/${repeat}: failed, ${failures.at(-1)}\n`);
      await fleet.restore();
    }
  }
  const result = { event, measurements, failures };
  say(describeInText(result));
  return result;
}

async function writeResults(setting: BenchSetting, results: readonly EventResult[]): Promise<void> {
  const { json, markdown } = values;
  const svg = values.svg ?? markdown?.replace(/(\.md)?$/, '.svg');
  if (json !== undefined) await writeFile(json, `${JSON.stringify({ setting, results }, withoutGaps, 1)}\n`);
  if (markdown !== undefined) await writeFile(markdown, describeInMarkdown(setting, results));
  if (svg !== undefined) await writeFile(svg, drawHistograms('Handover, from the fault', results.map(toHistogram)));
  if (markdown === undefined) say(`\n${describeInMarkdown(setting, results)}`);
}

/** Thousands of them, and summed up in the tables. */
function withoutGaps(key: string, value: unknown): unknown {
  return key === 'gapsMs' ? undefined : value;
}

function toHistogram({ event, measurements }: EventResult): Histogram {
  const { p50, p99 } = event.promise;
  const marks = [...(p50 === null ? [] : [{ label: 'promised p50', atMs: p50 }]), { label: 'promised p99', atMs: p99 }];
  return { title: event.title, valuesMs: measurements.map(({ handoverMs }) => handoverMs), marks };
}

function chooseEvents(list: string | undefined): readonly RecoveryEvent[] {
  if (list === undefined) return EVENTS;
  return list.split(',').map((key) => {
    const event = EVENTS.find((one) => one.key === key);
    if (event !== undefined) return event;
    return misuse(`--events: expected some of ${EVENTS.map((one) => one.key).join(', ')}, got "${key}"`);
  });
}

function wholeNumber(flag: string, text: string, { min, max }: { readonly min: number; readonly max: number }): number {
  const number = Number(text);
  if (Number.isInteger(number) && number >= min && number <= max) return number;
  return misuse(`--${flag}: expected a whole number from ${min} to ${max}, got "${text}"`);
}

function misuse(problem: string): never {
  process.stderr.write(`${problem}\n`);
  process.exit(2);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
