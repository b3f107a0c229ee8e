import type { Installation } from '../installation.ts';
import { isServing } from '../pods.ts';
import { audited, expectShares, type Step, type StepContext } from '../step.ts';
import { expectSoon } from '../waiting.ts';

const SERVERS = 3;
const LEADER_LIMIT_MS = 60_000;
/** A server that is asked to go hands its clients over first. */
const RETURN_LIMIT_MS = 180_000;
const BY_FORCE = ['--grace-period=0', '--force'];

export const natsCluster: Step = {
  name: 'nats-cluster',
  purpose: 'a release with three NATS servers, of which the one that leads the liveness bucket is deleted',
  limitSeconds: 900,
  run: async (context) => {
    const clustered = context.app.sibling('cluster');
    try {
      await clustered.install([`nats.replicas=${SERVERS}`]);
      await walkThrough({ ...context, app: clustered });
    } finally {
      await clustered.remove();
    }
  },
};

async function walkThrough(context: StepContext): Promise<void> {
  const { app } = context;
  const servers = await app.servingPods('nats');
  const seen = `${servers.length}`;
  context.expect({ what: 'NATS servers', expected: `${SERVERS}`, seen, isOk: servers.length === SERVERS });
  await expectShares(context, 'three NATS servers: rows per worker', 3);
  await audited(context, 'a server deleted', { mayMiss: true }, () => loseServer(context, 'a server deleted', []));
  const what = 'a server deleted by force';
  await audited(context, what, { mayMiss: true }, () => loseServer(context, what, BY_FORCE));
}

/** Scales while the server is away, and again when it is back. */
async function loseServer(context: StepContext, what: string, how: readonly string[]): Promise<void> {
  const { app } = context;
  const server = await expectSoon(app.cluster, 'a server to lead', LEADER_LIMIT_MS, () => bucketLeader(app));
  const before = await uidOf(app, server);
  await app.cluster.read(['delete', 'pod', server, '--wait=false', ...how]);
  await app.scaleTo(4);
  await expectShares(context, `${what}: rows per worker, scaled to 4 meanwhile`, 4);
  await expectSoon(app.cluster, `${server} to come back`, RETURN_LIMIT_MS, async () => {
    const uid = await uidOf(app, server);
    return uid !== null && uid !== before ? uid : null;
  });
  await expectSoon(app.cluster, 'a coordinator to lead', LEADER_LIMIT_MS, () => app.leader());
  await app.scaleTo(3);
  await expectShares(context, `${what}: rows per worker, all servers back`, 3);
}

/** The NATS server through which every renewal goes; null while there is none. */
async function bucketLeader(app: Installation): Promise<string | null> {
  const { code, stdout } = await app.nats(['stream', 'info', 'KV_workers', '--json']);
  if (code !== 0) return null;
  return (JSON.parse(stdout) as { readonly cluster?: { readonly leader?: string } }).cluster?.leader ?? null;
}

/** Of a server that serves; null while it does not. */
async function uidOf(app: Installation, server: string): Promise<string | null> {
  const pod = (await app.pods('nats')).find(({ metadata }) => metadata.name === server);
  return pod !== undefined && isServing(pod) ? pod.metadata.uid : null;
}
