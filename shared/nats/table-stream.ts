import * as z from 'zod';
import { decodeOrNull } from '../message/decode-message.ts';
import type { NatsLink } from './connection.ts';
import { HistoryStream, type PublishOutcome } from './history-stream.ts';
import type { StreamOptions } from './stream-settings.ts';

/** How many rows the table has, and what changed since the message before. */
export interface TableSize {
  readonly rows: number;
  readonly added: number;
  readonly removed: number;
  /** ISO 8601, UTC. */
  readonly at: string;
}

const BYTES_MAX = 65_536;

const count = z.int().min(0);
const schema = z.object({ rows: count, added: count, removed: count, at: z.iso.datetime() });

/** The table's size over time, for people, dashboards and autoscalers (DESIGN §4): the ring does not depend on it. */
export class TableStream {
  readonly #stream: HistoryStream;

  private constructor(stream: HistoryStream) {
    this.#stream = stream;
  }

  /**
   * Creates the stream, or brings ours to these settings. Waits for JetStream, saying so.
   * @throws {StreamForeignError} when it is another application's. @throws {StreamUnfitError} when waiting cannot help.
   */
  static async open(link: NatsLink, options: StreamOptions = {}): Promise<TableStream> {
    return new TableStream(await HistoryStream.open(link, 'sizes', options));
  }

  /** Never rejects; over within two seconds. */
  publish({ rows, added, removed, at }: TableSize): Promise<PublishOutcome> {
    return this.#stream.append(new TextEncoder().encode(JSON.stringify({ rows, added, removed, at })));
  }

  /** Answered by the stream's leader; null: there is none, or garbage. @throws when nobody can say. */
  async newest(): Promise<TableSize | null> {
    const message = await this.#stream.newest();
    return message === null ? null : decode(message.bytes);
  }

  /** The last `limit` ones, oldest first, without garbage. @throws when nobody can say. */
  async history(limit: number): Promise<TableSize[]> {
    const messages = await this.#stream.history(limit);
    return messages.map(({ bytes }) => decode(bytes)).filter((size) => size !== null);
  }
}

function decode(bytes: Uint8Array): TableSize | null {
  return decodeOrNull(schema, bytes, BYTES_MAX);
}
