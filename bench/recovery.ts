/**
 * How long does it take until every row is ticked again? Real processes and real signals, watched from outside.
 * Run: `npm run bench:recovery -- --help`; it ends by itself, and with it all that it started.
 */
import { writeFile } from 'node:fs/promises';
import { arch, cpus, loadavg, platform } from 'node:os';
import { optionsOrExit } from '../shared/options/program.ts';
import { randomNumbers } from '../test/support/assignment-oracle.ts';
import { EVENTS, type RecoveryEvent } from './recovery/events.ts';
import { Fleet } from './recovery/fleet.ts';
import { measureFloor } from './recovery/floor.ts';
import { drawHistograms, type Histogram } from './recovery/histogram-picture.ts';
import { type Measurement, measureOnce, pauseAtRandom } from './recovery/measurement.ts';
import { recoveryProgram } from './recovery/options.ts';
import {
  type BenchSetting,
  describeFloor,
  describeInMarkdown,
  describeInText,
  type EventResult,
} from './recovery/report.ts';

const COORDINATORS = 2;
const REPEAT = 30;
const QUICK_REPEAT = 2;
/** In a row: then the fleet is beyond mending. */
const FAILURES_MOST = 3;

const options = await optionsOrExit(recoveryProgram);
process.exitCode = await run();

async function run(): Promise<number> {
  const { workers, rows, events, probesOnly } = options;
  const repeat = options.repeat ?? (options.quick ? QUICK_REPEAT : REPEAT);
  const interrupted = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => interrupted.abort());
  say(`starting ${workers - 1} bare processes, to see what the workers’ own work takes of this machine`);
  const floorMs = await measureFloor({ workers, rows, repeat }, interrupted.signal);
  say(describeFloor(floorMs));
  say(`starting ${COORDINATORS} coordinators and ${workers} workers for ${rows} rows`);
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
    floorMs,
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
  const { json, markdown } = options;
  const svg = options.svg ?? markdown?.replace(/(\.md)?$/, '.svg');
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

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
