import { setTimeout as wait } from 'node:timers/promises';
import { type Logger, pino } from 'pino';
import { connectNats, type NatsLink, type NatsOptions } from '../../shared/nats/connection.ts';
import type { Liveness } from '../../shared/nats/liveness.ts';

export interface RecordedLog {
  readonly log: Logger;
  readonly lines: { readonly level: number; readonly msg: string; readonly [field: string]: unknown }[];
}

export function recordLog(): RecordedLog {
  const lines: RecordedLog['lines'] = [];
  const log = pino({ level: 'trace' }, { write: (line) => void lines.push(JSON.parse(line)) });
  return { log, lines };
}

const links = new Set<NatsLink>();

export async function openTestLink(
  options: Partial<NatsOptions> & { readonly url: string; readonly log?: Logger },
): Promise<NatsLink> {
  const { url, log = recordLog().log, ...rest } = options;
  const link = await connectNats({ servers: [url], name: 'test', prefix: '', ...rest }, { log });
  links.add(link);
  return link;
}

/** Of this process; an open one keeps the test from ending. */
export async function closeTestLinks(): Promise<void> {
  await Promise.all([...links].map((link) => link.drain()));
  links.clear();
}

/** Waits for a condition; fails with what is found then. */
export async function until(
  what: string,
  isTrue: () => boolean | Promise<boolean>,
  { limitMs = 10_000, found = () => '' as unknown }: { readonly limitMs?: number; readonly found?: () => unknown } = {},
): Promise<void> {
  const deadlineMs = performance.now() + limitMs;
  while (!(await isTrue())) {
    if (performance.now() > deadlineMs) {
      throw new Error(`expected ${what} within ${limitMs} ms; found ${JSON.stringify(found())}`);
    }
    await wait(5);
  }
}

/** Fails when more time than that has passed since. */
export function assertTook(sinceMs: number, limitMs: number): void {
  const tookMs = performance.now() - sinceMs;
  if (tookMs > limitMs) throw new Error(`expected at most ${limitMs} ms, it took ${Math.round(tookMs)}`);
}

export function makeLiveness(id: string, change: Partial<Liveness> = {}): Liveness {
  return { id, startedAt: '2026-11-23T10:00:00.000Z', ring: 0, tick: 0, rows: 0, state: 'active', ...change };
}
