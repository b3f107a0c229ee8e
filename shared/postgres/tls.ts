import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';

/**
 * Encryption as libpq knows it: `sslmode` and its files, from the URL or the PG* variables.
 *
 *   mode         encrypted            certificate checked
 *   disable      never                –
 *   allow        where demanded       with a root certificate
 *   prefer       where offered        with a root certificate (the default)
 *   require      always               with a root certificate
 *   verify-ca    always               always, by its authority
 *   verify-full  always               always, by its authority and the host's name
 *
 * Without a root certificate, `verify-full` trusts the authorities that Node.js brings, as `sslrootcert=system` does; libpq
 * would refuse. `no-verify` is the client library's own: encrypted, never checked.
 */
export interface Tls {
  /** What to try, in this order; the second only where the first was refused. */
  readonly attempts: readonly TlsAttempt[];
  /** Begins with TLS, without asking the server first. */
  readonly isDirect: boolean;
}

export type TlsAttempt = 'plain' | TlsFiles;

/** Read at each connection: certificates are renewed under running programs. */
export interface TlsFiles {
  readonly check: 'none' | 'authority' | 'authority-and-name';
  readonly root?: string;
  readonly certificate?: string;
  readonly key?: string;
  readonly passphrase?: string;
  readonly revoked?: string;
}

/** `malformed`: not even a URL. `contradictory`: readable, but not to be had. */
export class BadPlaceError extends Error {
  override readonly name = 'BadPlaceError';
  readonly code = 'bad-place';
  readonly kind: 'malformed' | 'contradictory';

  constructor(kind: BadPlaceError['kind'], message: string) {
    super(message);
    this.kind = kind;
  }
}

export const TLS_SETTINGS = [
  'ssl',
  'sslmode',
  'sslnegotiation',
  'sslrootcert',
  'sslcert',
  'sslkey',
  'sslpassword',
  'sslcrl',
] as const;

const MODES = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full', 'no-verify'] as const;
type Mode = (typeof MODES)[number];
/** Never without encryption. */
const STRICT_MODES: readonly Mode[] = ['require', 'verify-ca', 'verify-full', 'no-verify'];
/** In place of a file: the authorities that the system trusts, here those of Node.js. */
const SYSTEM_ROOT = 'system';

/** @throws {BadPlaceError} */
export function readTls(
  settings: ReadonlyMap<string, string>,
  environment: Readonly<Record<string, string | undefined>>,
): Tls {
  const read = (name: string) => settings.get(name) || environment[`PG${name.toUpperCase()}`] || undefined;
  const file = (name: string, own: string) => read(name) ?? findOwn(own);
  const root = file('sslrootcert', 'root.crt');
  const isDirect = readNegotiation(read('sslnegotiation'));
  const mode = readMode({ given: readGivenMode(settings) ?? environment.PGSSLMODE, isDirect, root });
  const certificate = file('sslcert', 'postgresql.crt');
  const passphrase = settings.get('sslpassword');
  const revoked = file('sslcrl', 'root.crl');
  const files: TlsFiles = {
    check: chooseCheck(mode, root),
    ...(root !== undefined && root !== SYSTEM_ROOT && { root }),
    ...(certificate !== undefined && { certificate, key: file('sslkey', 'postgresql.key') ?? '' }),
    ...(passphrase !== undefined && { passphrase }),
    ...(revoked !== undefined && { revoked }),
  };
  const attempts: Readonly<Record<string, readonly TlsAttempt[]>> = {
    disable: ['plain'],
    allow: ['plain', files],
    prefer: [files, 'plain'],
  };
  return { attempts: attempts[mode] ?? [files], isDirect };
}

/** As `tls.connect` takes them. @throws what reading a file throws. */
export function tlsOptions(files: TlsFiles): ConnectionOptions {
  const { check, root, certificate, key, passphrase, revoked } = files;
  return {
    rejectUnauthorized: check !== 'none',
    ...(root !== undefined && { ca: readFileSync(root) }),
    ...(certificate !== undefined && { cert: readFileSync(certificate), key: readFileSync(key ?? '') }),
    ...(passphrase !== undefined && { passphrase }),
    // Without authorities it could not be checked.
    ...(revoked !== undefined && check !== 'none' && { crl: readFileSync(revoked) }),
    ...(check !== 'authority-and-name' && { checkServerIdentity: () => undefined }),
  };
}

/** The mode that the URL gives; `ssl=true` is how other clients spell `require`. */
function readGivenMode(settings: ReadonlyMap<string, string>): string | undefined {
  const mode = settings.get('sslmode');
  if (mode) return mode;
  const ssl = settings.get('ssl');
  if (ssl === 'true' || ssl === '1') return 'require';
  if (ssl === 'false' || ssl === '0') return 'disable';
  return ssl || undefined;
}

function readMode(from: {
  readonly given: string | undefined;
  readonly isDirect: boolean;
  readonly root: string | undefined;
}): Mode {
  const { given, isDirect, root } = from;
  const mode = MODES.find((known) => known === given);
  if (given && mode === undefined) {
    throw new BadPlaceError(
      'contradictory',
      `expected sslmode to be one of ${MODES.slice(0, -1).join(', ')}, got ${JSON.stringify(given)}`,
    );
  }
  if (root === SYSTEM_ROOT && mode !== undefined && mode !== 'verify-full') {
    const reason = 'anybody can get a certificate from one of these authorities';
    throw new BadPlaceError(
      'contradictory',
      `expected sslmode=verify-full with sslrootcert=system, got ${mode}: ${reason}`,
    );
  }
  if (isDirect && mode !== undefined && !STRICT_MODES.includes(mode)) {
    throw new BadPlaceError(
      'contradictory',
      `expected sslmode=require, verify-ca or verify-full with sslnegotiation=direct, got ${mode}`,
    );
  }
  if (mode === 'verify-ca' && root === undefined) {
    throw new BadPlaceError(
      'contradictory',
      'expected a root certificate for sslmode=verify-ca, got none; give sslrootcert or PGSSLROOTCERT, ' +
        'or put it into ~/.postgresql/root.crt',
    );
  }
  if (mode !== undefined) return mode;
  if (root === SYSTEM_ROOT) return 'verify-full';
  return isDirect ? 'require' : 'prefer';
}

function readNegotiation(given: string | undefined): boolean {
  if (given === undefined || given === 'postgres') return false;
  if (given === 'direct') return true;
  throw new BadPlaceError('contradictory', `expected sslnegotiation postgres or direct, got ${JSON.stringify(given)}`);
}

function chooseCheck(mode: Mode, root: string | undefined): TlsFiles['check'] {
  if (mode === 'verify-full') return 'authority-and-name';
  return mode !== 'no-verify' && root !== undefined ? 'authority' : 'none';
}

/** What a person keeps for all programs that talk to Postgres. */
function findOwn(name: string): string | undefined {
  const path = join(homedir(), '.postgresql', name);
  return existsSync(path) ? path : undefined;
}
