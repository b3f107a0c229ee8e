import { CommandFailure, type Outcome, runProgram, SetupError } from './command.ts';
import type { Progress } from './progress.ts';

const CONNECT_LIMIT = '--request-timeout=10s';

/** kubectl and helm, in one namespace of the cluster that KUBECONFIG names. */
export class Cluster {
  readonly namespace: string;
  readonly progress: Progress;
  readonly signal: AbortSignal;

  constructor(options: { readonly namespace: string; readonly progress: Progress; readonly signal: AbortSignal }) {
    this.namespace = options.namespace;
    this.progress = options.progress;
    this.signal = options.signal;
  }

  /** The same, but each command ends with this signal. */
  within(signal: AbortSignal): Cluster {
    return new Cluster({ namespace: this.namespace, progress: this.progress, signal });
  }

  /** Any exit code is an answer. */
  kubectl(args: readonly string[], input?: string): Promise<Outcome> {
    return this.#run('kubectl', args, input);
  }

  helm(args: readonly string[]): Promise<Outcome> {
    return this.#run('helm', args);
  }

  /** @throws {CommandFailure} at another exit code than 0. */
  async read(args: readonly string[], input?: string): Promise<string> {
    return succeed('kubectl', args, await this.kubectl(args, input));
  }

  /** @throws {CommandFailure} at another exit code than 0. */
  async readHelm(args: readonly string[]): Promise<string> {
    return succeed('helm', args, await this.helm(args));
  }

  /** An object or a list, as kubectl prints it with `-o json`. */
  async readJson<T>(args: readonly string[]): Promise<T> {
    return JSON.parse(await this.read([...args, '-o', 'json']));
  }

  #run(program: string, args: readonly string[], input?: string): Promise<Outcome> {
    const all = ['--namespace', this.namespace, ...args];
    const work = runProgram(program, all, { signal: this.signal, ...(input !== undefined && { input }) });
    return this.progress.during(`${program} ${args.join(' ')}`, work);
  }
}

/** @throws {SetupError} saying what is missing and what to do. */
export async function checkCluster(cluster: Cluster): Promise<void> {
  const { signal } = cluster;
  await orAdvise(runProgram('helm', ['version', '--short'], { signal }), 'https://helm.sh/docs/intro/install/');
  const answer = await orAdvise(
    runProgram('kubectl', ['get', '--raw', '/version', CONNECT_LIMIT], { signal }),
    'https://kubernetes.io/docs/tasks/tools/',
  );
  if (answer.code === 0) return;
  const reason = answer.stderr.trim().split('\n').at(-1);
  throw new SetupError(
    `no cluster answers kubectl: ${reason}\nPoint KUBECONFIG to a running cluster; \`kubectl get nodes\` must work.`,
  );
}

async function orAdvise(outcome: Promise<Outcome>, where: string): Promise<Outcome> {
  try {
    return await outcome;
  } catch (error) {
    if (error instanceof SetupError) throw new SetupError(`${error.message}, see ${where}`);
    throw error;
  }
}

function succeed(program: string, args: readonly string[], outcome: Outcome): string {
  if (outcome.code !== 0) throw new CommandFailure(program, args, outcome);
  return outcome.stdout;
}
