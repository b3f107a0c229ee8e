import type { AuditResult, AuditSample } from '../../services/cli/audit-log.ts';
import { describeError } from '../../shared/process/describe-error.ts';
import { performFault } from './faults.ts';
import { Gaps } from './gaps.ts';
import { Memory } from './memory.ts';
import type { SoakOptions } from './options.ts';
import { makePause, type Pause } from './pause.ts';
import { describeTrouble, planTroubles, type Trouble } from './plan.ts';
import type { SoakResult } from './report.ts';
import { describeUnrest } from './rest.ts';
import { type OpenStage, openStage } from './stage.ts';
import { Tally } from './tally.ts';

const MEMORY_EVERY_MS = 10_000;
const PROGRESS_EVERY_MS = 30_000;
const REST_LIMIT_MS = 60_000;
const REST_POLL_MS = 250;
/** Of the run: memory is told of processes that lived for at least this share of it. */
const LONG_LIFE_SHARE = 0.4;

interface Run {
  readonly options: SoakOptions;
  readonly stage: OpenStage;
  readonly signal: AbortSignal;
  readonly pause: Pause;
  readonly say: (line: string) => void;
  readonly tally: Tally;
  readonly gaps: Gaps;
  readonly memory: Memory;
  readonly failures: string[];
  readonly startedMs: number;
  /** The audit's last look; null before the first. */
  seen: AuditResult | null;
}

/**
 * Lets a system suffer as planned, watching it all the time. Aborted, it ends early and in order, and tells what it saw.
 * @throws what kept servers or services from starting; then nothing is left running.
 */
export async function runSoak(
  options: SoakOptions,
  { signal, say }: { readonly signal: AbortSignal; readonly say: (line: string) => void },
): Promise<SoakResult> {
  const failures: string[] = [];
  const pause = makePause(signal);
  const onLost = (what: string) => {
    failures.push(what);
    say(what);
  };
  const stage = await openStage(options, { signal, pause, onLost });
  try {
    const unrest = await awaitRest(stage, signal);
    if (unrest !== null) throw new Error(`at the start: ${unrest}`);
    const run: Run = {
      ...{ options, stage, signal, pause, say, failures },
      tally: new Tally(),
      gaps: new Gaps(),
      memory: new Memory(),
      startedMs: performance.now(),
      seen: null,
    };
    const watching = new AbortController();
    const watched = watch(run, watching.signal);
    await suffer(run).finally(() => watching.abort());
    await watched;
    // Before the verdict: a worker that does not leave in order counts too.
    await stage.close();
    return conclude(run);
  } finally {
    await stage.close();
  }
}

async function suffer(run: Run): Promise<void> {
  const { options, stage, signal, pause, say, failures } = run;
  const beginMs = performance.now();
  for (const trouble of planTroubles({ seed: options.seed, spanMs: options.minutes * 60_000 })) {
    await pause(beginMs + trouble.atMs - performance.now());
    // Faults may take longer than planned; the end does not move for it.
    if (signal.aborted || performance.now() - beginMs > options.minutes * 60_000) break;
    await sufferOne(run, trouble);
  }
  const unrest = await awaitRest(stage, signal);
  if (unrest !== null) failures.push(`after the last trouble: ${unrest}`);
  say('ending: workers, coordinators, Postgres, NATS');
}

async function sufferOne(run: Run, trouble: Trouble): Promise<void> {
  const { stage, tally, signal, failures } = run;
  tally.begin(describeTrouble(trouble), Date.now());
  try {
    await Promise.all(trouble.faults.map((fault) => performFault(stage, fault)));
  } catch (error) {
    if (!signal.aborted) failures.push(`${describeTrouble(trouble)}: ${describeError(error)}`);
  }
  tally.end(Date.now());
}

/** @returns why not, where it did not come within a minute; null: at rest, or the run is to end. */
async function awaitRest(stage: OpenStage, signal: AbortSignal): Promise<string | null> {
  const endMs = performance.now() + REST_LIMIT_MS;
  let unrest: string | null = 'the table could not be read';
  while (!signal.aborted && performance.now() < endMs) {
    const sample = await stage.auditor.look();
    if (sample !== null) unrest = describeUnrest(sample, listWorkers(stage));
    if (unrest === null) return null;
    await stage.pause(REST_POLL_MS);
  }
  return signal.aborted ? null : `no rest within ${REST_LIMIT_MS / 1000} s: ${unrest}`;
}

/** The audit, the memory and the progress lines, until the end. */
async function watch(run: Run, end: AbortSignal): Promise<void> {
  const pause = makePause(end);
  const every = async (ms: number, act: () => Promise<void> | void) => {
    for (await pause(ms); !end.aborted; await pause(ms)) await act();
  };
  await Promise.all([
    run.stage.auditor.watch(end, (sample, result) => note(run, sample, result)),
    every(MEMORY_EVERY_MS, () => run.memory.sample(listProcesses(run.stage), performance.now())),
    every(PROGRESS_EVERY_MS, () => run.say(describeProgress(run))),
  ]);
}

function note(run: Run, sample: AuditSample, result: AuditResult): void {
  run.seen = result;
  for (const gap of run.gaps.add(sample)) run.tally.missed(gap);
  if (describeUnrest(sample, listWorkers(run.stage)) === null) run.tally.atRest(Date.now());
}

function listWorkers({ fleet }: OpenStage): string[] {
  return fleet.running('worker').map(({ name }) => name);
}

function listProcesses({ fleet, nats, postgres }: OpenStage): { name: string; pid: number }[] {
  const services = fleet.members.flatMap(({ name, pid }) => (pid === null ? [] : [{ name, pid }]));
  return [...services, { name: nats.name, pid: nats.pid }, { name: postgres.name, pid: postgres.pid }];
}

function describeProgress(run: Run): string {
  const { options, stage, tally, startedMs, seen, failures } = run;
  const minutes = ((performance.now() - startedMs) / 60_000).toFixed(1);
  const troubles = tally.result().reduce((sum, { times }) => sum + times, 0);
  const audit = seen === null ? 'no sample yet' : `${seen.rows} rows, ${seen.missed} missed, ${seen.double} double`;
  const workers = stage.fleet.running('worker').length;
  const leader = stage.fleet.leader?.name ?? 'nobody';
  return `${minutes} of ${options.minutes} min: ${troubles} troubles, ${audit}; ${workers} workers, ${leader} leads, ${failures.length} failures`;
}

function conclude(run: Run): SoakResult {
  const { options, tally, memory, signal, failures, startedMs, seen } = run;
  const spanMs = performance.now() - startedMs;
  if (seen === null) throw new Error('the run was ended before the table was audited once');
  if (seen.double > 0) failures.unshift(`${seen.double} double ticks`);
  return {
    seed: options.seed,
    minutes: spanMs / 60_000,
    isInterrupted: signal.aborted,
    troubles: tally.result(),
    audit: seen,
    memory: memory.result({ spanMs, share: LONG_LIFE_SHARE }),
    failures,
  };
}
