import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { connect } from 'nats';
import { pino } from 'pino';
import { findNatsServer } from '../../services/local/nats-server-source.ts';
import { findObject, type KubernetesObject, podOf, render } from '../support/chart.ts';
import { startNats } from '../support/nats-process.ts';

const USERS = ['worker', 'coordinator', 'observer', 'system'];
const NASTY = [
  '12e4',
  'true',
  '0123',
  '$HOME',
  '}',
  '"\\\'',
  ' a b ',
  '%41@:/?#',
  '#x',
  '1k',
  '{{ .Values }}',
  'a,b=c',
];

/** What the chart renders, run as the pod would run it. */
describe('passwords that mean something to YAML, helm, a shell or NATS', { timeout: 120_000 }, () => {
  let folder: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'notifi-chart-'));
    await symlink((await findNatsServer({ log: pino({ level: 'silent' }) })).path, join(folder, 'nats-server'));
  });

  after(() => rm(folder, { recursive: true, force: true }));

  for (const password of NASTY) {
    test(`${JSON.stringify(password)} logs every role in, and its server has the pod’s name`, async () => {
      const passwords = Object.fromEntries([...USERS, 'route'].map((user) => [user, `${password}${user[0]}`]));
      const objects = render([], '4e2', [`nats.passwords=${JSON.stringify(passwords)}`]);
      const server = await startNats(await podOfNats(objects, folder));
      try {
        for (const user of USERS) {
          const connection = await connect({ servers: server.url, user, pass: passwords[user] ?? '' });
          assert.equal(connection.info?.server_name, '4e2-nats-0');
          await connection.close();
        }
      } finally {
        await server.stop();
      }
    });
  }
});

describe('names that YAML reads as numbers or truth', () => {
  for (const name of ['4e2', '123', 'true']) {
    test(`a release and secrets called ${name} keep their name`, () => {
      const external = JSON.stringify({ enabled: false, external: { url: 'nats://n:4222', existingSecret: name } });
      const placed = JSON.stringify({ priorityClassName: name });
      for (const objects of [
        render(['nats.replicas=3'], name, [`nats.existingSecret="${name}"`, `postgres.existingSecret="${name}"`]),
        render([], name, [`nats=${external}`, `worker=${placed}`, `imagePullSecrets=["${name}"]`]),
      ]) {
        assert.deepEqual(
          objects.flatMap((object) => findUnquoted(object, '')),
          [],
        );
      }
    });
  }
});

test('a database and a user of any name reach the services and the server as they are', () => {
  const [database, user] = ['my db/ü?$#$(POD_NAME)', "o'brien"];
  const objects = render([], 'r', [`postgres=${JSON.stringify({ database, user })}`]);
  for (const [owner, variable] of [
    ['Deployment/r-worker', 'PGDATABASE'],
    ['StatefulSet/r-postgres', 'POSTGRES_DB'],
  ] as const) {
    const [container] = podOf(objects, owner).containers;
    // As Kubernetes reads it: $(NAME) would be a variable, and $$ is a $.
    const value = container?.env?.find(({ name }) => name === variable)?.value;
    assert.equal(
      value?.replaceAll('$$', () => '$'),
      database,
    );
    assert.doesNotMatch(value ?? '', /(^|[^$])(\$\$)*\$\(/);
  }
  assert.equal(secretOf(objects, 'r-postgres', 'username'), user);
});

/** The container's configuration, environment and start, as `startNats` takes them. */
async function podOfNats(objects: KubernetesObject[], folder: string) {
  const { data } = findObject(objects, 'ConfigMap', '4e2-nats') as unknown as { data: Record<string, string> };
  for (const [name, text] of Object.entries(data)) await writeFile(join(folder, name), text);
  const [container] = podOf(objects, 'StatefulSet/4e2-nats').containers;
  const { args = [], command } = container as unknown as { args: string[]; command: string[] };
  assert.deepEqual(command, ['sh', '/etc/nats/nats-start.sh']);
  const environment: Record<string, string> = { POD_NAME: '4e2-nats-0' };
  for (const user of [...USERS, 'route']) {
    environment[`${user.toUpperCase()}_PASSWORD`] = secretOf(objects, '4e2-nats', `${user}Password`);
  }
  const names = args.slice(0, args.indexOf('--')).join(' ');
  const binary = join(folder, 'start');
  await writeFile(binary, `#!/bin/sh\nexec env PATH="${folder}:$PATH" sh ${folder}/nats-start.sh ${names} -- "$@"\n`);
  await chmod(binary, 0o755);
  // The rest of nats.conf is paths and ports of the pod.
  const config = 'server_name: $POD_NAME\ninclude accounts.conf\n';
  assert.match(data['nats.conf'] ?? '', /^server_name: \$POD_NAME$.*^include accounts\.conf$/ms);
  return { binary, config, environment, dataDir: folder };
}

function secretOf(objects: readonly KubernetesObject[], name: string, key: string): string {
  const { data } = findObject(objects, 'Secret', name) as unknown as { data: Record<string, string> };
  return Buffer.from(data[key] ?? '', 'base64').toString();
}

/** Where a name or a label is no text any more. */
function findUnquoted(value: unknown, path: string): string[] {
  if (typeof value !== 'object' || value === null) {
    return /(\.name|labels\.\S+|Labels\.\S+|ClassName)$/.test(path) && typeof value !== 'string' ? [path] : [];
  }
  return Object.entries(value).flatMap(([key, inner]) => findUnquoted(inner, `${path}.${key}`));
}
