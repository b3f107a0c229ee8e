import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type OnWait, WaitingNotice } from '../process/waiting-notice.ts';
import { PostgresUnavailableError } from './failure.ts';

const RETRY_MS = 250;

/**
 * Does work that may be repeated, until Postgres carries it out: an outage is waited for, for ever, saying so at once and
 * every five seconds. @throws whatever else the work throws, and the signal's reason when it is aborted.
 */
export async function outlastOutages<Result>(
  work: () => Promise<Result>,
  { log, signal, onWait }: { readonly log: Logger; readonly signal: AbortSignal; readonly onWait?: OnWait },
): Promise<Result> {
  const notice = new WaitingNotice(log, onWait);
  for (;;) {
    signal.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof PostgresUnavailableError)) throw error;
      notice.say({ reason: error.message }, 'waiting for Postgres');
    }
    await delay(RETRY_MS, undefined, { signal });
  }
}
