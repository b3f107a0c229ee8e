import { describeFailure, stateOf } from './failure.ts';

/** What helps against each refusal. An error that is not known here gets no advice: a wrong one costs more than none. */
const BY_STATE: Readonly<Record<string, string>> = {
  '28P01': 'check the password: in the URL, PGPASSWORD or PGPASSFILE',
  '3D000': 'create the database, or name another one in the URL or PGDATABASE',
  '42501': 'let an owner of the database grant the role CONNECT on it',
};

const UNKNOWN_AUTHORITY =
  'give the root certificate of its authority with sslrootcert or PGSSLROOTCERT; ' +
  'for encryption without a check give sslmode=require and no root certificate';
const BY_CODE: Readonly<Record<string, string>> = {
  SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_AUTHORITY,
  DEPTH_ZERO_SELF_SIGNED_CERT: UNKNOWN_AUTHORITY,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNKNOWN_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT: UNKNOWN_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_AUTHORITY,
  CERT_SIGNATURE_FAILURE: UNKNOWN_AUTHORITY,
  CERT_HAS_EXPIRED: "renew the server's certificate",
  CERT_REVOKED: "replace the server's certificate, which its authority has revoked",
  ERR_TLS_CERT_ALTNAME_INVALID:
    "give the host by a name that the server's certificate holds; sslmode=verify-ca checks the authority only",
};

/** In the order of the errors' words: some have no code of their own. */
const BY_MESSAGE: readonly (readonly [RegExp, string])[] = [
  [
    /does not support SSL/,
    'turn ssl on at the server, or give sslmode=prefer or disable where the network may be trusted',
  ],
  [/password must be a (non-empty )?string|no password/i, 'give the password in the URL, PGPASSWORD or PGPASSFILE'],
  [
    /no pg_hba\.conf entry.*(no encryption|SSL off)/,
    'add a line to pg_hba.conf, or give sslmode=require if it lets in encrypted connections only',
  ],
  [/no pg_hba\.conf entry|pg_hba\.conf rejects/, 'add a line for this role, database and address to pg_hba.conf'],
  [
    /requires a valid client certificate|certificate authentication failed/,
    "give the role's certificate with sslcert and sslkey",
  ],
  [
    /role .* (does not exist|is not permitted to log in)/,
    'check the user in the URL or PGUSER, or let an owner create that role with LOGIN',
  ],
  [
    /unsupported startup parameter/,
    'the pooler takes no such setting: leave it out of the URL and PGOPTIONS, or connect to Postgres itself',
  ],
];

/** @returns what to do, or null. */
export function adviseOnRefusal(error: unknown): string | null {
  const state = stateOf(error);
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const message = describeFailure(error);
  const known = BY_MESSAGE.find(([pattern]) => pattern.test(message))?.[1];
  return known ?? BY_STATE[state ?? ''] ?? BY_CODE[code] ?? null;
}

export const POOLER_ADVICE =
  'connect to Postgres itself, past the pooler, or use one that pools by session ' +
  '(PgBouncer: pool_mode = session for this database or user, with default_pool_size for 8 connections of each service)';
