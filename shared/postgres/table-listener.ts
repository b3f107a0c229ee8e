import { setTimeout as delay } from 'node:timers/promises';
import { CHANNEL } from './change-triggers.ts';
import type { PostgresLink } from './connection.ts';
import type { Session } from './session.ts';

export interface TableListener {
  readonly onNotify: () => void;
  /** After each reconnection. */
  readonly onLost: () => void;
}

const RETRY_FIRST_MS = 50;
const RETRY_LONGEST_MS = 1_000;
/** A connection that lies dead in the network says nothing: so it is asked. */
const CHECK_EVERY_MS = 2_000;
const ANSWER_LIMIT_MS = 2_000;

/** Listens until the returned function is called. Resolves once it listens. */
export async function listenToTable(link: PostgresLink, listener: TableListener): Promise<() => Promise<void>> {
  const stopping = new AbortController();
  const { signal } = stopping;
  let session = await connect(link, listener, signal);
  const listening = keepListening();
  return async () => {
    stopping.abort();
    await session?.end();
    await listening;
  };

  async function keepListening(): Promise<void> {
    while (session !== null && !signal.aborted) {
      await Promise.race([session.ended, checkUntilBroken(session, signal)]);
      await session.end();
      if (signal.aborted) return;
      session = await connect(link, listener, signal);
      if (session !== null) listener.onLost();
    }
  }
}

/** Tries until it listens; null when it was stopped before. */
async function connect(link: PostgresLink, listener: TableListener, signal: AbortSignal): Promise<Session | null> {
  for (let pauseMs = RETRY_FIRST_MS; !signal.aborted; pauseMs = Math.min(2 * pauseMs, RETRY_LONGEST_MS)) {
    let session: Session | null = null;
    try {
      session = await link.open({ statementTimeoutMs: ANSWER_LIMIT_MS });
      session.onNotification(listener.onNotify);
      await session.query({ text: `LISTEN ${CHANNEL}` });
      if (!signal.aborted) return session;
      await session.end();
    } catch {
      await session?.end();
      await delay(pauseMs, undefined, { signal }).catch(() => {});
    }
  }
  return null;
}

async function checkUntilBroken(session: Session, signal: AbortSignal): Promise<void> {
  try {
    while (!session.isOver) {
      await delay(CHECK_EVERY_MS, undefined, { signal });
      await session.query({ text: 'SELECT 1' });
    }
  } catch {
    // Stopped, or the check failed: either way this session is done with.
  }
}
