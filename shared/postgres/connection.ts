import { setTimeout as delay } from 'node:timers/promises';
import type { QueryResult, QueryResultRow } from 'pg';
import type { Logger } from 'pino';
import { type OnWait, WaitingNotice } from '../process/waiting-notice.ts';
import { describeFailure, isRefusal, PostgresUnavailableError } from './failure.ts';
import { Lane } from './lane.ts';
import { openSession, type PostgresOptions, type Session, type Statement } from './session.ts';

/** Waiting cannot mend it: wrong password or role, no such database, no permission, a server too old, an unreadable URL. */
export class PostgresRefusedError extends Error {
  override readonly name = 'PostgresRefusedError';
  readonly code = 'postgres-refused';
}

export interface ConnectContext {
  readonly log: Logger;
  readonly signal?: AbortSignal;
  readonly onWait?: OnWait;
}

const STATEMENT_LIMIT_MS = 10_000;
const RETRY_MS = 250;
const CLOSE_PATIENCE_MS = 1_000;
const OLDEST_VERSION = 140_000;

/**
 * Waits for ever for a Postgres that cannot be reached, saying so at once and every 5 s.
 * @throws {PostgresRefusedError} where waiting cannot help. The signal's reason, when it aborts.
 */
export async function connectPostgres(
  options: PostgresOptions,
  { log, signal, onWait }: ConnectContext,
): Promise<PostgresLink> {
  const notice = new WaitingNotice(log, onWait);
  for (;;) {
    signal?.throwIfAborted();
    const reason = await tryToConnect(options);
    if (reason === null) break;
    notice.say({ reason }, 'waiting for Postgres');
    await delay(RETRY_MS, undefined, signal === undefined ? {} : { signal });
  }
  if (notice.hasSpoken) log.info('Postgres is there');
  return new PostgresLink(options);
}

/** @returns null when it can be used, else why not yet. */
async function tryToConnect(options: PostgresOptions): Promise<string | null> {
  let session: Session;
  try {
    session = await openSession({ ...options, statementTimeoutMs: STATEMENT_LIMIT_MS });
  } catch (error) {
    if (isUnreadable(error)) throw new PostgresRefusedError(describeUnreadable(error));
    if (!isRefusal(error)) return describeFailure(error);
    const advice = 'check the URL, the role, its password and its right to connect';
    throw new PostgresRefusedError(`Postgres refuses the connection: ${describeFailure(error)}; ${advice}`, {
      cause: error,
    });
  }
  try {
    const { rows } = await session.query<{ version: number; release: string; standby: boolean }>({
      text: `SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS release,
        pg_is_in_recovery() AS standby`,
    });
    const server = rows[0]!;
    if (server.version < OLDEST_VERSION) {
      throw new PostgresRefusedError(`expected PostgreSQL 14 or later, got ${server.release} from ${session.target}`);
    }
    return server.standby ? `${session.target} is a standby, expected the primary` : null;
  } catch (error) {
    if (error instanceof PostgresRefusedError) throw error;
    return describeFailure(error);
  } finally {
    await session.end();
  }
}

/** The URL's own faults. Node's error carries the whole URL, password and all: it must go no further. */
function isUnreadable(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : null;
  return (
    code === 'ERR_INVALID_URL' ||
    error instanceof URIError ||
    (code === 'ENOENT' && 'path' in (error as object) && !('address' in (error as object)))
  );
}

function describeUnreadable(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : null;
  if (code === 'ENOENT') return `the database URL names a file that cannot be read: ${describeFailure(error)}`;
  return 'the database URL cannot be read: expected one such as postgres://user:password@host:5432/database';
}

/**
 * Postgres as this process uses it: lanes, each one connection of its own, opened on first use. Statements of one lane wait
 * for each other, those of different lanes do not.
 */
export class PostgresLink {
  readonly #options: PostgresOptions;
  readonly #lanes = new Map<string, Lane>();
  readonly #sessions = new Set<Session>();
  #isClosed = false;

  constructor(options: PostgresOptions) {
    this.#options = options;
  }

  /**
   * Runs a statement, connecting first where needed (within 2 s); at most 10 s. Never sent twice.
   * @throws {PostgresUnavailableError} when not connected or cut off; then whether it took effect is unknown.
   * @throws pg's DatabaseError, with its SQL state in `code`, for what is the statement's own fault.
   */
  query<Row extends QueryResultRow = QueryResultRow>(lane: string, statement: Statement): Promise<QueryResult<Row>> {
    let found = this.#lanes.get(lane);
    if (found === undefined) {
      found = new Lane(() => openSession({ ...this.#options, statementTimeoutMs: STATEMENT_LIMIT_MS }));
      if (!this.#isClosed) this.#lanes.set(lane, found);
      else void found.close(0);
    }
    return found.query<Row>(statement);
  }

  /**
   * A connection for one purpose, beside the lanes: long statements, transactions, polls. Ends with the link.
   * @throws {PostgresUnavailableError} when it cannot be opened.
   */
  async open({ statementTimeoutMs }: { readonly statementTimeoutMs: number }): Promise<Session> {
    const session = await openSession({ ...this.#options, statementTimeoutMs }).catch((error) => {
      throw new PostgresUnavailableError(`Postgres cannot be reached: ${describeFailure(error)}`, { cause: error });
    });
    if (this.#isClosed) await session.end();
    this.#sessions.add(session);
    void session.ended.then(() => this.#sessions.delete(session));
    return session;
  }

  /** Idempotent, never rejects. Statements under way get a second. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const lanes = [...this.#lanes.values()].map((lane) => lane.close(CLOSE_PATIENCE_MS));
    const sessions = [...this.#sessions].map((session) => session.end());
    await Promise.all([...lanes, ...sessions]);
  }
}
