import type { JetStreamClient, JetStreamManager } from 'nats';
import type { NatsLink } from './connection.ts';

/** Bounds every call to JetStream: whoever waits longer than a lease's half may as well try again. */
export const CALL_LIMIT_MS = 1_000;

export interface JetStream {
  readonly client: JetStreamClient;
  readonly manager: JetStreamManager;
}

/** Asks the server nothing yet: a client with narrow permissions may use some streams without seeing the account. */
export async function useJetStream(link: NatsLink): Promise<JetStream> {
  const settings = { timeout: CALL_LIMIT_MS, checkAPI: false };
  return {
    client: link.connection.jetstream(settings),
    manager: await link.connection.jetstreamManager(settings),
  };
}
