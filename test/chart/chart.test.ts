import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { coordinatorOptions } from '../../services/coordinator/options.ts';
import { workerOptions } from '../../services/worker/options.ts';
import {
  type Container,
  findObject,
  type KubernetesObject,
  type Pod,
  podOf,
  podsOf,
  render,
  specOf,
} from '../support/chart.ts';
import { RENDERINGS } from './renderings.ts';

interface ScaledObject {
  readonly scaleTargetRef: unknown;
  readonly minReplicaCount: number;
  readonly maxReplicaCount: number;
  readonly triggers: readonly { readonly type: string; readonly metricType: string; readonly metadata: unknown }[];
}

interface HorizontalPodAutoscaler {
  readonly behavior: unknown;
  readonly metrics: readonly {
    readonly external: { readonly metric: { readonly name: string }; readonly target: unknown };
  }[];
}

interface Rollout {
  readonly minReadySeconds?: number;
  readonly progressDeadlineSeconds?: number;
  readonly strategy: { readonly type: string; readonly rollingUpdate: Readonly<Record<string, unknown>> };
}

interface NetworkPolicy {
  readonly ingress: readonly { readonly from: readonly unknown[] }[];
}

/** What every rendering of the chart must hold. */
for (const [name, values] of Object.entries(RENDERINGS)) {
  describe(`rendered with ${name}`, () => {
    const objects = render(values);
    const pods = podsOf(objects);
    const containers = pods.flatMap(({ owner, spec }) =>
      [...spec.containers, ...(spec.initContainers ?? [])].map((container) => ({ owner, container })),
    );

    test('nothing grants a right in the Kubernetes API, and no pod has a token or others’ addresses', () => {
      const granting = objects.filter(({ kind }) => /Role|ServiceAccount/.test(kind));
      assert.deepEqual(granting, []);
      for (const { owner, spec } of pods) {
        assert.equal(spec.automountServiceAccountToken, false, owner);
        assert.equal(spec.enableServiceLinks, false, owner);
        assert.equal(spec.serviceAccountName, undefined, owner);
      }
    });

    test('every pod runs as a user by number, under the default seccomp profile', () => {
      for (const { owner, spec } of pods) {
        const { runAsNonRoot, runAsUser, seccompProfile } = spec.securityContext as Record<string, unknown>;
        assert.equal(runAsNonRoot, true, owner);
        assert.ok(Number(runAsUser) > 0, owner);
        assert.deepEqual(seccompProfile, { type: 'RuntimeDefault' }, owner);
      }
    });

    test('every container is hardened, asks for what it needs, and has a limit for its memory', () => {
      assert.ok(containers.length >= 2);
      for (const { owner, container } of containers) {
        const { allowPrivilegeEscalation, readOnlyRootFilesystem, capabilities } = container.securityContext ?? {};
        assert.equal(allowPrivilegeEscalation, false, owner);
        assert.equal(readOnlyRootFilesystem, true, owner);
        assert.deepEqual(capabilities, { drop: ['ALL'] }, owner);
        assert.ok(container.resources?.requests?.cpu, owner);
        assert.ok(container.resources?.limits?.memory, owner);
        assert.equal(container.resources?.limits?.cpu, undefined, `${owner}: throttling would delay ticks`);
      }
    });

    test('every setting of worker and coordinator is one that the programs know, and none is given twice', () => {
      const known = {
        worker: new Set(Object.values(workerOptions).map(({ variable }) => variable)),
        coordinator: new Set(Object.values(coordinatorOptions).map(({ variable }) => variable)),
      };
      for (const [component, variables] of Object.entries(known)) {
        const names = environmentNames(podOf(objects, `Deployment/r-${component}`).containers[0]);
        assert.ok(names.length > 10, 'the environment was found');
        assert.deepEqual(names, [...new Set(names)]);
        for (const variable of names) {
          assert.ok(
            variables.has(variable) || ['POD_NAME', 'PGDATABASE', 'PGUSER', 'PGPASSWORD'].includes(variable),
            variable,
          );
        }
      }
    });

    test('whoever serves has probes for start, life and readiness', () => {
      for (const { owner, container } of containers.filter(({ owner }) => !/nats-box|audit/.test(owner))) {
        for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe']) assert.ok(container[probe], owner);
      }
    });

    test('services, budgets and policies select pods that are there', () => {
      const labels = podTemplates(objects);
      for (const object of objects) {
        const selector = selectorOf(object);
        if (selector === null) continue;
        const isMet = labels.some((pod) => Object.entries(selector).every(([key, value]) => pod[key] === value));
        assert.ok(isMet, `${object.kind} ${object.metadata.name} selects nothing`);
      }
    });

    test('workers and coordinators carry the labels of the contract', () => {
      for (const component of ['worker', 'coordinator']) {
        const { template } = specOf<{ template: KubernetesObject }>(objects, 'Deployment', `r-${component}`);
        assert.equal(template.metadata.labels?.app, component);
        assert.equal(template.metadata.labels?.['app.kubernetes.io/component'], component);
      }
    });
  });
}

