import { setTimeout as wait } from 'node:timers/promises';
import { Events, type NatsConnection } from 'nats';
import type { Logger } from 'pino';
import type { OnWait } from '../process/waiting-notice.ts';
import type { LinkStatus, NatsLink } from './connection.ts';
import { deliver } from './deliver.ts';
import { InstallationGate } from './installation-gate.ts';
import type { NatsNames } from './names.ts';

const DRAIN_LIMIT_MS = 2_000;

interface LinkContext {
  readonly names: NatsNames;
  readonly log: Logger;
  /** Why the server ended the connection for good, in words that say what to do. */
  readonly explain: (error: Error) => Error;
  readonly signal: AbortSignal | undefined;
  readonly onWait: OnWait | undefined;
}

/** Takes over a connection just made. */
export function openLink(connection: NatsConnection, context: LinkContext): NatsLink {
  const { names, log, explain, signal, onWait } = context;
  const listeners = new Set<(status: LinkStatus) => void>();
  const seen = { isConnected: true };
  void followStatus(connection, log, (status) => {
    const isConnected = status === 'reconnected';
    if (isConnected === seen.isConnected) return;
    seen.isConnected = isConnected;
    for (const listener of listeners) deliver(listener, status);
  });
  const closed = connection.closed().then((error) => {
    seen.isConnected = false;
    return error instanceof Error ? explain(error) : undefined;
  });
  return {
    connection,
    names,
    installation: new InstallationGate(log, names.prefix),
    log,
    signal,
    onWait,
    isConnected: () => seen.isConnected,
    onStatus: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    closed,
    drain: async () => {
      await drainConnection(connection, seen.isConnected);
      await closed;
    },
  };
}

async function followStatus(
  connection: NatsConnection,
  log: Logger,
  tell: (status: LinkStatus) => void,
): Promise<void> {
  const denied = new Set<string>();
  for await (const status of connection.status()) {
    if (status.type === Events.Disconnect) tell('disconnected');
    else if (status.type === Events.Reconnect) tell('reconnected');
    else if (status.type === Events.Error && status.permissionContext !== undefined) {
      const { operation, subject } = status.permissionContext;
      // Once for each: what is denied is tried again and again.
      if (denied.has(`${operation} ${subject}`)) continue;
      denied.add(`${operation} ${subject}`);
      log.warn({ operation, subject }, 'NATS denies a permission');
    }
  }
}

/** The client's own drain waits for ever while the server is away, and then does not close. */
async function drainConnection(connection: NatsConnection, isConnected: boolean): Promise<void> {
  if (connection.isClosed()) return;
  if (isConnected && !connection.isDraining()) {
    const patience = new AbortController();
    const drained = connection.drain().catch(() => {});
    await Promise.race([drained, wait(DRAIN_LIMIT_MS, undefined, { signal: patience.signal }).catch(() => {})]);
    patience.abort();
  }
  await connection.close();
}
