import type { Duplex } from 'node:stream';
import pg, { type ClientConfig, type QueryResult, type QueryResultRow } from 'pg';
import { describeFailure, isConnectionUseless, PostgresUnavailableError } from './failure.ts';
import { numberTypes } from './types.ts';

export interface PostgresOptions {
  /** URL; what it leaves open, or all where there is none, comes from the PG* variables. */
  readonly connectionString?: string;
  /** How the connections are named in `pg_stat_activity`. */
  readonly applicationName: string;
}

export interface Statement {
  /** Prepared under this name, once per connection; one name always means one text. Without it: sent as it is. */
  readonly name?: string;
  readonly text: string;
  readonly values?: readonly unknown[];
  /** `SET` statements that this one depends on; run once per connection, before it. */
  readonly settings?: string;
}

export interface SessionOptions extends PostgresOptions {
  /** Ended by the server after this long, ms; 0: never. */
  readonly statementTimeoutMs: number;
}

const CONNECT_LIMIT_MS = 2_000;
/** The client waits this much longer than the server, whose own word is the better one. */
const ANSWER_MARGIN_MS = 500;
const GOODBYE_LIMIT_MS = 500;
const KEEP_ALIVE_MS = 5_000;

/**
 * Read committed is what the fence is built on, whatever the database's default is. JIT compilation costs more than any
 * of these statements. Keep-alives let the server drop a client that vanished without a word.
 */
const SESSION_SETTINGS = [
  "SET default_transaction_isolation = 'read committed'",
  'SET jit = off',
  'SET tcp_keepalives_idle = 10',
  'SET tcp_keepalives_interval = 5',
  'SET tcp_keepalives_count = 3',
].join('; ');

/**
 * Opens one connection, within 2 s.
 * @throws what the client or the server said; `isRefusal` tells whether trying again can help.
 */
export async function openSession(options: SessionOptions): Promise<Session> {
  const client = new pg.Client(clientConfig(options));
  const session = new Session(client, options.statementTimeoutMs);
  try {
    await client.connect();
    await client.query(SESSION_SETTINGS);
    return session;
  } catch (error) {
    await session.end();
    throw error;
  }
}

/** One connection. Its statements must not overlap. It never reconnects: once it ended, it is of no use. */
export class Session {
  /** Resolves when the connection is gone, for whatever reason. */
  readonly ended: Promise<void>;
  /** Host, port, database and role: for messages. */
  readonly target: string;
  readonly #client: pg.Client;
  readonly #timeoutMs: number;
  readonly #appliedSettings = new Set<string>();
  #isOver = false;

  constructor(client: pg.Client, statementTimeoutMs: number) {
    this.#client = client;
    this.#timeoutMs = statementTimeoutMs;
    this.target = describeTarget(client);
    this.ended = new Promise((resolve) => {
      client.on('end', () => resolve());
      // Without a listener an error would end the process. 'end' always follows it.
      client.on('error', () => void this.end());
    });
    void this.ended.then(() => {
      this.#isOver = true;
    });
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /**
   * @throws {PostgresUnavailableError} when the connection broke or did not answer in time; the session is over then.
   * @throws pg's DatabaseError for all that is the statement's own fault.
   */
  async query<Row extends QueryResultRow = QueryResultRow>(statement: Statement): Promise<QueryResult<Row>> {
    if (this.#isOver) throw new PostgresUnavailableError(`the connection to ${this.target} is closed`);
    const { settings, name, text, values } = statement;
    try {
      if (settings !== undefined && !this.#appliedSettings.has(settings)) {
        await this.#send(this.#client.query(settings));
        this.#appliedSettings.add(settings);
      }
      const config = {
        text,
        ...(name === undefined ? {} : { name }),
        ...(values === undefined ? {} : { values: [...values] }),
      };
      return await this.#send(this.#client.query<Row>(config));
    } catch (error) {
      if (!isConnectionUseless(error)) throw error;
      await this.end();
      if (error instanceof PostgresUnavailableError) throw error;
      throw new PostgresUnavailableError(`lost ${this.target}: ${describeFailure(error)}`, { cause: error });
    }
  }

  onNotification(listener: () => void): void {
    this.#client.on('notification', () => listener());
  }

  /** Idempotent, never rejects, takes half a second at most. A statement under way is cut off. */
  async end(): Promise<void> {
    this.#isOver = true;
    const goodbye = this.#client.end().catch(() => {});
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise((resolve) => {
      timer = setTimeout(resolve, GOODBYE_LIMIT_MS);
    });
    await Promise.race([goodbye, patience]);
    clearTimeout(timer);
    // Who lies dead in the network never hears the goodbye.
    (this.#client as unknown as { readonly connection: { readonly stream: Duplex } }).connection.stream.destroy();
  }

  async #send<Result>(answer: Promise<Result>): Promise<Result> {
    if (this.#timeoutMs === 0) return answer;
    const limitMs = this.#timeoutMs + ANSWER_MARGIN_MS;
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<never>((_, reject) => {
      const error = new PostgresUnavailableError(`${this.target} did not answer within ${limitMs} ms`);
      timer = setTimeout(() => reject(error), limitMs);
    });
    answer.catch(() => {});
    try {
      return await Promise.race([answer, tooLate]);
    } finally {
      clearTimeout(timer);
    }
  }
}

function clientConfig(options: SessionOptions): ClientConfig {
  return {
    ...(options.connectionString === undefined ? {} : { connectionString: options.connectionString }),
    application_name: options.applicationName,
    connectionTimeoutMillis: CONNECT_LIMIT_MS,
    statement_timeout: options.statementTimeoutMs,
    idle_in_transaction_session_timeout: 10_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
    types: numberTypes,
  };
}

function describeTarget({ host, port, database, user }: pg.Client): string {
  return `Postgres at ${host}:${port}, database "${database}", role "${user}"`;
}
