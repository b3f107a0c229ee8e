/** Where a NATS server is, and who connects where its address says so. */
export interface ServerAddress {
  readonly host: string;
  readonly port: number;
  readonly isTls: boolean;
  readonly user?: string;
  readonly password?: string;
  /** From nats://token@host. */
  readonly token?: string;
}

const DEFAULT_PORT = 4222;

/**
 * Reads `[nats://|tls://][user:password@|token@]host[:port]`. The client itself would take neither the credentials nor the
 * scheme from it, and not even the port where the password begins with a digit.
 * @throws {RangeError} naming the address without its credentials.
 */
export function parseServerAddress(server: string): ServerAddress {
  const text = server.includes('://') ? server : `nats://${server}`;
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || url.hostname === '') {
    throw new RangeError(
      `NATS server: expected one such as nats://host:4222, got ${JSON.stringify(hideLogin(server))}`,
    );
  }
  const user = decodeURIComponent(url.username);
  const password = decodeURIComponent(url.password);
  const login = user === '' ? {} : password === '' ? { token: user } : { user, password };
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return { host, port: url.port === '' ? DEFAULT_PORT : Number(url.port), isTls: url.protocol === 'tls:', ...login };
}

/** As host:port, without credentials, for the client and for people. */
export function formatServerAddress(address: ServerAddress): string {
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  return `${host}:${address.port}`;
}

function hideLogin(server: string): string {
  return server.replace(/^([^/]*\/\/)?.*@/, '$1');
}
