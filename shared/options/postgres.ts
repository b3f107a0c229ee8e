import { userInfo } from 'node:os';
import { readPlace } from '../postgres/place.ts';
import { BadPlaceError } from '../postgres/tls.ts';
import { type Environment, hideCredentials, option } from './options.ts';

/** Where any of these is set, the person means the place they name. PGUSER and PGPASSWORD complete every place. */
const PLACE_VARIABLES = ['PGHOST', 'PGPORT', 'PGDATABASE'] as const;
const DEFAULT_URL = 'postgres://127.0.0.1:5432/postgres';

export const postgresOptions = {
  /** Undefined: the PG* variables say where. */
  database: option(
    {
      flag: 'database',
      variable: 'DATABASE_URL',
      describe:
        'URL of the Postgres database, read as libpq reads it, also with several hosts; without it the PG* variables count',
      default: (environment: Environment): string | undefined =>
        PLACE_VARIABLES.some((name) => environment[name]) ? undefined : makeDefaultUrl(environment),
      defaultText: DEFAULT_URL,
      show: hideCredentials,
    },
    (given) => {
      try {
        readPlace(given);
        return { ok: true, value: given };
      } catch (error) {
        if (!(error instanceof BadPlaceError)) throw error;
        if (error.kind === 'contradictory') return { ok: false, reason: `${error.message}.` };
        return { ok: false, expected: 'a URL such as postgres://user:password@host:5432/database' };
      }
    },
  ),
};

/** What the options leave to shared/postgres: nothing but the URL, where there is one. */
export function toPostgresConnection(values: { readonly database: string | undefined }) {
  return values.database === undefined ? {} : { connectionString: values.database };
}

/** The client library takes the user from PGUSER or USER; containers often have neither, and then it sends none at all. */
function makeDefaultUrl(environment: Environment): string {
  if (environment.PGUSER || environment.USER) return DEFAULT_URL;
  const url = new URL(DEFAULT_URL);
  url.username = ownName();
  return url.href;
}

function ownName(): string {
  try {
    return userInfo().username;
  } catch {
    // A user id without an entry among the system's users.
    return 'postgres';
  }
}
