import { option, type Reading, shaped, text, toggle, type Values } from '../../shared/options/options.ts';
import type { Program } from '../../shared/options/program.ts';
import { FIRST_STEP, STEP_NAMES } from './steps.ts';

/** Further releases append their suffix, and the chart cuts a release's name at 40 characters. */
const LONGEST_RELEASE = 30;

export const e2eOptions = {
  namespace: shaped({
    flag: 'namespace',
    variable: 'E2E_NAMESPACE',
    describe: 'namespace to install into; what was there before is left alone',
    defaultText: 'a fresh one, e2e-<random>',
    pattern: /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/,
    expected: 'a name of lowercase letters, digits and dashes, at most 63 characters',
  }),
  release: shaped({
    flag: 'release',
    variable: 'E2E_RELEASE',
    describe: 'name of the helm release',
    default: 'notifi-scaler',
    pattern: new RegExp(`^[a-z]([-a-z0-9]{0,${LONGEST_RELEASE - 2}}[a-z0-9])?$`),
    expected: `a name of lowercase letters, digits and dashes, at most ${LONGEST_RELEASE} characters`,
  }),
  tag: text({
    flag: 'tag',
    variable: 'E2E_TAG',
    describe: 'tag of the images of worker and coordinator, which the cluster must have or be able to pull',
    default: 'dev',
  }),
  formerChart: text({
    flag: 'former-chart',
    variable: 'E2E_FORMER_CHART',
    describe: 'folder of a former version of the chart, for the step version',
    defaultText: 'none: the step is not tried',
  }),
  formerTag: text({
    flag: 'former-tag',
    variable: 'E2E_FORMER_TAG',
    describe: "tag of the former version's images",
    default: 'former',
  }),
  only: stepList({
    flag: 'only',
    variable: 'E2E_ONLY',
    describe: `only these steps, several by comma, after ${FIRST_STEP.name}: ${STEP_NAMES.join(', ')}`,
    defaultText: 'all',
  }),
  skip: stepList({
    flag: 'skip',
    variable: 'E2E_SKIP',
    describe: 'without these steps, several by comma',
  }),
  keep: toggle({
    flag: 'keep',
    variable: 'E2E_KEEP',
    describe: 'leave the namespace and the release as they are at the end',
  }),
  json: toggle({
    flag: 'json',
    variable: 'E2E_JSON',
    describe: 'print JSON, one finding a line, then the verdict',
  }),
  markdown: text({
    flag: 'markdown',
    variable: 'E2E_MARKDOWN',
    describe: 'file to write the table to, as Markdown',
  }),
};

export type E2eOptions = Values<typeof e2eOptions>;

export const e2eProgram: Program<typeof e2eOptions> = {
  command: 'npm run e2e --',
  purpose:
    "Walks through the chart's promises on the cluster that KUBECONFIG names, and prints a table of what it saw. Needs kubectl and helm.",
  options: e2eOptions,
  examples: [
    ['npm run e2e', 'everything, in a namespace of its own that is deleted at the end'],
    [
      'npm run e2e -- --tag 0.1.0 --skip nats-cluster',
      'other images; without the three NATS servers and their volumes',
    ],
    ['npm run e2e -- --only scale,kill --keep', 'two steps, and a release to look at'],
  ],
};

function stepList<const S extends Omit<Parameters<typeof option>[0], 'default'>>(spec: S) {
  return option(spec, (given): Reading<readonly string[]> => {
    const names = given.split(',').map((name) => name.trim());
    const isKnown = names.every((name) => STEP_NAMES.includes(name));
    return isKnown ? { ok: true, value: names } : { ok: false, expected: `some of ${STEP_NAMES.join(', ')}, by comma` };
  });
}
