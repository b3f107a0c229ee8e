import { audited, expectShares, type Step } from '../step.ts';
import { expectSoon } from '../waiting.ts';

const LEADER_LIMIT_MS = 60_000;

export const restart: Step = {
  name: 'restart',
  purpose: 'rolling restarts of workers, coordinators and NATS',
  limitSeconds: 600,
  run: async (context) => {
    const { app } = context;
    await audited(context, 'rollout of the workers', { mayMiss: false }, async () => {
      await app.restart('deployment', 'worker');
      await expectShares(context, 'rollout of the workers: rows per worker', 3);
    });
    await audited(context, 'rollout of the coordinators', { mayMiss: false }, async () => {
      await app.restart('deployment', 'coordinator');
      await expectShares(context, 'rollout of the coordinators: rows per worker', 3);
    });
    await audited(context, 'restart of NATS', { mayMiss: true }, async () => {
      await app.restart('statefulset', 'nats');
      await expectSoon(app.cluster, 'a leader', LEADER_LIMIT_MS, () => app.leader());
      await expectShares(context, 'restart of NATS: rows per worker', 3);
    });
  },
};
