import * as z from 'zod';
import { decodeOrNull } from '../message/decode-message.ts';
import { PHASES, type Phases, type Recovery } from '../ring/recovery.ts';
import type { Cause } from '../ring/snapshot.ts';
import type { NatsLink } from './connection.ts';
import { HistoryStream, type PublishOutcome } from './history-stream.ts';
import type { StreamOptions } from './stream-settings.ts';

const BYTES_MAX = 65_536;

const count = z.int().min(0);
const ms = z.number().min(0).nullable();
const phases = z.object(
  Object.fromEntries(PHASES.map((phase) => [phase, ms])) as Record<keyof Phases, typeof ms>,
) satisfies z.ZodType<Phases>;

/** For people: a cause is shown, and nothing is decided by it. */
const cause = z.looseObject({ kind: z.string() }) as unknown as z.ZodType<Cause>;

const schema = z.object({
  epoch: count,
  version: count,
  at: z.iso.datetime(),
  cause,
  moved: z.object({ slots: count, rows: count, minimumRows: count }),
  workers: count,
  slots: count,
  rows: count,
  phases,
  missed: count,
  isComplete: z.boolean(),
  missing: z.array(z.string()),
  slowest: z.string().nullable(),
});

/** How long each disruption took to mend, for people and dashboards (subject `ring.recovery`): nothing is decided by it. */
export class RecoveryStream {
  readonly #stream: HistoryStream;

  private constructor(stream: HistoryStream) {
    this.#stream = stream;
  }

  /**
   * Creates the stream, or brings ours to these settings. Waits for JetStream, saying so.
   * @throws {StreamForeignError} when it is another application's. @throws {StreamUnfitError} when waiting cannot help.
   */
  static async open(link: NatsLink, options: StreamOptions = {}): Promise<RecoveryStream> {
    return new RecoveryStream(await HistoryStream.open(link, 'recoveries', options));
  }

  /** For a mere reader: takes the stream as it is, and never creates or changes it. @throws see `OwnedStream.attach`. */
  static async attach(link: NatsLink): Promise<RecoveryStream> {
    return new RecoveryStream(await HistoryStream.attach(link, 'recoveries'));
  }

  /** Never rejects; over within two seconds. */
  publish(recovery: Recovery): Promise<PublishOutcome> {
    return this.#stream.append(new TextEncoder().encode(JSON.stringify(recovery)));
  }

  /** The last `limit` ones, oldest first, without garbage. @throws when nobody can say. */
  async history(limit: number): Promise<Recovery[]> {
    const messages = await this.#stream.history(limit);
    return messages.map(({ bytes }) => decode(bytes)).filter((recovery) => recovery !== null);
  }
}

function decode(bytes: Uint8Array): Recovery | null {
  return decodeOrNull(schema, bytes, BYTES_MAX);
}
