/**
 * What a failed attempt or statement means: the server does not want us (waiting cannot help), the connection is of no use
 * any more (connect again), or the statement itself was at fault (the connection stays).
 */

/** Not connected, or the connection broke while the statement ran: whether it took effect is unknown. Try again later. */
export class PostgresUnavailableError extends Error {
  override readonly name = 'PostgresUnavailableError';
  readonly code = 'postgres-unavailable';
}

/** Waiting cannot mend it: wrong password or role, no such database, no permission, a server too old, an unreadable URL. */
export class PostgresRefusedError extends Error {
  override readonly name = 'PostgresRefusedError';
  readonly code = 'postgres-refused';
}

const REFUSING_STATES = new Set([
  '28P01', // wrong password
  '28000', // no such role, or pg_hba.conf keeps it out
  '3D000', // no such database
  '42501', // the role may not connect to the database
]);

const REFUSING_CODES = new Set([
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'CERT_SIGNATURE_FAILURE',
  'CERT_HAS_EXPIRED',
  'CERT_REVOKED',
  'ERR_TLS_CERT_ALTNAME_INVALID',
]);

/** The client's own words; it gives them no code. */
const REFUSING_MESSAGES = /client password must be a|does not support SSL|unsupported startup parameter/;

/** States after which a connection gives no good answers any more, although it is open. */
const NO_SUCH_STATEMENT = '26000';
const DUPLICATE_STATEMENT = '42P05';
const USELESS_STATES = new Set([
  '25006', // read-only: the server became a standby, the name may lead to another one by now
  NO_SUCH_STATEMENT, // the prepared statement is gone: somebody reset the connection
  DUPLICATE_STATEMENT, // it was prepared by somebody else, whose connection this was
  '0A000', // a prepared statement's result type changed with the table
  '57P01',
  '57P02',
  '57P03',
  '57P05',
  '53300',
]);

const STATE_PATTERN = /^[0-9A-Z]{5}$/;

/** Would connecting again, unchanged, be refused again? */
export function isRefusal(error: unknown): boolean {
  const code = codeOf(error);
  if (code !== null && (REFUSING_STATES.has(code) || REFUSING_CODES.has(code))) return true;
  return REFUSING_MESSAGES.test(describeFailure(error));
}

/** The connection is not the one that the statement was prepared on. */
export function isOfLostStatement(error: unknown): boolean {
  const state = stateOf(error);
  return state === NO_SUCH_STATEMENT || state === DUPLICATE_STATEMENT;
}

/** After this error of a statement, is the connection to be given up? An error without an SQL state is not the server's word. */
export function isConnectionUseless(error: unknown): boolean {
  const state = stateOf(error);
  return state === null || state.startsWith('08') || USELESS_STATES.has(state);
}

/** Connection, role, transaction state, prepared statement, database, rollback, resources, operator's intervention, system. */
const CLASSES_OF_NO_ROW = new Set(['08', '25', '26', '28', '3D', '40', '53', '57', '58']);
const NOT_SUPPORTED = '0A000';

/**
 * May some rows be at fault, so that others can be written? Postgres undid the statement whole. A rule on the table is "not
 * supported" in our statements, which also says so when a table changed: then the connection was given up.
 */
export function mayBeOfRows(error: unknown): boolean {
  const state = stateOf(error);
  if (state !== null) return !CLASSES_OF_NO_ROW.has(state.slice(0, 2));
  return error instanceof PostgresUnavailableError && stateOf(error.cause) === NOT_SUPPORTED;
}

/** The five characters by which Postgres names an error; null where it came from elsewhere. */
export function stateOf(error: unknown): string | null {
  const code = codeOf(error);
  return code !== null && STATE_PATTERN.test(code) && 'severity' in (error as object) ? code : null;
}

/**
 * The reason in words, with the SQL state where Postgres gave one. An address that answers nowhere comes as an error of
 * many, with an empty message.
 */
export function describeFailure(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(describeFailure).join('; ');
  if (!(error instanceof Error)) return String(error);
  const state = stateOf(error);
  return state === null ? error.message : `${error.message} (${state})`;
}

function codeOf(error: unknown): string | null {
  const code = error instanceof Error && 'code' in error ? error.code : null;
  return typeof code === 'string' ? code : null;
}
