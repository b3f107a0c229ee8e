/**
 * Walks through what the chart promises on the cluster that KUBECONFIG names, and prints a table of what it saw.
 * Exit codes: 0 all as promised, 1 something was not, 2 misuse: bad options, no kubectl, no helm, no cluster.
 */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { formatTable } from '../../services/cli/output.ts';
import { optionsOrExit } from '../../shared/options/program.ts';
import { describeError } from '../../shared/process/describe-error.ts';
import { Cluster, checkCluster } from './cluster.ts';
import { SetupError } from './command.ts';
import { FINDING_HEAD, formatMarkdown, judge, toCells } from './findings.ts';
import { Installation, SIBLINGS } from './installation.ts';
import { cleanUp, prepareNamespace } from './namespace.ts';
import { e2eProgram } from './options.ts';
import { makeProgress } from './progress.ts';
import { chooseSteps } from './steps.ts';
import { walk } from './walk.ts';

const FAILED = 1;
const MISUSED = 2;

const options = await optionsOrExit(e2eProgram);
const interrupted = new AbortController();
// The second one ends it at once.
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => interrupted.abort(new Error('interrupted')));
const progress = makeProgress((line) => process.stderr.write(line));

try {
  process.exitCode = await run();
} catch (error) {
  if (!(error instanceof SetupError) && !interrupted.signal.aborted) throw error;
  process.stderr.write(`${describeError(error)}\n`);
  process.exitCode = error instanceof SetupError ? MISUSED : FAILED;
}

async function run(): Promise<number> {
  const startedMs = performance.now();
  const namespace = options.namespace ?? `e2e-${randomBytes(3).toString('hex')}`;
  const cluster = new Cluster({ namespace, progress, signal: interrupted.signal });
  const { formerChart, formerTag } = options;
  const former = formerChart === undefined ? undefined : { chart: formerChart, tag: formerTag };
  const app = new Installation(cluster, { release: options.release, tag: options.tag, former });
  await checkCluster(cluster);
  const isOwnNamespace = await prepareNamespace(cluster, installationsOf(app));
  progress.say(`namespace ${namespace}, release ${options.release}, images tagged ${options.tag}`);
  try {
    const { findings, unfinished } = await walk(app, chooseSteps(options), (finding) => {
      if (options.json) process.stdout.write(`${JSON.stringify(finding)}\n`);
    });
    const seconds = (performance.now() - startedMs) / 1000;
    const verdict = judge(findings, { seconds, unfinished });
    if (options.json) process.stdout.write(`${JSON.stringify(verdict)}\n`);
    else process.stdout.write(`\n${formatTable(FINDING_HEAD, findings.map(toCells))}\n\n${verdict.text}\n`);
    if (options.markdown !== undefined) {
      writeFileSync(options.markdown, `${formatMarkdown(findings)}\n${verdict.text}\n`);
    }
    return verdict.isAsPromised ? 0 : FAILED;
  } finally {
    await leave(app, isOwnNamespace);
  }
}

/** Also after an interruption: with a signal of its own. */
async function leave(app: Installation, isOwnNamespace: boolean): Promise<void> {
  const { namespace } = app.cluster;
  if (options.keep) {
    const rest = isOwnNamespace ? `; away with it: kubectl delete namespace ${namespace}` : '';
    progress.say(`kept: namespace ${namespace}, release ${app.release}${rest}`);
    return;
  }
  const own = app.within(new AbortController().signal);
  await cleanUp(own.cluster, { isOwnNamespace, installations: installationsOf(own) });
}

function installationsOf(app: Installation): Installation[] {
  return [app, ...SIBLINGS.map((suffix) => app.sibling(suffix))];
}
