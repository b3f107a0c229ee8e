import { execFileSync } from 'node:child_process';
import { resolve } from 'node:path';
import { parseAllDocuments } from 'yaml';

/** The chart as helm renders it. Needs helm on the PATH. */
export const CHART = resolve(import.meta.dirname, '../../helm');

export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly labels?: Record<string, string>;
    readonly [more: string]: unknown;
  };
  readonly spec?: Record<string, unknown>;
  readonly [more: string]: unknown;
}

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly args?: readonly string[];
  readonly env?: readonly { readonly name: string; readonly value?: string; readonly valueFrom?: unknown }[];
  readonly securityContext?: Record<string, unknown>;
  readonly resources?: { readonly requests?: Record<string, string>; readonly limits?: Record<string, string> };
  readonly [more: string]: unknown;
}

export interface PodSpec {
  readonly containers: readonly Container[];
  readonly initContainers?: readonly Container[];
  readonly [more: string]: unknown;
}

export interface Pod {
  /** As `Deployment/r-worker`. */
  readonly owner: string;
  readonly spec: PodSpec;
}

/** The manifests as one text. @throws with helm's own words, the name of a refused value among them. */
export function renderText(values: readonly string[], release = 'r'): string {
  const settings = values.flatMap((value) => ['--set', value]);
  const args = ['template', release, CHART, '--kube-version', '1.30', ...settings];
  return execFileSync('helm', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

export function render(values: readonly string[] = [], release = 'r'): KubernetesObject[] {
  const documents = parseAllDocuments(renderText(values, release));
  return documents.map((document) => document.toJS() as KubernetesObject | null).filter((object) => object !== null);
}

export function findObject(objects: readonly KubernetesObject[], kind: string, name: string): KubernetesObject {
  const found = objects.find((object) => object.kind === kind && object.metadata.name === name);
  if (found === undefined) throw new Error(`expected ${kind} ${name}, got ${objects.map(nameOf).join(', ')}`);
  return found;
}

/** As the test expects it to be. @throws where the object is not there or has no spec. */
export function specOf<Spec>(objects: readonly KubernetesObject[], kind: string, name: string): Spec {
  const { spec } = findObject(objects, kind, name);
  if (spec === undefined) throw new Error(`${kind} ${name} has no spec`);
  return spec as Spec;
}

export function podsOf(objects: readonly KubernetesObject[]): Pod[] {
  return objects.flatMap((object) => {
    const spec = object.kind === 'Pod' ? object.spec : (object.spec?.template as KubernetesObject | undefined)?.spec;
    return spec === undefined ? [] : [{ owner: nameOf(object), spec: spec as unknown as PodSpec }];
  });
}

export function podOf(objects: readonly KubernetesObject[], owner: string): PodSpec {
  const found = podsOf(objects).find((pod) => pod.owner === owner);
  if (found === undefined) throw new Error(`expected pods of ${owner}, got ${objects.map(nameOf).join(', ')}`);
  return found.spec;
}

export function nameOf({ kind, metadata }: KubernetesObject): string {
  return `${kind}/${metadata.name}`;
}
