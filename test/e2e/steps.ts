import type { Step } from './step.ts';
import { apiAccess } from './steps/api-access.ts';
import { credentials } from './steps/credentials.ts';
import { database } from './steps/database.ts';
import { external } from './steps/external.ts';
import { helmTest } from './steps/helm-test.ts';
import { install } from './steps/install.ts';
import { kill } from './steps/kill.ts';
import { natsBox } from './steps/nats-box.ts';
import { natsCluster } from './steps/nats-cluster.ts';
import { reinstall } from './steps/reinstall.ts';
import { restart } from './steps/restart.ts';
import { scale, upgrade } from './steps/scale.ts';
import { version } from './steps/version.ts';

/** In the order they are walked. All others need what the first one installs. */
export const FIRST_STEP = install;
export const STEPS: readonly Step[] = [
  install,
  upgrade,
  scale,
  restart,
  kill,
  natsBox,
  credentials,
  apiAccess,
  helmTest,
  reinstall,
  database,
  external,
  natsCluster,
  version,
];
export const STEP_NAMES: readonly string[] = STEPS.map(({ name }) => name);

/** The chosen steps, the first one always among them. */
export function chooseSteps(choice: {
  readonly only: readonly string[] | undefined;
  readonly skip: readonly string[] | undefined;
}): Step[] {
  const only = choice.only ?? STEP_NAMES;
  const skip = choice.skip ?? [];
  return STEPS.filter((step) => step === FIRST_STEP || (only.includes(step.name) && !skip.includes(step.name)));
}
