import type { NatsLink } from './connection.ts';
import { Deadline } from './deadline.ts';
import { CALL_LIMIT_MS } from './jetstream.ts';
import {
  describeNatsError,
  isMessageMissing,
  isOtherStream,
  isSilence,
  isStreamMissing,
  isWrongSequence,
} from './nats-errors.ts';
import { OwnedStream } from './owned-stream.ts';
import { StreamForeignError } from './stream-ownership.ts';
import { type HistoryKind, type StreamOptions, wantedHistory } from './stream-settings.ts';

export interface StoredMessage {
  readonly sequence: number;
  readonly bytes: Uint8Array;
}

export type PublishOutcome =
  | { readonly kind: 'published'; readonly sequence: number }
  /** The subject's newest message is another than the one expected. */
  | { readonly kind: 'refused'; readonly reason: string }
  /** It may be stored or not. */
  | { readonly kind: 'failed'; readonly reason: string };

/** Answers are read this many at once. */
const READ_TOGETHER = 32;
const PUBLISH_LIMIT_MS = 2 * CALL_LIMIT_MS;
/** Another leader may publish between the look at the newest and the publish after it. */
const APPEND_ATTEMPTS = 3;

/** A stream of one subject that keeps its last messages. It may be lost at any time: nothing depends on its history. */
export class HistoryStream {
  readonly #link: NatsLink;
  readonly #subject: string;
  readonly #stream: OwnedStream;
  /** The highest sequence seen; a lower one is of another stream. */
  #seen = 0;
  /** Of our last append. Null: unknown. */
  #appended: number | null = null;

  private constructor(link: NatsLink, subject: string, stream: OwnedStream) {
    this.#link = link;
    this.#subject = subject;
    this.#stream = stream;
  }

  /** See `openStream` for what it waits for and throws. */
  static async open(link: NatsLink, kind: HistoryKind, options: StreamOptions): Promise<HistoryStream> {
    const wanted = wantedHistory(link.names, kind, options);
    const [subject] = wanted.settings.subjects;
    return new HistoryStream(link, subject, await OwnedStream.open(link, wanted));
  }

  /** For a mere reader, see `OwnedStream.attach`. */
  static async attach(link: NatsLink, kind: HistoryKind): Promise<HistoryStream> {
    const wanted = wantedHistory(link.names, kind, {});
    const [subject] = wanted.settings.subjects;
    return new HistoryStream(link, subject, await OwnedStream.attach(link, wanted));
  }

