/** The NATS of a test file. */
import { randomBytes } from 'node:crypto';
import { after } from 'node:test';
import { startNats, type TestNats } from './nats-process.ts';

let shared: Promise<TestNats> | null = null;
after(async () => {
  await (await shared)?.stop();
});

/** One server for all tests of this process, ended with it; TEST_NATS_URL, where set, instead. */
export async function sharedNats(): Promise<{ readonly url: string }> {
  if (process.env.TEST_NATS_URL) return { url: process.env.TEST_NATS_URL };
  shared ??= startNats();
  return shared;
}

/** Names of its own for a test file, so that several share one server. */
export function freshPrefix(): string {
  return `t${randomBytes(5).toString('hex')}`;
}
