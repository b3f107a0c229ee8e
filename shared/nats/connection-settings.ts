/** What the client is told; its own defaults give up after ten attempts and notice a dead connection after minutes. */
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { type Authenticator, type ConnectionOptions, credsAuthenticator } from 'nats';
import type { NatsOptions } from './connection.ts';
import { NatsRefusedError } from './refusal.ts';
import { formatServerAddress, type ServerAddress } from './server-address.ts';

const DIAL_LIMIT_MS = 2_000;
const RECONNECT_WAIT_MS = 100;
const RECONNECT_JITTER_MS = 150;
const PING_EVERY_MS = 5_000;

/** @throws {NatsRefusedError} for a file that cannot be read. */
export async function makeSettings(
  options: NatsOptions,
  addresses: readonly ServerAddress[],
): Promise<ConnectionOptions> {
  return {
    servers: addresses.map(formatServerAddress),
    name: options.name,
    // An inbox of its own, so that permissions can tell one client's replies from another's.
    inboxPrefix: `_INBOX.${options.name.replace(/[^A-Za-z0-9_-]/g, '_')}`,
    // Each call is one pass over the servers; the loop around it says what it waits for, and sees refusals.
    waitOnFirstConnect: false,
    maxReconnectAttempts: -1,
    reconnectTimeWait: RECONNECT_WAIT_MS,
    reconnectJitter: RECONNECT_JITTER_MS,
    reconnectJitterTLS: RECONNECT_JITTER_MS,
    pingInterval: PING_EVERY_MS,
    timeout: DIAL_LIMIT_MS,
    // They cost a leader 4 ms of a handover, since a probe without responders is an error; the messages say it all.
    noAsyncTraces: true,
    ...(await makeLogin(options, addresses)),
    ...(await makeTls(options, addresses)),
  };
}

async function makeLogin(
  options: NatsOptions,
  addresses: readonly ServerAddress[],
): Promise<{ authenticator?: Authenticator; user?: string; pass?: string; token?: string }> {
  if (options.credsFile !== undefined) {
    const authenticator = credsAuthenticator(await readNeeded(options.credsFile, 'credentials'));
    try {
      // Once for nothing: in the client a bad file would end the connection in a way that looks like any other.
      authenticator('nonce');
    } catch (cause) {
      const expected = `expected a user JWT and a seed in the NATS credentials file ${options.credsFile}, got neither or a bad one`;
      throw new NatsRefusedError(`${expected}. Issue it anew.`, { cause });
    }
    return { authenticator };
  }
  const inAddress = addresses.find(({ user, token }) => user !== undefined || token !== undefined);
  const { user, password, token } =
    options.user === undefined && options.token === undefined ? (inAddress ?? {}) : options;
  return {
    ...(user !== undefined && { user }),
    ...(password !== undefined && { pass: password }),
    ...(token !== undefined && { token }),
  };
}

/**
 * The client would ask the DNS for a server's bare name, without the search domains that make `nats` mean something in a
 * cluster, and wait for that to fail at every reconnect. The system's resolver knows better; but without the client's own
 * the server's name must be given to TLS here, which can be only one.
 */
async function makeTls(options: NatsOptions, addresses: readonly ServerAddress[]): Promise<Partial<ConnectionOptions>> {
  const { caFile, certFile, keyFile } = options;
  const isAsked =
    [caFile, certFile, keyFile].some((file) => file !== undefined) || addresses.some(({ isTls }) => isTls);
  if (!isAsked) return { resolve: false };
  const hosts = [...new Set(addresses.map(({ host }) => host))];
  const [host] = hosts;
  const hasOneHost = hosts.length === 1 && host !== undefined;
  const serverName = hasOneHost ? { host, ...(isIP(host) === 0 && { servername: host }) } : {};
  const tls = {
    ...(caFile !== undefined && { ca: (await readNeeded(caFile, 'certificate authority')).toString() }),
    ...(certFile !== undefined && { cert: (await readNeeded(certFile, 'certificate')).toString() }),
    ...(keyFile !== undefined && { key: (await readNeeded(keyFile, 'key')).toString() }),
    ...serverName,
  };
  return { tls, ...(hasOneHost && { resolve: false }) };
}

async function readNeeded(path: string, what: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    const { message } = error as Error;
    throw new NatsRefusedError(`the NATS ${what} file cannot be read: ${message}. Check its path and permissions.`, {
      cause: error,
    });
  }
}
