/**
 * The connection to NATS: waited for at the start, kept for ever afterwards. Every other file of this folder works on the
 * link made here; nothing outside this folder sees the client library.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { type ConnectionOptions, connect, ErrorCode, type NatsConnection } from 'nats';
import type { Logger } from 'pino';
import { type OnWait, WaitingNotice } from '../process/waiting-notice.ts';
import { makeSettings } from './connection-settings.ts';
import type { InstallationGate } from './installation-gate.ts';
import { openLink } from './link.ts';
import { type NatsNames, natsNames } from './names.ts';
import { codeOf, describeNatsError } from './nats-errors.ts';
import { demandsClientCertificate, isSilent, isTrustProblem, NatsRefusedError, refusedError } from './refusal.ts';
import { formatServerAddress, parseServerAddress, type ServerAddress } from './server-address.ts';

export type LinkStatus = 'disconnected' | 'reconnected';

/** A connection to NATS that keeps itself up. */
export interface NatsLink {
  /** For this folder only. */
  readonly connection: NatsConnection;
  readonly names: NatsNames;
  /** Whose messages ours are, and whose are let through. */
  readonly installation: InstallationGate;
  /** For what this folder has to say: what it waits for, what NATS denies. */
  readonly log: Logger;
  /** Ends the waiting at the start. */
  readonly signal: AbortSignal | undefined;
  readonly onWait: OnWait | undefined;
  isConnected(): boolean;
  /** Told in order; `disconnected` once per loss. Returns what ends the telling. */
  onStatus(listener: (status: LinkStatus) => void): () => void;
  /** Resolves when the link is closed for good: undefined as asked, else why, such as credentials revoked. */
  readonly closed: Promise<Error | undefined>;
  /** Sends what is under way and closes, within two seconds. Never rejects. Idempotent. */
  drain(): Promise<void>;
}

export interface NatsOptions {
  /** As nats://host:port or tls://host:port; credentials in them are used where no others are given. */
  readonly servers: readonly string[];
  /** Of the connection, as the server lists it: the worker's or the coordinator's id. */
  readonly name: string;
  /** Of all names, see `natsNames`. */
  readonly prefix: string;
  readonly user?: string;
  readonly password?: string;
  readonly token?: string;
  /** Holding a user JWT and a seed. */
  readonly credsFile?: string;
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
}

const RETRY_MS = 250;
const TLS_FIRST_ADVICE =
  ': it accepts connections and says nothing; if it does TLS first (handshake_first), give its address as tls://';

/**
 * Connects, waiting for ever for servers that cannot be reached and saying so: at once, then every five seconds. Once
 * connected, it reconnects by itself for ever.
 * @throws {NatsRefusedError} at once where waiting cannot help: wrong credentials, TLS that does not fit, unreadable files.
 * @throws the signal's reason when it is aborted before the connection is made.
 */
export async function connectNats(
  options: NatsOptions,
  context: { readonly log: Logger; readonly signal?: AbortSignal | undefined; readonly onWait?: OnWait | undefined },
): Promise<NatsLink> {
  const { log, signal, onWait } = context;
  const addresses = options.servers.map(parseServerAddress);
  const names = natsNames(options.prefix);
  const servers = addresses.map(formatServerAddress).join(', ');
  const settings = await makeSettings(options, addresses);
  const notice = new WaitingNotice(log, onWait);
  let doesTlsFirst = false;
  for (;;) {
    signal?.throwIfAborted();
    if (settings.tls) await refuseMissingCertificate(options, addresses);
    try {
      const connection = await connectUnlessAborted(doesTlsFirst ? withTlsFirst(settings) : settings, signal);
      log.info({ server: connection.getServer(), version: connection.info?.version }, 'connected to NATS');
      const explain = (error: Error) => refusedError(servers, error) ?? error;
      return openLink(connection, { names, log, explain, signal, onWait });
    } catch (error) {
      signal?.throwIfAborted();
      const refusal = refusedError(servers, error);
      // What fails with TLS first may do it second: a server that stood still looks the same as one that waits for TLS.
      if (refusal !== null && (!doesTlsFirst || isTrustProblem(error))) throw refusal;
      if (codeOf(error) === ErrorCode.Timeout) await refuseMissingCertificate(options, addresses);
      const areSilent = codeOf(error) === ErrorCode.Timeout && (await areAllSilent(addresses));
      doesTlsFirst = areSilent && settings.tls != null && !doesTlsFirst;
      const reason = describeNatsError(error) + (areSilent && settings.tls == null ? TLS_FIRST_ADVICE : '');
      notice.say({ servers, reason }, `waiting for NATS at ${servers} (${reason})`);
    }
    await wait(RETRY_MS, undefined, { signal });
  }
}

function withTlsFirst(settings: ConnectionOptions): ConnectionOptions {
  return { ...settings, tls: { ...settings.tls, handshakeFirst: true } };
}

async function areAllSilent(addresses: readonly ServerAddress[]): Promise<boolean> {
  const silent = await Promise.all(addresses.map(isSilent));
  return silent.every((each) => each);
}

async function connectUnlessAborted(settings: ConnectionOptions, signal?: AbortSignal): Promise<NatsConnection> {
  const connecting = connect(settings);
  if (signal === undefined) return connecting;
  let stop = () => {};
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([connecting, aborted]);
  } catch (error) {
    if (signal.aborted) {
      connecting.then(
        (late) => late.close(),
        () => {},
      );
    }
    throw error;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

async function refuseMissingCertificate(options: NatsOptions, addresses: readonly ServerAddress[]): Promise<void> {
  if (options.certFile !== undefined) return;
  for (const address of addresses) {
    if (!(await demandsClientCertificate(address))) continue;
    throw new NatsRefusedError(
      `NATS at ${formatServerAddress(address)} demands a client certificate (TLS verify), and none is given. ` +
        'Give a certificate and its key.',
    );
  }
}
