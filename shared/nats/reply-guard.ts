/**
 * A reply subject is chosen by the sender, and whoever answers publishes there with rights of its own. So a login with few
 * rights could have a coordinator delete a stream. Here the connection drops messages whose reply subject is not what their
 * kind allows, before the client library or a handler sees them.
 *
 * Invariant: nothing is published to a subject that another client chose, except to inboxes and to `$JS.FC.`.
 */
import { randomUUID } from 'node:crypto';
import type { Msg, NatsConnection, SubscriptionOptions } from 'nats';

/** The nats CLI and every client library reply there; our own clients' inboxes begin with it too. */
const INBOX = '_INBOX.';
/** Where the server wants a consumer's flow control answered. */
const FLOW_CONTROL = '$JS.FC.';
const ACKNOWLEDGEMENT = '$JS.ACK.';
/** `$JS.ACK.<stream>.<consumer>.` and five numbers; later servers add domain and account. */
const ACKNOWLEDGEMENT_TOKENS = 9;
const ACKNOWLEDGEMENT_TOKENS_LONG = 11;
/** A status header that names a subject to publish to. */
const STALLED_HEADER = 'Nats-Consumer-Stalled';

/**
 * May a request be acted on and answered? Not one without a reply subject: a stream's delivery, a republished message or the
 * server's own answer, sent on by somebody's choice of subject, looks like that.
 */
export function isRequest(message: Msg): boolean {
  return message.reply?.startsWith(INBOX) === true;
}

/** Did the server send this to the consumer that it was received for? A client that publishes to the inbox did not. */
export function isDelivery(message: Msg): boolean {
  const { reply = '', headers, subject, data } = message;
  const code = data.length === 0 ? (headers?.code ?? 0) : 0;
  if (code >= 100 && code < 200) {
    const stalled = headers?.get(STALLED_HEADER) ?? '';
    return [reply, stalled].every((target) => target === '' || target.startsWith(FLOW_CONTROL));
  }
  // An error of the consumer: the client library reads no more than the status.
  if (code >= 400) return true;
  const tokens = reply.split('.').length;
  const isNumbered = tokens === ACKNOWLEDGEMENT_TOKENS || tokens >= ACKNOWLEDGEMENT_TOKENS_LONG;
  // A delivery carries the subject that was stored, never the one that it is delivered to.
  return reply.startsWith(ACKNOWLEDGEMENT) && isNumbered && !subject.startsWith(INBOX);
}

/** The connection as a micro service may use it: its endpoints and its discovery see requests only. */
export function guardRequests(connection: NatsConnection, onRefused: (message: Msg) => void): NatsConnection {
  return guard(connection, { accepts: isRequest, onRefused });
}

/**
 * The connection as JetStream's client may use it: its subscriptions see deliveries only. Their inboxes have a part that no
 * reply subject shows, and a token of their own, so that permissions can deny `_INBOX.*.watch.>` to whoever may publish to inboxes.
 */
export function guardDeliveries(connection: NatsConnection, onRefused: (message: Msg) => void): NatsConnection {
  const { options } = connection as unknown as { readonly options: { readonly inboxPrefix?: string } };
  const inboxPrefix = `${options.inboxPrefix ?? '_INBOX'}.watch.${randomUUID()}`;
  return guard(connection, { accepts: isDelivery, onRefused, replaced: { options: { ...options, inboxPrefix } } });
}

function guard(
  connection: NatsConnection,
  rule: {
    readonly accepts: (message: Msg) => boolean;
    readonly onRefused: (message: Msg) => void;
    readonly replaced?: Readonly<Record<string, unknown>>;
  },
): NatsConnection {
  const { accepts, onRefused } = rule;
  const subscribe = (subject: string, options: SubscriptionOptions = {}) => {
    const { callback } = options;
    // The library's services and consumers always have one.
    if (callback === undefined) throw new Error(`a guarded subscription to ${subject} needs a callback`);
    const guarded: typeof callback = (error, message) =>
      error === null && !accepts(message) ? onRefused(message) : callback(error, message);
    return connection.subscribe(subject, { ...options, callback: guarded });
  };
  // The client keeps a connection's services in `_services`: these must be another's than the unguarded connection's.
  const own: Record<string | symbol, unknown> = { _services: undefined, ...rule.replaced, subscribe };
  return new Proxy(connection, {
    get: (target, name, receiver) => (name in own ? own[name] : Reflect.get(target, name, receiver)),
    set: (target, name, value) => {
      if (!(name in own)) return Reflect.set(target, name, value);
      own[name] = value;
      return true;
    },
  });
}