  /**
   * After the message of the sequence expected; 0: as the first one. Within two seconds; creates a stream that is gone
   * again, and reports `failed` then. Never rejects.
   */
  publish(bytes: Uint8Array, { expectedSequence }: { readonly expectedSequence: number }): Promise<PublishOutcome> {
    return this.#within(async ({ deadline, isNew }) =>
      isNew ? this.#createdAgain() : this.#store(bytes, { expectedSequence, deadline }),
    );
  }

  /**
   * After whatever is the newest message. Expects its sequence all the same: so nothing is stored in another application's
   * stream that took the place of ours. Otherwise as `publish`.
   */
  append(bytes: Uint8Array): Promise<PublishOutcome> {
    return this.#within(async ({ deadline }) => {
      for (let attempt = 0; attempt < APPEND_ATTEMPTS; attempt += 1) {
        const expectedSequence = this.#appended ?? (await deadline.within(this.newest()))?.sequence ?? 0;
        const outcome = await this.#store(bytes, { expectedSequence, deadline });
        this.#appended = outcome.kind === 'published' ? outcome.sequence : null;
        if (outcome.kind !== 'refused') return outcome;
      }
      return { kind: 'failed', reason: `others published ${APPEND_ATTEMPTS} times meanwhile` };
    });
  }

  /** Answered by the stream's leader; null: there is none, or no stream. @throws the client's error when nobody can say. */
  async newest(): Promise<StoredMessage | null> {
    await this.#stream.lookAgain();
    const message = await this.#read({ last_by_subj: this.#subject });
    const sequence = message?.sequence ?? 0;
    if (sequence < this.#seen) await this.#stream.verify();
    this.#seen = sequence;
    return message;
  }

  /** The last `limit` messages, oldest first. @throws the client's error when nobody can say. */
  async history(limit: number): Promise<StoredMessage[]> {
    await this.#stream.lookAgain();
    const { manager } = this.#stream.jetStream;
    const info = await manager.streams.info(this.#stream.name).catch(nullIfMissing);
    if (info === null || info.state.messages === 0) return [];
    const first = Math.max(info.state.first_seq, info.state.last_seq - limit + 1);
    const found: StoredMessage[] = [];
    for (let from = first; from <= info.state.last_seq; from += READ_TOGETHER) {
      const count = Math.min(READ_TOGETHER, info.state.last_seq - from + 1);
      const messages = await Promise.all(
        Array.from({ length: count }, (_, index) => this.#read({ seq: from + index })),
      );
      found.push(...messages.filter((message) => message !== null));
    }
    return found;
  }

  /** `isNew`: it was another application's until now, and ours has just been created. */
  async #within(
    publish: (place: { readonly deadline: Deadline; readonly isNew: boolean }) => Promise<PublishOutcome>,
  ): Promise<PublishOutcome> {
    // The client would keep it, and send it whenever the connection is back.
    if (!this.#link.isConnected()) return { kind: 'failed', reason: 'not connected to NATS' };
    const deadline = new Deadline(PUBLISH_LIMIT_MS);
    try {
      const isNew = await deadline.within(this.#stream.lookAgain());
      return await publish({ deadline, isNew });
    } catch (error) {
      return { kind: 'failed', reason: describeNatsError(error) };
    }
  }

  /** @throws {StreamForeignError} when another application's stream has our name or subject, or the client's error. */
  async #store(
    bytes: Uint8Array,
    { expectedSequence, deadline }: { readonly expectedSequence: number; readonly deadline: Deadline },
  ): Promise<PublishOutcome> {
    // Only an empty stream's sequence would also fit another application's.
    if (expectedSequence === 0) await deadline.within(this.#stream.verify());
    try {
      const { seq } = await this.#stream.jetStream.client.publish(this.#subject, bytes, {
        timeout: Math.max(1, Math.floor(Math.min(CALL_LIMIT_MS, deadline.leftMs()))),
        // A lost stream's subject may be another stream's by now.
        expect: { streamName: this.#stream.name, lastSubjectSequence: expectedSequence },
      });
      this.#seen = Math.max(this.#seen, seq);
      return { kind: 'published', sequence: seq };
    } catch (error) {
      const reason = describeNatsError(error);
      if (isWrongSequence(error)) {
        await deadline.within(this.#stream.verify()).catch(throwIfForeign);
        return { kind: 'refused', reason };
      }
      // Silence may mean that there is no stream: a subscriber to the subject hides that nobody stores it.
      const mayBeGone = isSilence(error) || isOtherStream(error);
      const restored = mayBeGone ? await deadline.within(this.#stream.restore()).catch(throwIfForeign) : null;
      return restored?.wasMissing === true ? this.#createdAgain() : { kind: 'failed', reason };
    }
  }

  /** Its sequences begin again: what to expect must be read first. */
  #createdAgain(): PublishOutcome {
    return { kind: 'failed', reason: `stream ${this.#stream.name} was gone; it is created again` };
  }

  async #read(query: { last_by_subj: string } | { seq: number }): Promise<StoredMessage | null> {
    const { manager } = this.#stream.jetStream;
    const message = await manager.streams.getMessage(this.#stream.name, query).catch(nullIfMissing);
    return message === null ? null : { sequence: message.seq, bytes: message.data };
  }
}

function nullIfMissing(error: unknown): null {
  if (isMessageMissing(error) || isStreamMissing(error)) return null;
  throw error;
}

function throwIfForeign(error: unknown): null {
  if (error instanceof StreamForeignError) throw error;
  return null;
}
