/** Telling a server that is not there yet, which is waited for, from one that says no, which is not. */
import { once } from 'node:events';
import { createConnection } from 'node:net';
import { ErrorCode } from 'nats';
import { codeOf, describeNatsError, isPermissionDenied } from './nats-errors.ts';
import type { ServerAddress } from './server-address.ts';

/** NATS will not let us in, or we will not trust it: wrong credentials, TLS that does not fit. Retrying cannot help. */
export class NatsRefusedError extends Error {
  readonly code = 'nats-refused';

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'NatsRefusedError';
  }
}

const ADVICE: Readonly<Record<string, string>> = {
  [ErrorCode.AuthorizationViolation]: 'Check user and password, token or credentials file.',
  [ErrorCode.AuthenticationExpired]: 'The credentials have expired: issue new ones.',
  [ErrorCode.AccountExpired]: 'The account has expired: issue a new one.',
  [ErrorCode.BadCreds]: 'Expected a credentials file with a user JWT and a seed.',
  [ErrorCode.BadAuthentication]: 'Check user and password, token or credentials file.',
  [ErrorCode.ServerOptionNotAvailable]:
    'TLS is asked for, but the server offers none: leave out the TLS options and tls://, or turn TLS on.',
  [ErrorCode.Tls]: 'Check the certificate, key and authority files.',
};

const TLS_CODE = /CERT|SSL|TLS|SELF_SIGNED|VERIFY|ISSUER|CRL/;
const TLS_ADVICE =
  "Check that the certificate authority given is the one of the server's certificate, and the server's name in it.";

/** What to throw for a refusal, saying what to do; null when the error is none, and waiting may help. */
export function refusedError(servers: string, error: unknown): NatsRefusedError | null {
  const code = codeOf(error);
  const advice = isPermissionDenied(error) ? null : (ADVICE[code] ?? (TLS_CODE.test(code) ? TLS_ADVICE : null));
  if (advice === null) return null;
  const reason = code === ErrorCode.ServerOptionNotAvailable ? 'no TLS' : describeNatsError(error);
  return new NatsRefusedError(`NATS at ${servers} cannot be used: ${reason}. ${advice}`, { cause: error });
}

/** TLS works, but the two do not trust each other. */
export function isTrustProblem(error: unknown): boolean {
  return /CERT|SELF_SIGNED|VERIFY|ISSUER/.test(codeOf(error));
}

const PEEK_LIMIT_MS = 1_000;

/**
 * Does the server demand a client certificate? With TLS 1.3 it learns too late that there is none, and the client sees
 * only silence. Its greeting, before TLS, tells.
 */
export async function demandsClientCertificate(address: ServerAddress): Promise<boolean> {
  return /"tls_verify":\s*true/.test((await readGreeting(address)) ?? '');
}

/** It accepts connections, but says nothing before the client does: as a server that does TLS first (`handshake_first`). */
export async function isSilent(address: ServerAddress): Promise<boolean> {
  return (await readGreeting(address)) === '';
}

/** Empty: none came in time. Null: it accepts no connection. */
async function readGreeting(address: ServerAddress): Promise<string | null> {
  const socket = createConnection({ host: address.host, port: address.port });
  const signal = AbortSignal.timeout(PEEK_LIMIT_MS);
  try {
    const [greeting] = await once(socket, 'data', { signal });
    return String(greeting);
  } catch {
    return signal.aborted && !socket.connecting ? '' : null;
  } finally {
    socket.destroy();
  }
}
