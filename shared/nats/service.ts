import type { Service, Subscription } from 'nats';
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
 * after a reconnect. Where NATS denies the discovery subjects, the client ends the whole service: the probe is then
 * answered all the same, because a worker that nobody answers for is put out.
 * @returns what ends it. @throws when the link is closed.
 */
export async function serveProbe(link: NatsLink, service: ProbedService): Promise<() => Promise<void>> {
  const { role, id, version, answer } = service;
  const { connection, log, names } = link;
  const name = role === 'worker' ? names.workerService : names.coordinatorService;
  const subject = role === 'worker' ? names.workerProbe(id) : names.coordinatorProbe(id);
  const reply = () => new TextEncoder().encode(JSON.stringify(answer()));
  const state: { isStopped: boolean; plain: Subscription | null } = { isStopped: false, plain: null };

  const discoverable: Service = await connection.services.add({ name, version, metadata: { id } });
  discoverable.addEndpoint('probe', { subject, handler: (_error, message) => void message.respond(reply()) });
  void discoverable.stopped.then((error) => {
    if (state.isStopped || connection.isClosed() || connection.isDraining()) return;
    log.warn({ service: name, reason: error?.message }, 'not discoverable; probes are answered all the same');
    state.plain = connection.subscribe(subject, {
      callback: (denied, message) => {
        if (denied === null) message.respond(reply());
      },
    });
  });
  // The server knows of it when this resolves: a probe sent by anybody afterwards is answered.
  await connection.flush();
  return async () => {
    state.isStopped = true;
    state.plain?.unsubscribe();
    if (!connection.isClosed() && link.isConnected()) await discoverable.stop();
  };
}
