import { AuditPod } from './audit-pod.ts';
import { type Installation, ROWS, type Shares } from './installation.ts';

/** One part of the walk. Each begins with three workers that share all rows, and ends so where it can. */
export interface Step {
  /** As `--only` and `--skip` name it. */
  readonly name: string;
  /** One line for the person who waits. */
  readonly purpose: string;
  /** After this the step is ended, and counts as broken. */
  readonly limitSeconds: number;
  readonly run: (context: StepContext) => Promise<void>;
}

export interface Check {
  readonly what: string;
  readonly expected: string;
  readonly seen: string;
  readonly isOk: boolean;
}

export interface StepContext {
  readonly app: Installation;
  /** A hard fact: held against what is promised. */
  expect(check: Check): void;
  /** A figure that nothing is promised of. */
  tell(what: string, seen: string): void;
}

/** Does something under the eyes of an audit, and checks that no row was ticked twice, nor missed where that is promised. */
export async function audited(
  context: StepContext,
  what: string,
  promise: { readonly mayMiss: boolean },
  act: () => Promise<void>,
): Promise<void> {
  const audit = await AuditPod.start(context.app);
  await act();
  const { rows, seconds, missed, double, unowned } = await audit.finish();
  const over = `${double} (${rows} rows, ${seconds} s)`;
  context.expect({ what: `${what}: double ticks`, expected: '0', seen: over, isOk: double === 0 && rows > 0 });
  const missing = `${missed} of ${rows * seconds}`;
  if (promise.mayMiss) context.tell(`${what}: missed ticks`, missing);
  else context.expect({ what: `${what}: missed ticks`, expected: '0', seen: missing, isOk: missed === 0 });
  if (unowned > 0) {
    context.expect({ what: `${what}: rows without an owner`, expected: '0', seen: `${unowned}`, isOk: false });
  }
}

/** Checks that so many workers come to share all rows evenly. */
export async function expectShares(context: StepContext, what: string, workers: number): Promise<Shares> {
  const result = await context.app.awaitShares(workers);
  const counts = Object.values(result.shares).sort((a, b) => b - a);
  const seen = counts.length === 0 ? 'not all workers speak' : counts.join(', ');
  context.expect({ what, expected: evenShares(ROWS, workers).join(', '), seen, isOk: result.isShared });
  return result;
}

/** The largest first. */
export function evenShares(rows: number, workers: number): number[] {
  return Array.from({ length: workers }, (_, index) => Math.ceil((rows - index) / workers));
}

/** Are these the names that were to be there? Short where they are: pods' names are long. */
export function compareNames(kind: string, expected: readonly string[], seen: readonly string[]): Omit<Check, 'what'> {
  const missing = expected.filter((name) => !seen.includes(name));
  const strange = seen.filter((name) => !expected.includes(name));
  const isOk = missing.length === 0 && strange.length === 0 && expected.length > 0;
  const faults = [...missing.map((name) => `without ${name}`), ...strange.map((name) => `also ${name}`)];
  return {
    expected: `the ${expected.length} ${kind}`,
    seen: isOk ? `the ${seen.length} ${kind}` : faults.join(', ') || 'none',
    isOk,
  };
}