describe('rollouts', () => {
  test('a new pod comes before an old one goes, and has time to leave as planned', () => {
    const objects = render();
    for (const component of ['worker', 'coordinator']) {
      const { strategy } = specOf<Rollout>(objects, 'Deployment', `r-${component}`);
      assert.deepEqual(strategy, { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } });
      // The planned leave's grace, 10 s, and the end of the connections.
      assert.ok(Number(podOf(objects, `Deployment/r-${component}`).terminationGracePeriodSeconds) >= 15);
    }
  });

  test('a new pod that dies within ten seconds of being ready replaces none that lives', () => {
    const objects = render();
    for (const component of ['worker', 'coordinator']) {
      const rollout = specOf<Rollout>(objects, 'Deployment', `r-${component}`);
      assert.equal(rollout.minReadySeconds, 10);
      assert.equal(rollout.strategy.rollingUpdate.maxUnavailable, 0);
      const read = (value: string) =>
        specOf<Rollout>(render([`${component}.minReadySeconds=${value}`]), 'Deployment', `r-${component}`);
      assert.equal(read('0').minReadySeconds, 0);
      // As `helm upgrade --reuse-values` finds the values of a chart that did not have it.
      assert.equal(read('null').minReadySeconds, 10);
    }
  });

  test('a pod that is never ready long enough ends the rollout, which needs a later deadline', () => {
    const longest = specOf<Rollout>(render(['worker.minReadySeconds=599']), 'Deployment', 'r-worker');
    // Without a value of its own: Kubernetes' default, 600 s.
    assert.equal(longest.progressDeadlineSeconds, undefined);
    assert.throws(() => render(['worker.minReadySeconds=600']), /minReadySeconds/);
    assert.throws(() => render(['coordinator.minReadySeconds=-1']), /minReadySeconds/);
  });

  test('the pod’s name is the worker’s id', () => {
    const [container] = podOf(render(), 'Deployment/r-worker').containers;
    const { valueFrom } = container?.env?.find(({ name }) => name === 'POD_NAME') ?? {};
    assert.deepEqual(valueFrom, { fieldRef: { fieldPath: 'metadata.name' } });
  });
});

describe('scaling by the table', () => {
  const on = (...more: string[]) =>
    render(['autoscaling.enabled=true', 'autoscaling.rowsPerWorker=50', 'autoscaling.maxReplicas=7', ...more]);

  test('off, the values say how many workers there are; on, nothing but the autoscaler does', () => {
    const replicas = (objects: KubernetesObject[]) =>
      specOf<{ replicas?: number }>(objects, 'Deployment', 'r-worker').replicas;
    assert.equal(replicas(render(['worker.replicaCount=5'])), 5);
    assert.equal(replicas(on()), undefined);
    assert.equal(replicas(on('autoscaling.kind=hpa')), undefined);
  });

  test('KEDA asks the coordinators’ service for the number itself', () => {
    const spec = specOf<ScaledObject>(on(), 'ScaledObject', 'r-worker');
    assert.deepEqual(spec.scaleTargetRef, { name: 'r-worker' });
    assert.deepEqual([spec.minReplicaCount, spec.maxReplicaCount], [1, 7]);
    const [trigger] = spec.triggers;
    assert.equal(trigger?.type, 'metrics-api');
    assert.equal(trigger?.metricType, 'AverageValue');
    assert.deepEqual(trigger?.metadata, {
      targetValue: '1',
      url: 'http://r-coordinator.default.svc:8080/api/desired-workers',
      valueLocation: 'desiredWorkers',
    });
  });

  test('a HorizontalPodAutoscaler takes the coordinators’ metric, with the behaviour given', () => {
    const objects = on('autoscaling.kind=hpa', 'autoscaling.behavior.scaleDown.stabilizationWindowSeconds=60');
    const { metrics, behavior } = specOf<HorizontalPodAutoscaler>(objects, 'HorizontalPodAutoscaler', 'r-worker');
    const [metric] = metrics;
    assert.equal(metric?.external.metric.name, 'notifi_scaler_coordinator_desired_workers');
    assert.deepEqual(metric?.external.target, { type: 'AverageValue', averageValue: '1' });
    assert.deepEqual(behavior, { scaleDown: { stabilizationWindowSeconds: 60 } });
  });

  test('coordinators count by the same rule', () => {
    const [container] = podOf(on(), 'Deployment/r-coordinator').containers;
    const value = (variable: string) => container?.env?.find(({ name }) => name === variable)?.value;
    assert.deepEqual(['ROWS_PER_WORKER', 'MIN_WORKERS', 'MAX_WORKERS'].map(value), ['50', '1', '7']);
  });
});

