import assert from 'node:assert/strict';
import { setTimeout as wait } from 'node:timers/promises';
import { eventually, type LogLine, type ServiceProcess } from './service-process.ts';

export interface Readiness {
  readonly status: number;
  readonly ready: boolean;
  readonly reason?: string;
  readonly since?: string;
}

/** What `/readyz` answers; waits until the process serves it. */
export async function askReadiness(service: ServiceProcess): Promise<Readiness> {
  const { port } = await service.waitFor('its port', ({ msg }) => /^serving /.test(msg ?? ''));
  const response = await fetch(`http://127.0.0.1:${port}/readyz`);
  return { status: response.status, ...((await response.json()) as Omit<Readiness, 'status'>) };
}

type Services = Readonly<Record<string, ServiceProcess>>;

export async function untilAllReady(services: Services): Promise<void> {
  for (const [name, service] of Object.entries(services)) {
    await untilReadiness(name, service, ({ status, ready }) => status === 200 && ready);
  }
}

/** Where a trouble was logged, its end is too, some seconds later. */
async function untilAllCalm(services: Services, from: ReadonlyMap<string, number>): Promise<void> {
  for (const [name, service] of Object.entries(services)) {
    const lines = () => service.lines.slice(from.get(name) ?? 0);
    const isOver = () => countOf(lines(), BEGAN) === countOf(lines(), ENDED);
    await eventually(`${name} to log the end`, isOver, () => service.tail());
  }
}

export interface Trial {
  readonly services: Services;
  /** What `/readyz` of each service must say during the trouble; services without one must stay ready. */
  readonly reasons: Readonly<Record<string, RegExp>>;
  readonly begin: () => Promise<unknown> | unknown;
  readonly end: () => Promise<unknown> | unknown;
  /** How long the trouble goes on once all that are to say so have said so. */
  readonly lastsMs?: number;
}

/**
 * Begins and ends a trouble. Asserts the answers of `/readyz` during it, that all services recover without a restart, and that no
 * service repeats itself in its log. @returns the lines that each service wrote from the beginning on.
 */
export async function tryTrouble(trial: Trial): Promise<Readonly<Record<string, readonly LogLine[]>>> {
  const { services, reasons, lastsMs = 3_000 } = trial;
  await untilAllReady(services);
  await untilAllCalm(services, new Map());
  const from = new Map(Object.entries(services).map(([name, service]) => [name, service.lines.length]));
  await trial.begin();
  try {
    for (const [name, reason] of Object.entries(reasons)) {
      const found = await untilReadiness(name, services[name]!, (answer) => reason.test(answer.reason ?? ''));
      assert.equal(found.status, 503);
      assert.ok(Number.isFinite(Date.parse(found.since ?? '')), `since when: ${found.since}`);
    }
    await wait(lastsMs);
    for (const [name, service] of Object.entries(services)) {
      await untilReadiness(name, service, ({ ready }) => ready === (reasons[name] === undefined));
    }
  } finally {
    await trial.end();
  }
  await untilAllReady(services);
  await untilAllCalm(services, from);
  const written = Object.entries(services).map(
    ([name, service]) => [name, service.lines.slice(from.get(name))] as const,
  );
  for (const [name, lines] of written) assertUnrepeated(name, lines);
  return Object.fromEntries(written);
}

export const BEGAN = /requests fail; trying again$|is damaged$/;
export const ENDED = /requests succeed again$|are sound again$/;
/** One a second, or one for each change of the ring and of its owners, in good times and in bad. */
const REGULAR =
  /^(watching|the fence names another worker for slots of mine|ring applied|ring published|recovered|migration done|table resized|worker (joined|left))$/;

/** At most one line when a trouble begins and one when it ends; all others that a trouble brings come once. */
function assertUnrepeated(name: string, lines: readonly LogLine[]): void {
  const counts = new Map<string, number>();
  for (const { msg = '', name: step } of lines) {
    const key = step === undefined ? msg : `${msg} (${step})`;
    if (!REGULAR.test(msg)) counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const repeated = [...counts].filter(([, count]) => count > 1);
  assert.deepEqual(repeated, [], `${name} repeats itself`);
}

export function countOf(lines: readonly LogLine[], message: RegExp): number {
  return lines.filter(({ msg }) => message.test(msg ?? '')).length;
}

export async function untilReadiness(
  name: string,
  service: ServiceProcess,
  fits: (answer: Readiness) => boolean,
): Promise<Readiness> {
  let last: Readiness | null = null;
  return eventually(
    `${name}'s readiness`,
    async () => {
      last = await askReadiness(service);
      return fits(last) ? last : null;
    },
    () => `it says ${JSON.stringify(last)}\n${service.tail()}`,
  );
}
