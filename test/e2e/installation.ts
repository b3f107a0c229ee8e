import { CHART } from '../support/chart.ts';
import type { Cluster } from './cluster.ts';
import type { Outcome } from './command.ts';
import { clockOffsetMs } from './handover.ts';
import { isEven, type LogLine, newestShares, parseLog, readWatching } from './log-lines.ts';
import { isServing, type List, namesOf, type Pod } from './pods.ts';
import { eventually } from './waiting.ts';

export type Component = 'worker' | 'coordinator' | 'nats' | 'nats-box' | 'postgres';

export interface Shares {
  /** Rows by serving worker, as its newest log line has them. */
  readonly shares: Readonly<Record<string, number>>;
  /** As many workers as asked for, and all rows shared out evenly among them. */
  readonly isShared: boolean;
}

/** Releases that steps install beside the first one. */
export const SIBLINGS = ['external', 'cluster', 'former'] as const;
export type Sibling = (typeof SIBLINGS)[number];

/** The chart's own default of `postgres.initialRows`. */
export const ROWS = 30;
/** What may be left of a release, or put beside it by a step. */
export const KINDS = 'pod,service,persistentvolumeclaim,secret';
const INSTALL_LIMIT = '5m';
const SHARE_LIMIT_MS = 60_000;
/** Some seconds of a worker's log, also while it tells of a new ring between them. */
const NEWEST_LINES = 8;
/** The API server, the nodes and this machine may round or differ by as much. */
const SINCE_SLACK_MS = 1_000;

/** A former version: its chart's folder, and its images' tag. */
export interface FormerVersion {
  readonly chart: string;
  readonly tag: string;
}

/** One release of the chart: asked and told what an operator would, by kubectl and helm. */
export class Installation {
  readonly cluster: Cluster;
  readonly release: string;
  readonly tag: string;
  /** What the step `version` begins with; undefined: it is not tried. */
  readonly former: FormerVersion | undefined;

  constructor(
    cluster: Cluster,
    options: { readonly release: string; readonly tag: string; readonly former: FormerVersion | undefined },
  ) {
    this.cluster = cluster;
    this.release = options.release;
    this.tag = options.tag;
    this.former = options.former;
  }

  /** The same, but all that it runs ends with this signal. */
  within(signal: AbortSignal): Installation {
    return new Installation(this.cluster.within(signal), this);
  }

  /** The same namespace and images under another release's name. */
  sibling(suffix: Sibling): Installation {
    return new Installation(this.cluster, { ...this, release: `${this.release}-${suffix}` });
  }

  /** As the chart names its objects. */
  name(component: Component): string {
    return `${this.release}-${component}`;
  }

  /** `version`: @default this one */
  async install(
    values: readonly string[] = [],
    version: FormerVersion = { chart: CHART, tag: this.tag },
  ): Promise<void> {
    const settings = [...setTags(version.tag), ...values.flatMap((value) => ['--set', value])];
    const how = ['--wait', '--timeout', INSTALL_LIMIT];
    await this.cluster.readHelm(['install', this.release, version.chart, ...settings, ...how]);
  }

  /** `helm upgrade` to another chart and its images; the values stay. */
  async changeVersion({ chart, tag }: FormerVersion): Promise<void> {
    const how = ['--reuse-values', '--wait', '--timeout', INSTALL_LIMIT];
    await this.cluster.readHelm(['upgrade', this.release, chart, ...how, ...setTags(tag)]);
    for (const component of ['coordinator', 'worker']) {
      const target = `deployment/${this.release}-${component}`;
      await this.cluster.read(['rollout', 'status', target, `--timeout=${INSTALL_LIMIT}`]);
    }
  }

  async upgrade(values: readonly string[]): Promise<void> {
    const settings = values.flatMap((value) => ['--set', value]);
    const how = ['--reuse-values', '--wait', '--timeout', INSTALL_LIMIT];
    await this.cluster.readHelm(['upgrade', this.release, CHART, ...how, ...settings]);
  }

  async uninstall(): Promise<void> {
    await this.cluster.readHelm(['uninstall', this.release, '--wait', '--timeout', INSTALL_LIMIT]);
  }

  /** With its volumes and passwords, and with what a step put beside it under its label. Harmless where nothing is. */
  async remove(): Promise<void> {
    await this.cluster.helm(['uninstall', this.release, '--ignore-not-found', '--wait', '--timeout', INSTALL_LIMIT]);
    await this.cluster.kubectl(['delete', KINDS, '-l', this.selector(), '--timeout=60s']);
  }

  async scaleTo(workers: number): Promise<void> {
    await this.cluster.read(['scale', 'deployment', this.name('worker'), `--replicas=${workers}`]);
  }

  /** Returns when the rollout is through. */
  async restart(kind: 'deployment' | 'statefulset', component: Component): Promise<void> {
    const target = `${kind}/${this.name(component)}`;
    await this.cluster.read(['rollout', 'restart', target]);
    await this.cluster.read(['rollout', 'status', target, `--timeout=${INSTALL_LIMIT}`]);
  }

