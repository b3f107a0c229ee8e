import type { PostgresLink } from './connection.ts';
import type { Session } from './session.ts';

/**
 * Lets a page be pruned once a round instead of once for each statement.
 *
 * Where a slot's rows are scattered over the table, every statement of a round visits nearly every page, and every visit
 * prunes the few versions that the statement before left dead there: that costs more than the updates themselves (at 400,000
 * scattered rows 4.3 µs a row, against 2.8 with this). Versions that an open snapshot may still see are not pruned, and Postgres
 * finds that out at once. So during a round a snapshot is held, on a connection of its own.
 *
 * Pages have room for one more version of each row. So the snapshot is renewed long before the next round, is held only where
 * rounds lie apart, and is dropped when no statement comes; the server drops it when this process stands still.
 *
 * Never waited for, and of no consequence when it fails: then pages are pruned as they always are.
 */
/** Most rounds have no more: one for what was given away and is not taken yet, one for what is the worker's. */
const STATEMENTS_WITHOUT = 2;
const RENEW_AFTER_MS = 400;
/** Rounds that follow each other more closely than once a second need the room sooner. */
const SHORTEST_ROUND_MS = 900;
const RELEASE_AFTER_MS = 30;
const SERVER_LIMIT_MS = 1_000;
const RETRY_AFTER_MS = 5_000;
const STATEMENT_LIMIT_MS = 2_000;

const SETTINGS = `SET idle_in_transaction_session_timeout = ${SERVER_LIMIT_MS}`;
const TAKE = 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1';

export class PruningHold {
  readonly #link: PostgresLink;
  #session: Session | null = null;
  #isBusy = false;
  #heldSinceMs: number | null = null;
  #retryAtMs = Number.NEGATIVE_INFINITY;
  #round = { tick: 0, startedMs: Number.NEGATIVE_INFINITY, isApart: false, statements: 0 };
  #timer: NodeJS.Timeout | undefined;

  constructor(link: PostgresLink) {
    this.#link = link;
  }

  /** A statement of this tick begins. */
  begin(tick: number): void {
    clearTimeout(this.#timer);
    const nowMs = performance.now();
    if (tick !== this.#round.tick) {
      const isApart = nowMs - this.#round.startedMs >= SHORTEST_ROUND_MS;
      this.#round = { tick, startedMs: nowMs, isApart, statements: 0 };
      if (!isApart) this.#release();
    }
    this.#round.statements += 1;
    if (!this.#round.isApart || nowMs < this.#retryAtMs) return;
    if (this.#heldSinceMs === null) {
      if (this.#round.statements > STATEMENTS_WITHOUT) this.#send(TAKE, nowMs);
    } else if (nowMs - this.#heldSinceMs >= RENEW_AFTER_MS) {
      this.#send(`COMMIT; ${TAKE}`, nowMs);
    }
  }

  /** It is done: another one may follow. */
  end(): void {
    clearTimeout(this.#timer);
    if (this.#heldSinceMs === null && !this.#isBusy) return;
    this.#timer = setTimeout(() => this.#release(), RELEASE_AFTER_MS);
    this.#timer.unref();
  }

  #release(): void {
    if (this.#isBusy) this.end();
    else if (this.#heldSinceMs !== null) this.#send('COMMIT', null);
  }

  /** One statement under way at most; what comes meanwhile is not sent at all. */
  #send(text: string, heldSinceMs: number | null): void {
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.#query(text)
      .then(
        () => {
          this.#heldSinceMs = heldSinceMs;
        },
        () => {
          this.#heldSinceMs = null;
          this.#retryAtMs = performance.now() + RETRY_AFTER_MS;
        },
      )
      .finally(() => {
        this.#isBusy = false;
      });
  }

  async #query(text: string): Promise<void> {
    const isLost = this.#session === null || this.#session.isOver;
    if (isLost) this.#session = await this.#link.open({ statementTimeoutMs: STATEMENT_LIMIT_MS });
    // What the lost one held is gone with it: a COMMIT of nothing is a mere warning.
    await this.#session?.query({ text, settings: SETTINGS });
  }
}
