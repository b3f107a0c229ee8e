import type { NatsLink } from './connection.ts';

export interface ProbedService {
  readonly role: 'worker' | 'coordinator';
  readonly id: string;
  /** Semantic version, as `nats micro ls` shows it. */
  readonly version: string;
  /** What the probe is answered with, as JSON. */
  readonly answer: () => object;
}

/**
 * Answers probes of this process, as a NATS micro service that `nats micro ls` and `nats micro stats` show. Goes on by itself
 * after a reconnect, and also where NATS denies the discovery subjects.
 * @returns what ends it; harmless when it has ended. @throws when the link is closed.
 */
export async function serveProbe(link: NatsLink, probed: ProbedService): Promise<() => Promise<void>> {
  const { role, id, version, answer } = probed;
  const { connection, names } = link;
  const name = role === 'worker' ? names.workerService : names.coordinatorService;
  const subject = role === 'worker' ? names.workerProbe(id) : names.coordinatorProbe(id);
  const service = await connection.services.add({ name, version, metadata: { id } });
  service.addEndpoint('probe', {
    subject,
    handler: (_error, message) => {
      message.respond(new TextEncoder().encode(JSON.stringify(answer())));
    },
  });
  // The server knows of it when this resolves: a probe sent by anybody afterwards is answered.
  await connection.flush();
  return async () => {
    // While the server is away the client would wait for it to confirm.
    if (link.isConnected()) await service.stop();
  };
}
