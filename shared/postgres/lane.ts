import type { QueryResult, QueryResultRow } from 'pg';
import { describeFailure, PostgresUnavailableError } from './failure.ts';
import type { Session, Statement } from './session.ts';

/**
 * One connection's place: statements go one after the other, and where the connection is lost, the next statement opens
 * another. A statement is never sent twice: whether a lost one took effect, only its caller can judge.
 */
export class Lane {
  readonly #open: () => Promise<Session>;
  #session: Session | null = null;
  #tail: Promise<unknown> = Promise.resolve();
  #refusal: { readonly atMs: number; readonly error: PostgresUnavailableError } | null = null;
  #isClosed = false;

  constructor(open: () => Promise<Session>) {
    this.#open = open;
  }

  query<Row extends QueryResultRow>(statement: Statement): Promise<QueryResult<Row>> {
    const askedAtMs = performance.now();
    const answer = this.#tail.then(() => this.#run<Row>(statement, askedAtMs));
    this.#tail = answer.catch(() => {});
    return answer;
  }

  /** Waits for the statements under way, at most `patienceMs`. */
  async close(patienceMs: number): Promise<void> {
    this.#isClosed = true;
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise((resolve) => {
      timer = setTimeout(resolve, patienceMs);
    });
    await Promise.race([this.#tail, patience]);
    clearTimeout(timer);
    await this.#session?.end();
  }

  async #run<Row extends QueryResultRow>(statement: Statement, askedAtMs: number): Promise<QueryResult<Row>> {
    const session = await this.#connect(askedAtMs);
    return session.query<Row>(statement);
  }

  async #connect(askedAtMs: number): Promise<Session> {
    if (this.#isClosed) throw new PostgresUnavailableError('the connection was closed by this process');
    if (this.#session !== null && !this.#session.isOver) return this.#session;
    // Those who waited behind a failed attempt fail with it, instead of each trying in turn.
    if (this.#refusal !== null && this.#refusal.atMs >= askedAtMs) throw this.#refusal.error;
    try {
      this.#session = await this.#open();
      return this.#session;
    } catch (error) {
      const reason = `Postgres cannot be reached: ${describeFailure(error)}`;
      const isKnown = error instanceof PostgresUnavailableError;
      const refusal = isKnown ? error : new PostgresUnavailableError(reason, { cause: error });
      this.#refusal = { atMs: performance.now(), error: refusal };
      throw refusal;
    }
  }
}
