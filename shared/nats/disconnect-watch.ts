/**
 * Hears in NATS' system account whose connections are gone: the server says so within milliseconds, a probe finds it out
 * only at its turn.
 *
 * Invariant: this only makes the truth come sooner. It never delays or ends its owner; what cannot be had is said once, and
 * done without.
 */
import type { Logger } from 'pino';
import * as z from 'zod';
import { decodeOrNull } from '../message/decode-message.ts';
import { describeError } from '../process/describe-error.ts';
import { connectNats, type NatsLink, type NatsOptions } from './connection.ts';
import { deliver } from './deliver.ts';
import { DisconnectProof } from './disconnect-proof.ts';
import { describeNatsError, isNoResponders } from './nats-errors.ts';
import { formatServerAddress, parseServerAddress } from './server-address.ts';

export interface DisconnectLogins {
  /** Of a user in the system account. */
  readonly system: NatsOptions;
  /** Of the account whose lost connections are to be told of. */
  readonly main: Omit<NatsOptions, 'name'>;
}

export interface DisconnectListener {
  readonly log: Logger;
  /** The name of a client, of any account, whose connection was closed. It may be connected anew, or by another, already. */
  readonly onDisconnect: (client: string) => void;
  /** Is every lost connection of the main account told of, by proof? No, until told otherwise. */
  readonly onCertain: (isCertain: boolean) => void;
}

const SUBJECT = '$SYS.ACCOUNT.*.DISCONNECT';
/** Answered in the system account only, by every server. */
const SERVERS_SUBJECT = '$SYS.REQ.SERVER.PING';
const ANSWER_LIMIT_MS = 1_000;
const BYTES_MAX = 65_536;
/** The main connection says sooner what it waits for, and mostly it waits for the same servers. */
const SILENCE_SAID_AFTER_MS = 5_000;
const PROBES_ONLY = 'going on with probes only';
const REMEDY = 'give the login of a user in the system account, or leave --nats-system out';

const event = z.object({ client: z.object({ name: z.string().default('') }) });

/**
 * Begins to listen, in the background; connects and reconnects for as long as it takes. Where the login is refused, or may not
 * hear these events, one warning says so and nothing more is tried. Returns what ends it; idempotent, never rejects.
 */
export function watchDisconnects(logins: DisconnectLogins, listener: DisconnectListener): () => Promise<void> {
  const stopped = new AbortController();
  const over = follow(logins, listener, stopped.signal);
  return async () => {
    stopped.abort();
    await over;
  };
}

async function follow(logins: DisconnectLogins, listener: DisconnectListener, signal: AbortSignal): Promise<void> {
  const { log } = listener;
  try {
    const link = await connectQuietly(logins.system, log, signal);
    const proof = new DisconnectProof(logins.main, {
      log,
      name: `${logins.system.name}:proof`,
      onProof: () => {
        log.info('the system account tells of lost connections');
        listener.onCertain(true);
      },
      onDoubt: (reason) =>
        log.warn({ reason }, `NATS does not tell of this account's lost connections; ${PROBES_ONLY}`),
    });
    const stopProving = () => {
      proof.end();
      listener.onCertain(false);
    };
    const stopped = new Promise<undefined>((resolve) => {
      signal.addEventListener('abort', () => resolve(undefined), { once: true });
    });
    let ignoreStatus = () => {};
    try {
      const denied = subscribe(link, {
        log,
        onDisconnect: (client) => proof.recognises(client) || deliver(listener.onDisconnect, client),
      });
      const mistake = await Promise.race([findMistake(link), denied, stopped]);
      if (mistake instanceof Error) throw mistake;
      if (link.isConnected()) proof.begin();
      ignoreStatus = link.onStatus((status) => (status === 'reconnected' ? proof.begin() : stopProving()));
      const reason = await Promise.race([denied, link.closed, stopped]);
      if (reason !== undefined) throw reason;
    } finally {
      ignoreStatus();
      stopProving();
      await link.drain();
    }
  } catch (error) {
    if (signal.aborted) return;
    log.warn({ reason: describeError(error) }, `the system account does not tell of lost connections; ${PROBES_ONLY}`);
  }
}

/** What waiting there is to tell of is told once; all else the main connection says. */
async function connectQuietly(options: NatsOptions, log: Logger, signal: AbortSignal): Promise<NatsLink> {
  const servers = options.servers.map((server) => formatServerAddress(parseServerAddress(server))).join(', ');
  const timer = setTimeout(() => {
    log.warn({ servers }, `waiting for NATS' system account at ${servers}; until it answers, ${PROBES_ONLY}`);
  }, SILENCE_SAID_AFTER_MS);
  try {
    return await connectNats(options, { log: log.child({}, { level: 'silent' }), signal });
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves when the subscription is denied, now or after a reconnect, which otherwise renews it. */
function subscribe(
  link: NatsLink,
  { log, onDisconnect }: Pick<DisconnectListener, 'log' | 'onDisconnect'>,
): Promise<Error> {
  return new Promise((resolve) => {
    link.connection.subscribe(SUBJECT, {
      callback: (error, message) => {
        if (error !== null) return resolve(new Error(`${describeNatsError(error)}; ${REMEDY}`));
        const client = readName(message.data);
        if (client === null) return log.warn({ subject: message.subject }, 'a lost connection was told of illegibly');
        if (client !== '') onDisconnect(client);
      },
    });
  });
}

/** A subscription outside the system account is not denied: it only hears nothing. Null: none is known. */
async function findMistake({ connection }: NatsLink): Promise<Error | null> {
  try {
    await connection.request(SERVERS_SUBJECT, undefined, { timeout: ANSWER_LIMIT_MS });
    return null;
  } catch (error) {
    // Any other failure says nothing of the account: a user may be allowed to hear and not to ask.
    return isNoResponders(error) ? new Error(`the login is not in the system account; ${REMEDY}`) : null;
  }
}

/** Null: not what a server says. */
function readName(bytes: Uint8Array): string | null {
  return decodeOrNull(event, bytes, BYTES_MAX)?.client.name ?? null;
}
