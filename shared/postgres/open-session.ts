import pg, { type ClientConfig } from 'pg';
import { isRefusal, stateOf } from './failure.ts';
import { type Host, type Place, readPlace } from './place.ts';
import { raceAgainst, Session, sessionSettings } from './session.ts';
import { type TlsAttempt, tlsOptions } from './tls.ts';
import { numberTypes } from './types.ts';

export interface PostgresOptions {
  /** URL; what it leaves open, or all where there is none, comes from the PG* variables. */
  readonly connectionString?: string;
  /** How the connections are named in `pg_stat_activity`. */
  readonly applicationName: string;
}

const CONNECT_LIMIT_MS = 2_000;
const KEEP_ALIVE_MS = 5_000;
/** No entry of pg_hba.conf lets this role in this way, encrypted or not. */
const INVALID_AUTHORIZATION = '28000';
/** The address does not answer: encryption has nothing to do with it. */
const UNREACHABLE_CODES = new Set([
  ...['ECONNREFUSED', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN', 'ENOENT', 'EACCES'],
]);

/** The servers of one place. The one that was right the last time is asked first, so a dead one is waited for once. */
export class Servers {
  readonly #place: Place;
  readonly #applicationName: string;
  #first = 0;

  /** @throws {BadPlaceError} */
  constructor({ connectionString, applicationName }: PostgresOptions) {
    this.#place = readPlace(connectionString);
    this.#applicationName = applicationName;
  }

  /**
   * Opens one connection, within 2 s for each server.
   * @throws what the client or the server said; `isRefusal` tells whether trying again can help. With several servers a
   * refusal ends the search, as in libpq; otherwise the reasons come together, as an AggregateError without a message.
   */
  async open(options: { readonly statementTimeoutMs: number }): Promise<Session> {
    const { hosts } = this.#place;
    const reasons: unknown[] = [];
    for (const index of hosts.keys()) {
      const choice = (this.#first + index) % hosts.length;
      try {
        const session = await this.#openAt(hosts[choice]!, options.statementTimeoutMs);
        this.#first = choice;
        return session;
      } catch (error) {
        if (hosts.length === 1 || isRefusal(error)) throw error;
        reasons.push(error);
      }
    }
    throw new AggregateError(reasons, '');
  }

  async #openAt(host: Host, statementTimeoutMs: number): Promise<Session> {
    const deadlineMs = performance.now() + CONNECT_LIMIT_MS;
    const isSocket = host.host.startsWith('/');
    const attempts = isSocket ? (['plain'] as const) : this.#place.tls.attempts;
    for (const [index, attempt] of attempts.entries()) {
      try {
        return await this.#attempt({ host, attempt, statementTimeoutMs, deadlineMs });
      } catch (error) {
        if (index === attempts.length - 1 || !mayHelpOtherwise(error, attempt)) throw error;
      }
    }
    throw new Error('no way to connect is left');
  }

  async #attempt(how: {
    readonly host: Host;
    readonly attempt: TlsAttempt;
    readonly statementTimeoutMs: number;
    readonly deadlineMs: number;
  }): Promise<Session> {
    const { host, attempt, statementTimeoutMs, deadlineMs } = how;
    const client = new pg.Client(this.#configure(host, attempt));
    const session = new Session(client, statementTimeoutMs);
    const { needsWriter } = this.#place;
    const opening = client.connect().then(async () => {
      await client.query(sessionSettings(statementTimeoutMs));
      if (needsWriter) await requireWriter(client, session.target);
    });
    try {
      await raceAgainst(opening, deadlineMs - performance.now(), () => new NoAnswerError(session.target));
      return session;
    } catch (error) {
      await session.end();
      throw error;
    }
  }

  #configure({ host, port }: Host, attempt: TlsAttempt): ClientConfig {
    const { user, password, database, settings, tls } = this.#place;
    return {
      application_name: this.#applicationName,
      ...settings,
      host,
      port,
      ...(user !== undefined && { user }),
      ...(password !== undefined && { password }),
      ...(database !== undefined && { database }),
      ssl: attempt === 'plain' ? false : tlsOptions(attempt),
      sslnegotiation: tls.isDirect && attempt !== 'plain' ? 'direct' : 'postgres',
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
      types: numberTypes,
    };
  }
}

class NoAnswerError extends Error {
  readonly code = 'ETIMEDOUT';

  constructor(target: string) {
    super(`${target} did not let us in within ${CONNECT_LIMIT_MS} ms`);
  }
}

/** May the same server let us in with encryption where this was without it, or the other way round? */
function mayHelpOtherwise(error: unknown, attempt: TlsAttempt): boolean {
  const state = stateOf(error);
  if (state !== null) return state === INVALID_AUTHORIZATION;
  if (attempt === 'plain') return false;
  const causes = error instanceof AggregateError ? error.errors : [error];
  return !causes.every((cause) => UNREACHABLE_CODES.has((cause as NodeJS.ErrnoException).code ?? ''));
}

async function requireWriter(client: pg.Client, target: string): Promise<void> {
  const { rows } = await client.query<{ standby: boolean; readOnly: boolean }>(
    `SELECT pg_is_in_recovery() AS standby, current_setting('default_transaction_read_only') = 'on' AS "readOnly"`,
  );
  if (rows[0]?.standby === true) throw new Error(`${target} is a standby, expected the primary`);
  if (rows[0]?.readOnly === true) throw new Error(`${target} takes no writes: default_transaction_read_only is on`);
}
