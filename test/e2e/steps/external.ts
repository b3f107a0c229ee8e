import type { Installation } from '../installation.ts';
import { audited, expectShares, type Step, type StepContext } from '../step.ts';

const SERVER = 'e2e-elsewhere-nats';
const DATABASE = 'elsewhere';
const PREFIX = 'elsewhere';

export const external: Step = {
  name: 'external',
  purpose: 'a second release with a NATS and a database that it did not bring along',
  limitSeconds: 600,
  run: async (context) => {
    const { app } = context;
    const second = app.sibling('external');
    await startNats(app, second.release);
    // Where policies are enforced, the first release's Postgres is open to its own pods only.
    const label = `app\\.kubernetes\\.io/instance=${second.release}`;
    await app.upgrade([`networkPolicy.postgresFrom[0].podSelector.matchLabels.${label}`]);
    await app.query(`CREATE DATABASE ${DATABASE}`);
    try {
      await second.install([
        'nats.enabled=false',
        `nats.external.url=nats://${SERVER}:4222`,
        'postgres.enabled=false',
        `postgres.external.url=postgres://${app.name('postgres')}:5432/${DATABASE}`,
        `postgres.external.existingSecret=${app.name('postgres')}`,
        `config.natsPrefix=${PREFIX}`,
      ]);
      await expectSecondRelease({ ...context, app: second });
      await expectShares(context, 'the first release meanwhile: rows per worker', 3);
    } finally {
      await second.remove();
    }
  },
};

async function expectSecondRelease(context: StepContext): Promise<void> {
  const { app } = context;
  const cli = ['node', 'dist/services/cli/main.js', 'rows', 'add', '30'];
  await app.cluster.read(['exec', `deployment/${app.name('coordinator')}`, '--', ...cli]);
  await expectShares(context, 'external servers: rows per worker', 3);
  await audited(context, 'external servers, kubectl scale to 4', { mayMiss: false }, async () => {
    await app.scaleTo(4);
    await expectShares(context, 'external servers, kubectl scale to 4: rows per worker', 4);
  });
  const { stdout } = await app.nats(['stream', 'ls', '--names', '--all']);
  const streams = stdout.split(/\s+/).filter((name) => name !== '');
  const isPrefixed = streams.length > 0 && streams.every((name) => name.includes(PREFIX));
  context.expect({
    what: 'external servers: streams',
    expected: `with ${PREFIX}`,
    seen: streams.join(', '),
    isOk: isPrefixed,
  });
}

/** A bare server without a login, from the image that the chart itself runs; it goes with the release it is labelled for. */
async function startNats(app: Installation, instance: string): Promise<void> {
  const labels = { app: SERVER, 'app.kubernetes.io/instance': instance };
  const path = 'jsonpath={.spec.template.spec.containers[0].image}';
  const image = await app.cluster.read(['get', 'statefulset', app.name('nats'), '-o', path]);
  const server = { name: 'nats', image, args: ['-js', '-sd', '/tmp/nats'], ports: [{ containerPort: 4222 }] };
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: SERVER, labels },
    spec: { containers: [server], automountServiceAccountToken: false, terminationGracePeriodSeconds: 1 },
  };
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: SERVER, labels },
    spec: { selector: labels, ports: [{ port: 4222 }] },
  };
  const list = { apiVersion: 'v1', kind: 'List', items: [pod, service] };
  await app.cluster.read(['create', '-f', '-'], JSON.stringify(list));
  await app.cluster.read(['wait', '--for=condition=Ready', `pod/${SERVER}`, '--timeout=60s']);
}
