/**
 * The session that adopts or releases a table. Its statements may wait long for transactions of others. It ends when asked,
 * wherever it stands, and names what it waits for.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type OnWait, WaitingNotice } from '../process/waiting-notice.ts';
import type { PostgresLink } from './connection.ts';
import { stateOf } from './failure.ts';
import { describeHolders, findBlockers, findKeyHolders, findTableHolders, type LockHolder } from './lock-holders.ts';
import type { Ask } from './privileges.ts';
import type { Session } from './session.ts';
import type { TableNames } from './table.ts';

export interface AdoptionContext {
  readonly log: Logger;
  /** Ends it within a second, and leaves no lock. */
  readonly signal?: AbortSignal | undefined;
  readonly onWait?: OnWait | undefined;
}

/** Held for as long as the adoption takes. */
export const ADOPTION_LOCK_KEY = '7307767123520511602';

/** One that every coordinator has anyway, and that is idle while the table is adopted. */
const LANE = 'control';
const LOCK_RETRY_MS = 100;
const LOOK_EVERY_MS = 1_000;
const TERMINATION_LIMIT_MS = 500;
const LOCK_NOT_AVAILABLE = '55P03';
/** Short at first: most locks are gone in a moment. Long at last: each attempt holds everybody up for its lock limit. */
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;
const PAUSE_GROWTH = 1.5;
/** A table in use is locked all the time; only what lasts is worth a line. */
const SAY_AFTER_MS = 1_000;

/** @throws the signal's reason when it is aborted, and what the work throws. */
export async function withAdoptionSession<Result>(
  link: PostgresLink,
  context: AdoptionContext,
  work: (session: Session) => Promise<Result>,
): Promise<Result> {
  const { signal } = context;
  signal?.throwIfAborted();
  const session = await link.open({ statementTimeoutMs: 0 });
  let ending: Promise<void> | null = null;
  let stopWatching = () => {};
  try {
    const { rows } = await session.query<{ pid: number }>({ text: 'SELECT pg_backend_pid() AS pid' });
    const { pid } = rows[0]!;
    const abort = () => {
      ending ??= terminate(link, { session, pid });
    };
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted) abort();
    const stopLooking = watchBlockers(link, { ...context, pid });
    stopWatching = () => {
      signal?.removeEventListener('abort', abort);
      stopLooking();
    };
    return await work(session);
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    stopWatching();
    await ending;
    // Its locks go with the connection.
    await session.end();
  }
}

/** A closed connection alone does not end its statement: the server notices only when it has something to send. */
async function terminate(link: PostgresLink, { session, pid }: { session: Session; pid: number }): Promise<void> {
  const asked = link.query(LANE, { text: 'SELECT pg_terminate_backend($1)', values: [pid] }).catch(() => {});
  await Promise.race([asked, delay(TERMINATION_LIMIT_MS, undefined, { ref: false })]);
  await session.end();
}

/** While its statement waits, a session cannot say what for: another one looks. Returns what ends it. */
function watchBlockers(link: PostgresLink, { log, onWait, pid }: AdoptionContext & { readonly pid: number }) {
  const notice = new WaitingNotice(log, onWait);
  let isOver = false;
  let isLooking = false;
  let seenBefore: readonly number[] = [];
  const look = async () => {
    const holders = await findBlockers((statement) => link.query(LANE, statement), pid).catch(() => []);
    const lasting = holders.filter((holder) => seenBefore.includes(holder.pid));
    seenBefore = holders.map((holder) => holder.pid);
    if (isOver || lasting.length === 0) return;
    notice.say({ reason: describeHolders(lasting) }, 'adoption waits for another transaction to end');
  };
  const timer = setInterval(() => {
    if (isLooking) return;
    isLooking = true;
    void look().finally(() => {
      isLooking = false;
    });
  }, LOOK_EVERY_MS).unref();
  return () => {
    isOver = true;
    clearInterval(timer);
  };
}

/**
 * Polls instead of waiting in Postgres: a waiting statement would hold back the one who makes the index concurrently,
 * and the two would wait for each other.
 */
export async function lockAdoption(session: Session, context: AdoptionContext): Promise<void> {
  const { log, signal, onWait } = context;
  const notice = new WaitingNotice(log, onWait);
  const ask: Ask = (statement) => session.query(statement);
  while (!(await tryLockAdoption(ask))) {
    const reason = describeHolders(await findKeyHolders(ask, ADOPTION_LOCK_KEY));
    notice.say({ reason }, 'waiting for another coordinator to adopt the table');
    await delay(LOCK_RETRY_MS, undefined, { signal });
  }
}

export async function tryLockAdoption(ask: Ask): Promise<boolean> {
  const { rows } = await ask<{ locked: boolean }>({
    text: `SELECT pg_try_advisory_lock(${ADOPTION_LOCK_KEY}) AS locked`,
  });
  return rows[0]?.locked === true;
}

/** A lock that others hold is tried for again and again, until the signal aborts. `name`: of the work, for the log. */
export async function retryWhileLocked(
  attempt: () => Promise<void>,
  { ask, names, name, ...context }: AdoptionContext & { readonly ask: Ask; readonly names: TableNames; name: string },
): Promise<void> {
  const { log, signal, onWait } = context;
  const notice = new WaitingNotice(log, onWait);
  const startedMs = performance.now();
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * PAUSE_GROWTH)) {
    let holders: readonly LockHolder[];
    try {
      return await attempt();
    } catch (error) {
      if (stateOf(error) !== LOCK_NOT_AVAILABLE) throw error;
      holders = await findTableHolders(ask, names);
    }
    const waitedMs = Math.round(performance.now() - startedMs);
    if (waitedMs >= SAY_AFTER_MS) {
      const reason = holders.length === 0 ? 'it has just ended' : describeHolders(holders);
      notice.say({ reason, name, waitedMs }, 'the table is locked by another transaction; trying again');
    }
    await delay(pauseMs, undefined, { signal });
  }
}