describe('NATS', () => {
  test('three servers know each other, keep every stream three times, and are all named to clients', () => {
    const objects = render(['nats.replicas=3']);
    const [container] = podOf(objects, 'StatefulSet/r-nats').containers;
    const hosts = container?.env?.find(({ name }) => name === 'ROUTE_HOSTS')?.value ?? '';
    assert.deepEqual(
      hosts.split(' '),
      [0, 1, 2].map((index) => `r-nats-${index}.r-nats-headless:6222`),
    );
    assert.ok(container?.lifecycle, 'it hands over before it goes');
    findObject(objects, 'PodDisruptionBudget', 'r-nats');
    for (const component of ['worker', 'coordinator']) {
      const [service] = podOf(objects, `Deployment/r-${component}`).containers;
      const value = (variable: string) => service?.env?.find(({ name }) => name === variable)?.value;
      assert.equal(
        value('NATS_URL'),
        'nats://r-nats-0.r-nats-headless:4222,nats://r-nats-1.r-nats-headless:4222,nats://r-nats-2.r-nats-headless:4222',
      );
      assert.equal(value('NATS_REPLICAS'), '3');
    }
  });

  test('each role logs in as itself, and the rights follow the prefix', () => {
    const objects = render(['config.natsPrefix=blue']);
    for (const [owner, user] of [
      ['Deployment/r-worker', 'worker'],
      ['Deployment/r-coordinator', 'coordinator'],
      ['Deployment/r-nats-box', 'observer'],
    ] as const) {
      const [container] = podOf(objects, owner).containers;
      const find = (variable: string) => container?.env?.find(({ name }) => name === variable);
      assert.equal(find('NATS_USER')?.value, user);
      assert.deepEqual(find('NATS_PASSWORD')?.valueFrom, {
        secretKeyRef: { name: 'r-nats', key: `${user}Password` },
      });
    }
    const { data } = findObject(objects, 'ConfigMap', 'r-nats') as unknown as { data: Record<string, string> };
    const accounts = data['accounts.conf'] ?? '';
    assert.match(accounts, /"\$KV\.blue_workers\.\*"/);
    assert.match(accounts, /"blue\.ring\.snapshot"/);
    assert.doesNotMatch(accounts, /<\w+>/);
    // Passwords stand in secrets only.
    assert.doesNotMatch(accounts, /password: [^$]/);
  });
});

describe('passwords', () => {
  const secret = (objects: KubernetesObject[], name: string) =>
    (findObject(objects, 'Secret', name) as unknown as { data: Record<string, string> }).data;
  const decode = (text = '') => Buffer.from(text, 'base64').toString();

  test('a secret of your own counts first, and none is made beside it', () => {
    const objects = render(['nats.existingSecret=mine', 'postgres.existingSecret=theirs', 'postgres.password=unused']);
    assert.deepEqual(
      objects.filter(({ kind }) => kind === 'Secret'),
      [],
    );
    const used = new Set(podsOf(objects).flatMap(secretsOf));
    assert.deepEqual([...used].sort(), ['mine', 'theirs']);
  });

  test('then the values, then what is generated, kept at an uninstall', () => {
    const objects = render(['nats.passwords.worker=w', 'postgres.password=p']);
    assert.equal(decode(secret(objects, 'r-nats').workerPassword), 'w');
    assert.equal(decode(secret(objects, 'r-postgres').password), 'p');
    assert.match(decode(secret(objects, 'r-nats').coordinatorPassword), /^[A-Za-z0-9]{32}$/);
    for (const name of ['r-nats', 'r-postgres']) {
      const { annotations } = findObject(objects, 'Secret', name).metadata as { annotations?: Record<string, string> };
      assert.equal(annotations?.['helm.sh/resource-policy'], 'keep');
    }
  });
});

