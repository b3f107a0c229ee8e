import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { resolve } from 'node:path';
import { describe, test } from 'node:test';
import { coordinatorOptions } from '../../services/coordinator/options.ts';
import { workerOptions } from '../../services/worker/options.ts';

/** What every rendering of the chart must hold. Needs helm on the PATH; run by `npm run test:chart`. */
const CHART = resolve(import.meta.dirname, '../../helm');
const EXTERNAL_NATS = ['nats.enabled=false', 'nats.external.url=nats://elsewhere:4222'];
const EXTERNAL_POSTGRES = [
  'postgres.enabled=false',
  'postgres.external.url=postgres://elsewhere:5432/shop',
  'postgres.external.existingSecret=my-db',
];
const RENDERINGS: Readonly<Record<string, readonly string[]>> = {
  'no values': [],
  'external servers': [...EXTERNAL_NATS, ...EXTERNAL_POSTGRES],
  'no volumes': ['nats.persistence.enabled=false', 'postgres.persistence.enabled=false'],
  'no extras': ['natsBox.enabled=false', 'podDisruptionBudget.enabled=false'],
};

for (const [name, values] of Object.entries(RENDERINGS)) {
  describe(`rendered with ${name}`, () => {
    const text = render(values);

    test('no pod has a service-account token, and nothing grants a right', () => {
      assert.doesNotMatch(text, /^kind: (Cluster)?Role(Binding)?$/m);
      const pods = count(text, /^kind: (Deployment|StatefulSet|Pod)$/gm);
      assert.equal(count(text, /automountServiceAccountToken: false/g), pods);
    });

    test('every container is hardened', () => {
      const containers = count(text, /^ +image: /gm);
      for (const line of [
        'readOnlyRootFilesystem: true',
        'allowPrivilegeEscalation: false',
        'capabilities: { drop: [ALL] }',
      ]) {
        assert.equal(text.split(line).length - 1, containers, line);
      }
      const pods = count(text, /^kind: (Deployment|StatefulSet|Pod)$/gm);
      assert.equal(count(text, /runAsNonRoot: true/g), pods);
      assert.equal(count(text, /seccompProfile: \{ type: RuntimeDefault \}/g), pods);
    });

    test('every setting of worker and coordinator is one that the programs know', () => {
      const known = new Set(
        [...Object.values(workerOptions), ...Object.values(coordinatorOptions)].map((one) => one.variable),
      );
      for (const component of ['worker', 'coordinator']) {
        const [, document = ''] = text.split(`# Source: notifi-scaler/templates/${component}-deployment.yaml`);
        const container = document.split('\n---')[0] ?? '';
        const names = [...container.matchAll(/^ +- name: ([A-Z_]+)$/gm)].map(([, variable = '']) => variable);
        assert.ok(names.length > 10, 'the environment was found');
        for (const variable of names) {
          assert.ok(known.has(variable) || ['POD_NAME', 'PGUSER', 'PGPASSWORD'].includes(variable), variable);
        }
      }
    });

    test('workers and coordinators carry the labels of the contract', () => {
      assert.match(text, /app: worker/);
      assert.match(text, /app: coordinator/);
    });
  });
}

test('a misspelt or mistyped value is refused by name', () => {
  for (const [value, says] of [
    ['worker.replicaCuont=3', /replicaCuont/],
    ['worker.replicaCount=three', /replicaCount/],
    ['config.slots=1000', /slots/],
    ['nats.persistence.size=lots', /size/],
  ] as const) {
    assert.throws(() => render([value]), says);
  }
});

test('external servers without an address are refused, saying which value is needed', () => {
  assert.throws(() => render(['nats.enabled=false']), /nats\.external\.url is needed/);
  assert.throws(() => render(['postgres.enabled=false']), /postgres\.external\.\w+ is needed/);
});

function render(values: readonly string[]): string {
  const settings = values.flatMap((value) => ['--set', value]);
  const args = ['template', 'release', CHART, '--kube-version', '1.30', ...settings];
  return execFileSync('helm', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function count(text: string, pattern: RegExp): number {
  return [...text.matchAll(pattern)].length;
}
