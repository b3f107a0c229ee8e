import type { Duplex } from 'node:stream';
import type { Client, QueryResult, QueryResultRow } from 'pg';
import { POOLER_ADVICE } from './connect-advice.ts';
import { describeFailure, isConnectionUseless, isOfLostStatement, PostgresUnavailableError } from './failure.ts';

export interface Statement {
  /** Prepared under this name, once per connection; one name always means one text. Without it: sent as it is. */
  readonly name?: string;
  readonly text: string;
  readonly values?: readonly unknown[];
  /** `SET` statements that this one depends on; run once per connection, before it. */
  readonly settings?: string;
}

/** The client waits this much longer than the server, whose own word is the better one. */
const ANSWER_MARGIN_MS = 500;
const GOODBYE_LIMIT_MS = 500;

/**
 * Read committed is what the fence is built on, whatever the database's or the role's defaults are; neither do their limits
 * count, a time limit for whole transactions (17 and later) among them. Where row-level security would hide rows, `off` has Postgres refuse the statement instead: a hidden row is never ticked.
 * JIT compilation costs more than any of these statements. Keep-alives let the server drop a client that vanished.
 */
export function sessionSettings(statementTimeoutMs: number): string {
  const settings = {
    default_transaction_isolation: "'read committed'",
    statement_timeout: statementTimeoutMs,
    lock_timeout: 0,
    row_security: 'off',
    idle_in_transaction_session_timeout: 10_000,
    jit: 'off',
    // Definitions are compared with what the catalog spells.
    quote_all_identifiers: 'off',
    tcp_keepalives_idle: 10,
    tcp_keepalives_interval: 5,
    tcp_keepalives_count: 3,
  };
  const statements = Object.entries(settings).map(([name, value]) => `SET ${name} = ${value}`);
  // Not every version has them.
  const limits = "('idle_session_timeout', 'transaction_timeout')";
  statements.push(`SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ${limits}`);
  return statements.join('; ');
}

/** One connection. Its statements must not overlap. It never reconnects: once it ended, it is of no use. */
export class Session {
  /** Resolves when the connection is gone, for whatever reason. */
  readonly ended: Promise<void>;
  /** Host, port, database and role: for messages. */
  readonly target: string;
  readonly #client: Client;
  readonly #timeoutMs: number;
  readonly #appliedSettings = new Set<string>();
  #awaited: { readonly sentAtMs: number; readonly giveUp: (error: Error) => void } | null = null;
  #limitTimer: NodeJS.Timeout | null = null;
  #isOver = false;

  constructor(client: Client, statementTimeoutMs: number) {
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

  /** As the server named itself at login. A pooler names itself instead. */
  get announcedPid(): number {
    return (this.#client as unknown as { readonly processID: number }).processID;
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
      const advice = isOfLostStatement(error) ? `; if a pooler stands between: ${POOLER_ADVICE}` : '';
      throw new PostgresUnavailableError(`lost ${this.target}: ${describeFailure(error)}${advice}`, { cause: error });
    }
  }

  /** Idempotent, never rejects, takes half a second at most. A statement under way is cut off. */
  async end(): Promise<void> {
    this.#isOver = true;
    await raceAgainst(this.#client.end(), GOODBYE_LIMIT_MS, () => new Error('no goodbye')).catch(() => {});
    // Who lies dead in the network never hears the goodbye.
    (this.#client as unknown as { readonly connection: { readonly stream: Duplex } }).connection.stream.destroy();
    if (this.#limitTimer !== null && this.#awaited === null) clearTimeout(this.#limitTimer);
  }

  async #send<Result>(answer: Promise<Result>): Promise<Result> {
    if (this.#timeoutMs === 0) return answer;
    const tooLate = new Promise<never>((_, giveUp) => {
      this.#awaited = { sentAtMs: performance.now(), giveUp };
    });
    this.#limitTimer ??= this.#checkLimitIn(this.#limitMs);
    try {
      return await Promise.race([answer, tooLate]);
    } finally {
      this.#awaited = null;
    }
  }

  get #limitMs(): number {
    return this.#timeoutMs + ANSWER_MARGIN_MS;
  }

  /** One timer for all statements: a timer for each, nearly always cancelled, would cost a tenth of its sending. */
  #checkLimitIn(delayMs: number): NodeJS.Timeout {
    return setTimeout(() => {
      this.#limitTimer = null;
      if (this.#awaited === null) return;
      const { sentAtMs, giveUp } = this.#awaited;
      const leftMs = sentAtMs + this.#limitMs - performance.now();
      if (leftMs > 0) this.#limitTimer = this.#checkLimitIn(leftMs);
      else giveUp(new PostgresUnavailableError(`${this.target} did not answer within ${this.#limitMs} ms`));
    }, delayMs).unref();
  }
}

/** Whoever loses is not listened to any more. */
export async function raceAgainst<Result>(
  work: Promise<Result>,
  limitMs: number,
  tooLate: () => Error,
): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(tooLate()), limitMs);
  });
  work.catch(() => {});
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
  }
}

function describeTarget({ host, port, database, user }: Client): string {
  return `Postgres at ${host}:${port}, database "${database}", role "${user}"`;
}
