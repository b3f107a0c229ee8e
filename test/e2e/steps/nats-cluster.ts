import { audited, expectShares, type Step, type StepContext } from '../step.ts';
import { expectSoon } from '../waiting.ts';

const SERVERS = 3;
const LEADER_LIMIT_MS = 60_000;

export const natsCluster: Step = {
  name: 'nats-cluster',
  purpose: 'a release with three NATS servers, of which one is deleted',
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
  for (const server of servers) {
    const what = `${server} deleted`;
    await audited(context, what, { mayMiss: true }, async () => {
      await app.cluster.read(['delete', 'pod', server, '--wait=true']);
      await app.scaleTo(4);
      await expectShares(context, `${what}: rows per worker, scaled to 4 meanwhile`, 4);
      await app.cluster.read(['rollout', 'status', `statefulset/${app.name('nats')}`, '--timeout=3m']);
      await expectSoon(app.cluster, 'a leader', LEADER_LIMIT_MS, () => app.leader());
      await app.scaleTo(3);
      await expectShares(context, `${what}: rows per worker, all servers back`, 3);
    });
  }
}
