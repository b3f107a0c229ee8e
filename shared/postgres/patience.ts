import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { PostgresUnavailableError } from './failure.ts';

const RETRY_MS = 250;
const SAY_EVERY_MS = 5_000;

/**
 * Does work that may be repeated, until Postgres carries it out: an outage is waited for, for ever, saying so at once and
 * every five seconds. @throws whatever else the work throws, and the signal's reason when it is aborted.
 */
export async function outlastOutages<Result>(
  work: () => Promise<Result>,
  { log, signal }: { readonly log: Logger; readonly signal: AbortSignal },
): Promise<Result> {
  let saidAtMs = Number.NEGATIVE_INFINITY;
  for (;;) {
    signal.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof PostgresUnavailableError)) throw error;
      if (performance.now() - saidAtMs >= SAY_EVERY_MS) {
        saidAtMs = performance.now();
        log.warn({ reason: error.message }, 'waiting for Postgres');
      }
    }
    await delay(RETRY_MS, undefined, { signal });
  }
}
