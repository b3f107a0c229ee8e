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
export function renderText(values: readonly string[], release = 'r', json: readonly string[] = []): string {
  const settings = [...values.flatMap((value) => ['--set', value]), ...json.flatMap((value) => ['--set-json', value])];
  return runTemplate(release, settings);
}

/** `json`: values that helm's own syntax for them would change, as `postgres={"user":"a,b"}`. */
export function render(
  values: readonly string[] = [],
  release = 'r',
  json: readonly string[] = [],
): KubernetesObject[] {
  return parseObjects(renderText(values, release, json));
}

/** With a values file: its texts may hold what has a meaning of its own in `--set`. */
export function renderValues(values: object): KubernetesObject[] {
  // Characters that JSON leaves as they are, and that YAML refuses or reads as ends of lines.
  const text = JSON.stringify(values).replace(/[\u007f-\u009f\u2028\u2029]/g, (found) => {
    return `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
  return parseObjects(runTemplate('r', ['--values', '-'], text));
}

function runTemplate(release: string, settings: readonly string[], input = ''): string {
  const args = ['template', release, CHART, '--kube-version', '1.30', ...settings];
  return execFileSync('helm', args, { encoding: 'utf8', input, stdio: 'pipe' });
}

function parseObjects(text: string): KubernetesObject[] {
  const documents = parseAllDocuments(text).map((document) => document.toJS() as KubernetesObject | null);
  return documents.filter((object) => object !== null);
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
