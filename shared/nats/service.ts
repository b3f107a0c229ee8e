import type { Service } from 'nats';
import type { NatsLink } from './connection.ts';
import { guardRequests } from './reply-guard.ts';

export interface ProbedService {
  readonly role: 'worker' | 'coordinator';
  readonly id: string;
  /** Semantic version, as `nats micro ls` shows it. */
  readonly version: string;
  /** What the probe is answered with, as JSON. */
  readonly answer: () => object;
  readonly commands?: readonly ServedCommand[];
  /** Called for each request that was refused, because its reply subject is no inbox. */
  readonly onRefused?: () => void;
}

/** What a process does when asked; it then answers as a probe is answered. */
export interface ServedCommand {
  /** As `nats micro info` shows it. */
  readonly name: string;
  readonly subject: string;
  readonly act: () => void;
}

/**
 * Answers probes of this process, and obeys its commands, as a NATS micro service that `nats micro ls` and `nats micro stats`
 * show. Goes on by itself after a reconnect, and also where NATS denies the discovery subjects or the commands'.
 * A request without an inbox as its reply subject is neither obeyed nor answered; the first at each subject is logged.
 * @returns what ends it; harmless when it has ended. @throws when the link is closed.
 */
export async function serveProbe(link: NatsLink, probed: ProbedService): Promise<() => Promise<void>> {
  let service = await addService(link, probed);
  // A denied endpoint has closed the whole service by now, and without probes a process counts as dead.
  if (service.isStopped) service = await addService(link, { ...probed, commands: [] });
  return async () => {
    // While the server is away the client would wait for it to confirm.
    if (link.isConnected()) await service.stop();
  };
}

/** The server knows of it when this resolves: a probe sent by anybody afterwards is answered. */
async function addService({ connection, names, log, installation }: NatsLink, probed: ProbedService): Promise<Service> {
  const { role, id, version, answer, commands = [], onRefused } = probed;
  const name = role === 'worker' ? names.workerService : names.coordinatorService;
  const subject = role === 'worker' ? names.workerProbe(id) : names.coordinatorProbe(id);
  const logged = new Set<string>();
  const guarded = guardRequests(connection, (request) => {
    onRefused?.();
    // Only our own subjects come here, so the set stays small.
    if (logged.has(request.subject)) return;
    logged.add(request.subject);
    log.warn(
      { subject: request.subject, reply: request.reply ?? '' },
      'request refused: expected an inbox (_INBOX.) as its reply subject',
    );
  });
  const service = await guarded.services.add({ name, version, metadata: { id } });
  for (const endpoint of [{ name: 'probe', subject, act: () => {} }, ...commands]) {
    service.addEndpoint(endpoint.name, {
      subject: endpoint.subject,
      handler: (_error, message) => {
        endpoint.act();
        message.respond(new TextEncoder().encode(JSON.stringify({ ...answer(), ...installation.tag })));
      },
    });
  }
  await connection.flush();
  return service;
}
