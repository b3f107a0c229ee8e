import { setTimeout as delay } from 'node:timers/promises';
import type { QueryResult, QueryResultRow } from 'pg';
import type { Logger } from 'pino';
import { type OnWait, WaitingNotice } from '../process/waiting-notice.ts';
import { adviseOnRefusal, POOLER_ADVICE } from './connect-advice.ts';
import { describeFailure, isRefusal, PostgresRefusedError, PostgresUnavailableError } from './failure.ts';
import { Lane } from './lane.ts';
import { type PostgresOptions, Servers } from './open-session.ts';
import { findPooling } from './pooler.ts';
import type { Session, Statement } from './session.ts';
import { BadPlaceError } from './tls.ts';

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
  const servers = findServers(options);
  const notice = new WaitingNotice(log, onWait);
  for (;;) {
    signal?.throwIfAborted();
    const reason = await tryToConnect(servers, log);
    if (reason === null) break;
    notice.say({ reason }, 'waiting for Postgres');
    await delay(RETRY_MS, undefined, signal === undefined ? {} : { signal });
  }
  if (notice.hasSpoken) log.info('Postgres is there');
  return new PostgresLink(servers);
}

function findServers(options: PostgresOptions): Servers {
  try {
    return new Servers(options);
  } catch (error) {
    throw error instanceof BadPlaceError ? new PostgresRefusedError(error.message) : error;
  }
}

/** @returns null when it can be used, else why not yet. */
async function tryToConnect(servers: Servers, log: Logger): Promise<string | null> {
  let session: Session;
  const open = () => servers.open({ statementTimeoutMs: STATEMENT_LIMIT_MS });
  try {
    session = await open();
  } catch (error) {
    if (isUnreadableFile(error)) {
      const reason = `a file for the encryption of the database connection cannot be read: ${describeFailure(error)}`;
      throw new PostgresRefusedError(
        `${reason}; check sslrootcert, sslcert and sslkey, or the PG* variables of these names`,
      );
    }
    if (!isRefusal(error)) return describeFailure(error);
    const advice = adviseOnRefusal(error);
    const reason = `Postgres refuses the connection: ${describeFailure(error)}`;
    throw new PostgresRefusedError(advice === null ? reason : `${reason}; ${advice}`, { cause: error });
  }
  try {
    const reason = await findUnfit(session);
    if (reason !== null) return reason;
    const pooling = await findPooling(session, open);
    if (pooling === 'by-transaction') {
      const expected = `expected ${session.target} to be a server of its own or a pooler that pools by session`;
      throw new PostgresRefusedError(
        `${expected}, it is a pooler such as PgBouncer in transaction or statement mode; ${POOLER_ADVICE}`,
      );
    }
    if (pooling === 'by-session') log.info({ target: session.target }, 'Postgres is reached through a pooler');
    return null;
  } catch (error) {
    if (error instanceof PostgresRefusedError) throw error;
    return describeFailure(error);
  } finally {
    await session.end();
  }
}

/** @returns why it cannot be used yet. @throws {PostgresRefusedError} where waiting cannot help. */
async function findUnfit(session: Session): Promise<string | null> {
  const { rows } = await session.query<{ version: number; release: string; standby: boolean }>({
    text: `SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS release,
      pg_is_in_recovery() AS standby`,
  });
  const server = rows[0]!;
  if (server.version < OLDEST_VERSION) {
    throw new PostgresRefusedError(`expected PostgreSQL 14 or later, got ${server.release} from ${session.target}`);
  }
  return server.standby ? `${session.target} is a standby, expected the primary` : null;
}

/** A certificate or key; a socket that does not exist has an address, and may yet come. */
function isUnreadableFile(error: unknown): boolean {
  if (!(error instanceof Error && 'code' in error && 'path' in error)) return false;
  return !('address' in error) && (error.code === 'ENOENT' || error.code === 'EACCES' || error.code === 'EISDIR');
}

/**
 * Postgres as this process uses it: lanes, each one connection of its own, opened on first use. Statements of one lane wait
 * for each other, those of different lanes do not.
 */
export class PostgresLink {
  readonly #servers: Servers;
  readonly #lanes = new Map<string, Lane>();
  readonly #sessions = new Set<Session>();
  #isClosed = false;

  constructor(servers: Servers) {
    this.#servers = servers;
  }

  /**
   * Runs a statement, connecting first where needed (within 2 s); at most 10 s. Never sent twice.
   * @throws {PostgresUnavailableError} when not connected or cut off; then whether it took effect is unknown.
   * @throws pg's DatabaseError, with its SQL state in `code`, for what is the statement's own fault.
   */
  query<Row extends QueryResultRow = QueryResultRow>(lane: string, statement: Statement): Promise<QueryResult<Row>> {
    let found = this.#lanes.get(lane);
    if (found === undefined) {
      found = new Lane(() => this.#servers.open({ statementTimeoutMs: STATEMENT_LIMIT_MS }));
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
    const session = await this.#servers.open({ statementTimeoutMs }).catch((error) => {
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
