import type { NatsLink } from './connection.ts';
import { Deadline } from './deadline.ts';
import { CALL_LIMIT_MS, type JetStream, useJetStream } from './jetstream.ts';
import { describeNatsError, isMessageMissing, isSilence, isStreamMissing, isWrongSequence } from './nats-errors.ts';
import { historySettings, openStream, restoreStream, type WantedStream } from './stream-setup.ts';

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

export interface HistoryOptions {
  readonly name: string;
  readonly subject: string;
  /** How many messages it keeps. */
  readonly keep: number;
  readonly replicas?: number;
}

/** Answers are read this many at once. */
const READ_TOGETHER = 32;

/** A stream of one subject that keeps its last messages. It may be lost at any time: nothing depends on its history. */
export class HistoryStream {
  readonly #link: NatsLink;
  readonly #subject: string;
  readonly #jetStream: JetStream;
  readonly #wanted: WantedStream;

  private constructor(link: NatsLink, subject: string, jetStream: JetStream, wanted: WantedStream) {
    this.#link = link;
    this.#subject = subject;
    this.#jetStream = jetStream;
    this.#wanted = wanted;
  }

  /** See `openStream` for what it waits for and throws. */
  static async open(link: NatsLink, options: HistoryOptions): Promise<HistoryStream> {
    const jetStream = await useJetStream(link);
    const wanted = historySettings(options.name, options);
    await openStream(link, jetStream, wanted);
    return new HistoryStream(link, options.subject, jetStream, wanted);
  }

  /** Within two seconds; makes a stream that is gone anew, and reports `failed` then. Never rejects. */
  async publish(bytes: Uint8Array, options: { readonly expectedSequence?: number } = {}): Promise<PublishOutcome> {
    // The client would keep it, and send it whenever the connection is back.
    if (!this.#link.isConnected()) return { kind: 'failed', reason: 'not connected to NATS' };
    const { expectedSequence } = options;
    const expect = expectedSequence === undefined ? {} : { lastSubjectSequence: expectedSequence };
    try {
      const { seq } = await this.#jetStream.client.publish(this.#subject, bytes, { timeout: CALL_LIMIT_MS, expect });
      return { kind: 'published', sequence: seq };
    } catch (error) {
      const reason = describeNatsError(error);
      if (isWrongSequence(error)) return { kind: 'refused', reason };
      // Silence may mean that there is no stream: whoever subscribes to the subject hides that nobody stores it.
      const wasMissing = isSilence(error) && (await this.#restore());
      return {
        kind: 'failed',
        reason: wasMissing ? `stream ${this.#wanted.settings.name} was gone; it is made anew` : reason,
      };
    }
  }

  /** Answered by the stream's leader; null: there is none, or no stream. @throws the client's error when nobody can say. */
  async newest(): Promise<StoredMessage | null> {
    return this.#read({ last_by_subj: this.#subject });
  }

  /** The last `limit` messages, oldest first. @throws the client's error when nobody can say. */
  async history(limit: number): Promise<StoredMessage[]> {
    const { manager } = this.#jetStream;
    const info = await manager.streams.info(this.#wanted.settings.name).catch(nullIfMissing);
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

  async #read(query: { last_by_subj: string } | { seq: number }): Promise<StoredMessage | null> {
    const { manager } = this.#jetStream;
    const message = await manager.streams.getMessage(this.#wanted.settings.name, query).catch(nullIfMissing);
    return message === null ? null : { sequence: message.seq, bytes: message.data };
  }

  async #restore(): Promise<boolean> {
    try {
      const { wasMissing } = await new Deadline(CALL_LIMIT_MS).within(restoreStream(this.#jetStream, this.#wanted));
      return wasMissing;
    } catch {
      return false;
    }
  }
}

function nullIfMissing(error: unknown): null {
  if (isMessageMissing(error) || isStreamMissing(error)) return null;
  throw error;
}