  /** All of the release's, or those of one component. */
  async pods(component?: Component): Promise<readonly Pod[]> {
    const { items } = await this.cluster.readJson<List<Pod>>(['get', 'pods', '-l', this.selector(component)]);
    return items;
  }

  async servingPods(component: Component): Promise<string[]> {
    return namesOf((await this.pods(component)).filter(isServing));
  }

  selector(component?: Component): string {
    const own = `app.kubernetes.io/instance=${this.release}`;
    return component === undefined ? own : `app=${component},${own}`;
  }

  /** Log lines of all of the component's pods that still exist. A pod that is only coming up has none, and no harm is done. */
  async logs(
    component: Component,
    which: { readonly sinceMs: number } | { readonly tail: number },
  ): Promise<LogLine[]> {
    const limit =
      'tail' in which
        ? [`--tail=${which.tail}`]
        : ['--tail=-1', `--since-time=${new Date(which.sinceMs - SINCE_SLACK_MS).toISOString()}`];
    const args = ['logs', '-l', this.selector(component), '--max-log-requests=50', ...limit];
    const lines = parseLog((await this.cluster.kubectl(args)).stdout);
    return 'tail' in which ? lines : lines.filter(({ atMs }) => atMs >= which.sinceMs);
  }

  /** Of coordinators and workers together, by time. */
  async ringLogs(sinceMs: number): Promise<LogLine[]> {
    const [coordinators, workers] = [
      await this.logs('coordinator', { sinceMs }),
      await this.logs('worker', { sinceMs }),
    ];
    return [...coordinators, ...workers].sort((a, b) => a.atMs - b.atMs);
  }

  /** Waits until so many workers share all rows evenly by their own logs; tells what there was when it did not come to that. */
  async awaitShares(workers: number): Promise<Shares> {
    let seen: Shares = { shares: {}, isShared: false };
    const startedMs = await this.nowMs();
    await eventually(this.cluster, `${ROWS} rows shared by ${workers} workers`, SHARE_LIMIT_MS, async () => {
      seen = await this.#readShares(workers, startedMs);
      return seen.isShared ? seen : null;
    });
    return seen;
  }

  /** Runs a program in a pod, or in one of a deployment's: `deployment/x`. Nothing is typed into it but `input`. */
  exec(target: string, command: readonly string[], input?: string): Promise<Outcome> {
    const typing = input === undefined ? [] : ['--stdin'];
    return this.cluster.kubectl(['exec', ...typing, target, '--', ...command], input);
  }

  /** The nats CLI as the nats-box has it set up. */
  nats(args: readonly string[]): Promise<Outcome> {
    return this.exec(`deployment/${this.name('nats-box')}`, ['nats', ...args]);
  }

  /** The bare cells of one statement's answer. */
  async query(statement: string): Promise<string> {
    const command = ['psql', '-U', 'user', '-d', 'mydatabase', '-v', 'ON_ERROR_STOP=1', '-Atc', statement];
    return (await this.cluster.read(['exec', `${this.name('postgres')}-0`, '--', ...command])).trim();
  }

  /** The leading coordinator's pod; null while nobody leads. */
  async leader(): Promise<string | null> {
    const { code, stdout } = await this.nats(['kv', 'get', 'coordinators', 'leader', '--raw']);
    if (code !== 0 || stdout.trim() === '') return null;
    return (JSON.parse(stdout) as { readonly id: string }).id;
  }

  /** Now, epoch ms, by the clock of the nodes, which wrote the times in the logs. */
  async nowMs(): Promise<number> {
    this.#offsetMs ??= await this.#measureOffset();
    return Date.now() + this.#offsetMs;
  }

  #offsetMs: number | null = null;

  async #measureOffset(): Promise<number> {
    const beforeMs = Date.now();
    // In the image of our own services, so in every installation.
    const command = ['node', '-p', 'Date.now()'];
    const answer = await this.cluster.read(['exec', `deployment/${this.name('coordinator')}`, '--', ...command]);
    return clockOffsetMs({ beforeMs, theirsMs: Number(answer), afterMs: Date.now() });
  }

  async #readShares(workers: number, startedMs: number): Promise<Shares> {
    const serving = await this.servingPods('worker');
    const lines = await this.logs('worker', { tail: NEWEST_LINES });
    const newest = newestShares(readWatching(lines), serving);
    if (newest === null) return { shares: {}, isShared: false };
    const counts = [...newest.shares.values()];
    // A line from before the change that is waited for would tell of the sharing before it.
    const isNew = newest.tick * 1000 >= startedMs;
    const isShared = isNew && serving.length === workers && isEven(counts, ROWS);
    return { shares: Object.fromEntries(newest.shares), isShared };
  }
}

function setTags(tag: string): string[] {
  return [`worker.image.tag=${tag}`, `coordinator.image.tag=${tag}`].flatMap((value) => ['--set-string', value]);
}
