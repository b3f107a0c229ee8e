import { StepChecks } from './checks.ts';
import { planFaults } from './faults.ts';
import { ForgeryCheck } from './forgery-check.ts';
import { checkQuiet } from './rest-checks.ts';
import { StarvationCheck } from './starvation-check.ts';
import { type Broken, World } from './world.ts';

export interface SimulationResult {
  readonly seed: number;
  /** Null: every check held. */
  readonly violation: string | null;
  readonly faults: readonly string[];
  readonly snapshots: number;
  /** Claims and increments. */
  readonly records: number;
}

export interface SimulationOptions {
  readonly seed: number;
  /** @default 'none' */
  readonly broken?: Broken;
  /** Suffered once in addition to the random faults. @default none */
  readonly fault?: string | undefined;
}

const SAVE_EVERY_MS = 500;
const WARM_UP_MS = 5_000;
const TROUBLE_MS = 20_000;
/** Longer than the longest fault, a departure's grace and the recovery after them take together. */
const QUIET_MS = 40_000;

/** One seed: a world warms up, suffers, comes to rest. Never throws: what went wrong is in the result. */
export function simulate(options: SimulationOptions): SimulationResult {
  const world = new World({ seed: options.seed, slots: 32, broken: options.broken ?? 'none' });
  const violation = findViolation(world, options.fault ?? null);
  return {
    seed: options.seed,
    violation,
    faults: world.faults,
    snapshots: world.accepted.length,
    records: world.postgres.records.length,
  };
}

function findViolation(world: World, fault: string | null): string | null {
  const { random } = world;
  const rows = random.pick([0, 1, 10, 30, 100]);
  for (let row = 0; row < rows; row += 1) world.postgres.changeRows(random.between(0, world.slots - 1), 1);
  const coordinators = random.between(1, 3);
  for (let index = 1; index <= coordinators; index += 1) world.startCoordinator(`coordinator-${index}`);
  const workers = random.between(1, 5);
  for (let index = 1; index <= workers; index += 1) world.startWorker(`worker-${index}`);
  planFaults(world, { fromMs: WARM_UP_MS, toMs: WARM_UP_MS + TROUBLE_MS, fault });
  const checks = new StepChecks(world);
  const check = () => checks.check();
  new StarvationCheck(world, checks.rows).begin();
  new ForgeryCheck(world).begin();
  world.saveEvery(SAVE_EVERY_MS);
  try {
    world.timeline.runUntil(WARM_UP_MS - 1, check);
    checkQuiet(world);
    world.timeline.runUntil(WARM_UP_MS + TROUBLE_MS + QUIET_MS, check);
    checkQuiet(world);
    return null;
  } catch (error) {
    return error instanceof Error
      ? `${error.name === 'Error' ? '' : `${error.name}: `}${error.message} (at ${Math.round(world.timeline.nowMs)} ms)`
      : String(error);
  }
}
