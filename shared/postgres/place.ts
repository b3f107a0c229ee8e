import { BadPlaceError, readTls, TLS_SETTINGS, type Tls } from './tls.ts';

type Environment = Readonly<Record<string, string | undefined>>;

export interface Host {
  /** A name, an address, or the folder of a Unix socket, which begins with a slash. */
  readonly host: string;
  readonly port: number;
}

/**
 * Where the database is and how to get there, read as libpq reads it: from a URL, and what the URL leaves open from the PG*
 * variables. User, password, database and `options` that are missing here are filled in by the client library, which knows
 * PGUSER, PGPASSWORD, PGPASSFILE, PGDATABASE and PGOPTIONS.
 */
export interface Place {
  /** At least one; tried in this order. */
  readonly hosts: readonly Host[];
  readonly user?: string;
  readonly password?: string;
  readonly database?: string;
  readonly tls: Tls;
  /** Only a server that takes writes will do. False: the first one that lets us in. */
  readonly needsWriter: boolean;
  /** The URL's other settings, such as `options` and `application_name`. */
  readonly settings: Readonly<Record<string, string>>;
}

const DEFAULT_HOST = 'localhost';
const DEFAULT_PORT = 5432;
const URL_PATTERN =
  /^postgres(?:ql)?:\/\/(?:(?<login>[^/?#]*)@)?(?<hosts>[^/?#@]*)(?<path>\/[^?#]*)?(?:\?(?<query>[^#]*))?$/;
const HOST_PATTERN = /^(?:\[(?<v6>[0-9a-fA-F:.]+)\]|(?<name>[^:[\]]*))(?::(?<port>\d*))?$/;
/** Read here; the client library is not to see them. */
const OWN_SETTINGS = new Set(['host', 'port', 'user', 'password', 'dbname', 'target_session_attrs', ...TLS_SETTINGS]);

/** @throws {BadPlaceError} saying what was expected, without the URL: it may hold a password. */
export function readPlace(url: string | undefined, environment: Environment = process.env): Place {
  const { login, hosts, path, settings } = url === undefined ? NOTHING : splitUrl(url);
  const given = new Map(settings);
  const host = given.get('host') || hosts.map(({ host }) => host).join(',') || environment.PGHOST || '';
  const urlPort = hosts.some(({ port }) => port !== '') ? hosts.map(({ port }) => port).join(',') : '';
  const all = pairHosts(host, given.get('port') || urlPort || environment.PGPORT || '');
  const attributes = given.get('target_session_attrs') || environment.PGTARGETSESSIONATTRS;
  const [user, password] = [given.get('user') ?? login.user, given.get('password') ?? login.password];
  const database = given.get('dbname') || path;
  return {
    hosts: all,
    ...(user && { user }),
    ...(password && { password }),
    ...(database && { database }),
    tls: readTls(given, environment),
    needsWriter: readAttributes(attributes) || all.length > 1,
    settings: Object.fromEntries([...given].filter(([name]) => !OWN_SETTINGS.has(name))),
  };
}

const NOTHING = { login: { user: '', password: '' }, hosts: [], path: '', settings: [] };

/** The URL's own standard knows one host only, so the hosts are taken out before the rest is read by it. */
function splitUrl(text: string) {
  const parts = URL_PATTERN.exec(text)?.groups;
  if (parts === undefined) throw new BadPlaceError('malformed', UNREADABLE);
  const { login = '', hosts: list = '', path = '', query = '' } = parts;
  try {
    const rest = new URL(`postgres://${login === '' ? '' : `${login}@`}host${path}?${query}`);
    return {
      login: { user: decodeURIComponent(rest.username), password: decodeURIComponent(rest.password) },
      hosts: list === '' ? [] : list.split(',').map(splitHost),
      path: decodeURIComponent(rest.pathname.slice(1)),
      settings: [...rest.searchParams],
    };
  } catch (error) {
    if (error instanceof BadPlaceError) throw error;
    throw new BadPlaceError('malformed', UNREADABLE);
  }
}

const UNREADABLE = 'the database URL cannot be read: expected one such as postgres://user:password@host:5432/database';

function splitHost(text: string): { readonly host: string; readonly port: string } {
  const parts = HOST_PATTERN.exec(text)?.groups;
  if (parts === undefined) throw new BadPlaceError('malformed', UNREADABLE);
  return { host: parts.v6 ?? decodeURIComponent(parts.name ?? ''), port: parts.port ?? '' };
}

/** One port counts for all hosts. */
function pairHosts(hostList: string, portList: string): readonly Host[] {
  const hosts = hostList.split(',').map((host) => host.trim());
  const ports = portList.split(',').map(readPort);
  if (ports.length > 1 && ports.length !== hosts.length) {
    const advice = 'give one port for all hosts, or one for each';
    throw new BadPlaceError(
      'contradictory',
      `expected as many ports as database hosts, got ${ports.length} ports for ${hosts.length} hosts; ${advice}`,
    );
  }
  return hosts.map((host, index) => ({
    host: host || DEFAULT_HOST,
    port: ports.length === 1 ? ports[0]! : ports[index]!,
  }));
}

function readPort(text: string): number {
  const port = text.trim() === '' ? DEFAULT_PORT : Number(text);
  if (Number.isInteger(port) && port >= 1 && port <= 65_535) return port;
  throw new BadPlaceError('contradictory', `expected a port of the database from 1 to 65535, got ${text}`);
}

/** @returns whether the first server that answers is not good enough. Every program here needs one that takes writes. */
function readAttributes(text: string | undefined): boolean {
  if (text === undefined || text === '' || text === 'any') return false;
  if (text === 'read-write' || text === 'primary') return true;
  throw new BadPlaceError(
    'contradictory',
    `expected target_session_attrs read-write, primary or any, got ${JSON.stringify(text)}; ` +
      'Notifi-Scaler writes to the table: leave it out, or give read-write',
  );
}
