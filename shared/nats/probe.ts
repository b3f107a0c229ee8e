import type { NatsLink } from './connection.ts';
import { readTag } from './installation-gate.ts';
import { isNoResponders } from './nats-errors.ts';

export type ProbeOutcome =
  | { readonly kind: 'answered'; readonly bytes: Uint8Array }
  /** A process of another installation answered: says nothing about ours. */
  | { readonly kind: 'foreign'; readonly installation: string }
  /** The server says that nobody listens there: the process, or its connection, is gone. */
  | { readonly kind: 'no-responders' }
  /** No answer in time, or nobody to ask: says nothing about the process. */
  | { readonly kind: 'timeout' };

/** A process that dies while it is asked gives no answer at all: whoever waits longer learns nothing more. */
const PROBE_LIMIT_MS = 100;

/** Asks whether somebody is there, or to obey a command, see `serveProbe`. Never rejects; over within 100 ms or `limitMs`. */
export async function probe(link: NatsLink, subject: string, limitMs = PROBE_LIMIT_MS): Promise<ProbeOutcome> {
  try {
    const reply = await link.connection.request(subject, undefined, { timeout: limitMs });
    const tag = readTag(reply.data);
    if (link.installation.admits('probe', tag)) return { kind: 'answered', bytes: reply.data };
    return { kind: 'foreign', installation: tag.installation ?? '' };
  } catch (error) {
    return { kind: isNoResponders(error) ? 'no-responders' : 'timeout' };
  }
}
