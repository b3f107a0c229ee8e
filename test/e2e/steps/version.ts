import { CHART } from '../../support/chart.ts';
import { audited, expectShares, type Step } from '../step.ts';

export const version: Step = {
  name: 'version',
  purpose: 'helm upgrade of a running release of a former version to this one, and back',
  limitSeconds: 900,
  run: async (context) => {
    const { former, tag } = context.app;
    if (former === undefined) return context.tell('a former version', 'NOT TRIED: no --former-chart is given');
    const app = context.app.sibling('former');
    const sibling = { ...context, app };
    await app.install([], former);
    try {
      await expectShares(sibling, 'former version: rows per worker', 3);
      for (const [name, target] of [
        ['helm upgrade to this version', { chart: CHART, tag }],
        ['helm upgrade back to the former version', former],
      ] as const) {
        await audited(sibling, name, { mayMiss: false }, async () => {
          await app.changeVersion(target);
          await expectShares(sibling, `${name}: rows per worker`, 3);
        });
      }
    } finally {
      await app.remove();
    }
  },
};