describe('network policies', () => {
  test('each component has one, and only its own release’s pods reach NATS and Postgres', () => {
    const policies = render(['nats.replicas=3']).filter(({ kind }) => kind === 'NetworkPolicy');
    assert.deepEqual(policies.map(({ metadata }) => metadata.name).sort(), [
      'r-audit',
      'r-coordinator',
      'r-nats',
      'r-nats-box',
      'r-postgres',
      'r-worker',
    ]);
    for (const policy of policies) assert.deepEqual(policy.spec?.policyTypes, ['Ingress', 'Egress']);
    for (const name of ['r-nats', 'r-postgres']) {
      const { ingress } = specOf<NetworkPolicy>(policies, 'NetworkPolicy', name);
      for (const { from } of ingress) assert.equal(from?.length, 1, name);
    }
  });

  test('others who need the bundled servers are let in by values', () => {
    const app = 'podSelector.matchLabels.app=shop';
    const objects = render([`networkPolicy.postgresFrom[0].${app}`, `networkPolicy.natsFrom[0].${app}`]);
    for (const name of ['r-nats', 'r-postgres']) {
      const { ingress } = specOf<NetworkPolicy>(objects, 'NetworkPolicy', name);
      assert.deepEqual(ingress[0]?.from.at(-1), { podSelector: { matchLabels: { app: 'shop' } } });
    }
  });
});

describe('bad values', () => {
  for (const [value, says] of [
    ['worker.replicaCuont=3', /replicaCuont/],
    ['worker.replicaCount=three', /replicaCount/],
    ['config.slots=1000', /slots/],
    ['config.table=a.b.c', /table/],
    ['config.natsPrefix=Blue', /natsPrefix/],
    ['nats.persistence.size=lots', /size/],
    ['nats.replicas=2', /replicas/],
    ['autoscaling.kind=vpa', /kind/],
    ['config.heartbeatMs=1000', /config\.heartbeatMs: expected less than half/],
    ['autoscaling.minReplicas=30', /autoscaling\.minReplicas: expected no more than/],
    ['worker.rollingUpdate.maxSurge=0', /worker\.rollingUpdate: expected/],
    ['nats.enabled=false', /nats\.external\.url is needed/],
    ['postgres.enabled=false', /postgres\.external\.\w+ is needed/],
    ['nats.passwords.worker=12345', /passwords\/worker.*want string/],
    ['nats.passwords.worker=$2a$10$abc', /nats\.passwords\.worker: expected a password, got .*bcrypt/],
  ] as const) {
    test(`${value} is refused by name`, () => {
      assert.throws(() => render([value]), says);
    });
  }
});

test('no name is longer than Kubernetes allows, however long the release’s', () => {
  const objects = render(['nats.replicas=3'], 'a'.repeat(53));
  for (const { kind, metadata } of objects) {
    // A StatefulSet's becomes a label together with a hash; a Deployment's pods have theirs cut to fit.
    const longest = kind === 'StatefulSet' ? 52 : 63;
    assert.ok(metadata.name.length <= longest, `${kind} ${metadata.name}`);
  }
});

function environmentNames(container: Container | undefined): string[] {
  return (container?.env ?? []).map(({ name }) => name);
}

function secretsOf({ spec }: Pod): string[] {
  const found = JSON.stringify(spec).matchAll(/"secretKeyRef":\{"name":"([^"]+)"/g);
  return [...found].map(([, name = '']) => name);
}

function podTemplates(objects: readonly KubernetesObject[]): Record<string, string>[] {
  return objects.flatMap((object) => {
    const { labels } =
      object.kind === 'Pod' ? object.metadata : ((object.spec?.template as KubernetesObject)?.metadata ?? {});
    return labels === undefined ? [] : [labels];
  });
}

/** The labels that an object selects pods by; null: it selects none. */
function selectorOf({ kind, spec }: KubernetesObject): Record<string, string> | null {
  if (kind === 'Service') return spec?.selector as Record<string, string>;
  const selector =
    kind === 'NetworkPolicy' ? spec?.podSelector : kind === 'PodDisruptionBudget' ? spec?.selector : null;
  return (selector as { matchLabels?: Record<string, string> } | null)?.matchLabels ?? null;
}
