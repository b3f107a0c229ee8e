/** What the walk reads of a pod, as `kubectl get pods -o json` has it. */
export interface Pod {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly deletionTimestamp?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly spec: {
    readonly automountServiceAccountToken?: boolean;
    readonly volumes?: readonly Volume[];
  };
  readonly status: {
    readonly phase?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly containerStatuses?: readonly { readonly restartCount: number }[];
  };
}

interface Volume {
  readonly name: string;
  readonly projected?: { readonly sources?: readonly { readonly serviceAccountToken?: unknown }[] };
}

export interface List<Item> {
  readonly items: readonly Item[];
}

/** Runs, answers its readiness probe, and was not asked to leave. */
export function isServing({ metadata, status }: Pod): boolean {
  const isReady = status.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false;
  return isReady && metadata.deletionTimestamp === undefined;
}

export function hasToken({ spec }: Pod): boolean {
  const sources = (spec.volumes ?? []).flatMap(({ projected }) => projected?.sources ?? []);
  return spec.automountServiceAccountToken !== false || sources.some((source) => 'serviceAccountToken' in source);
}

export function countRestarts(pods: readonly Pod[]): number {
  const statuses = pods.flatMap(({ status }) => status.containerStatuses ?? []);
  return statuses.reduce((sum, { restartCount }) => sum + restartCount, 0);
}

export function namesOf(pods: readonly Pod[]): string[] {
  return pods.map(({ metadata }) => metadata.name).sort();
}
