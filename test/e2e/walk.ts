import { describeError } from '../../shared/process/describe-error.ts';
import type { Cluster } from './cluster.ts';
import { diagnose } from './diagnosis.ts';
import { describeFinding, type Finding } from './findings.ts';
import type { Installation } from './installation.ts';
import type { Step, StepContext } from './step.ts';
import { FIRST_STEP } from './steps.ts';

const DIAGNOSIS_LIMIT_MS = 60_000;

export interface Walk {
  readonly findings: readonly Finding[];
  /** Chosen, but not tried. */
  readonly unfinished: readonly string[];
}

/** Walks the steps one after the other; a broken one does not keep the next from being tried, save the first. */
export async function walk(
  app: Installation,
  steps: readonly Step[],
  onFinding: (finding: Finding) => void,
): Promise<Walk> {
  const { cluster } = app;
  const findings: Finding[] = [];
  for (const [index, step] of steps.entries()) {
    if (cluster.signal.aborted) return { findings, unfinished: steps.slice(index).map(({ name }) => name) };
    const seen = await walkStep(app, step, onFinding);
    findings.push(...seen);
    const isBroken = seen.some(({ isOk }) => isOk === false);
    if (isBroken && !cluster.signal.aborted) cluster.progress.say(await explain(cluster, step));
    // Without an installation there is nothing to try.
    if (isBroken && step === FIRST_STEP) {
      return { findings, unfinished: steps.slice(index + 1).map(({ name }) => name) };
    }
  }
  return { findings, unfinished: [] };
}

async function walkStep(app: Installation, step: Step, onFinding: (finding: Finding) => void): Promise<Finding[]> {
  const { cluster } = app;
  const findings: Finding[] = [];
  const note = (finding: Finding) => {
    findings.push(finding);
    cluster.progress.say(`  ${describeFinding(finding)}`);
    onFinding(finding);
  };
  cluster.progress.say(`${step.name}: ${step.purpose}`);
  const limit = AbortSignal.timeout(step.limitSeconds * 1000);
  const context: StepContext = {
    app: app.within(AbortSignal.any([cluster.signal, limit])),
    expect: (check) => note({ step: step.name, ...check }),
    tell: (what, seen) => note({ step: step.name, what, expected: '', seen, isOk: null }),
  };
  try {
    await step.run(context);
  } catch (error) {
    note({ step: step.name, what: 'carried out', expected: 'to the end', seen: whyEnded(error), isOk: false });
  }
  return findings;

  function whyEnded(error: unknown): string {
    if (cluster.signal.aborted) return 'interrupted';
    return limit.aborted ? `not within ${step.limitSeconds} s` : describeError(error);
  }
}

async function explain(cluster: Cluster, step: Step): Promise<string> {
  const limited = cluster.within(AbortSignal.any([cluster.signal, AbortSignal.timeout(DIAGNOSIS_LIMIT_MS)]));
  const found = await diagnose(limited).catch((error: unknown) => describeError(error));
  return `\n${step.name} is not as promised. What the cluster says:\n\n${found}\n`;
}
