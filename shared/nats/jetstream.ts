import type { JetStreamClient, JetStreamManager } from 'nats';
import type { NatsLink } from './connection.ts';
import { guardDeliveries } from './reply-guard.ts';

/** Bounds every call to JetStream: whoever waits longer than a lease's half may as well try again. */
export const CALL_LIMIT_MS = 1_000;

export interface JetStream {
  readonly client: JetStreamClient;
  readonly manager: JetStreamManager;
}

/** Asks the server nothing yet: a client with narrow permissions may use some streams without seeing the account. */
export async function useJetStream(link: NatsLink): Promise<JetStream> {
  const settings = { timeout: CALL_LIMIT_MS, checkAPI: false };
  let isLogged = false;
  const connection = guardDeliveries(link.connection, ({ subject, reply }) => {
    if (isLogged) return;
    isLogged = true;
    link.log.warn({ subject, reply: reply ?? '' }, 'message to a consumer refused: JetStream did not send it');
  });
  return { client: connection.jetstream(settings), manager: await connection.jetstreamManager(settings) };
}
