import { lastLine } from '../command.ts';
import type { Step } from '../step.ts';

export const helmTest: Step = {
  name: 'helm-test',
  purpose: "the chart's own test",
  limitSeconds: 180,
  run: async ({ app, expect }) => {
    const { code, stdout, stderr } = await app.cluster.helm(['test', app.release, '--timeout', '2m']);
    const phase = /^Phase:\s+(\w+)/m.exec(stdout)?.[1];
    const seen = code === 0 && phase !== undefined ? phase : lastLine(stderr || stdout);
    expect({ what: 'helm test', expected: 'Succeeded', seen, isOk: code === 0 && phase === 'Succeeded' });
  },
};
