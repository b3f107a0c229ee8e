import { type Decoded, decodeSnapshot, encodeSnapshot, type Snapshot } from '../ring/snapshot.ts';
import type { NatsLink } from './connection.ts';
import { deliver } from './deliver.ts';
import { HistoryStream, type PublishOutcome, type StoredMessage } from './history-stream.ts';
import { describeNatsError } from './nats-errors.ts';
import type { StreamOptions } from './stream-settings.ts';

export interface StoredSnapshot {
  readonly sequence: number;
  /** Null: garbage; `reason` says why. */
  readonly snapshot: Snapshot | null;
  readonly reason?: string;
  /** Of another installation: counted and reported already. @default false */
  readonly isForeign?: boolean;
}

/** `isForeign`: of another installation, counted and reported already. @default false */
type Heard = Decoded & { readonly isForeign?: boolean };

const FOREIGN: Heard = { ok: false, reason: 'it is of another installation', isForeign: true };

/** The coordinator's decisions: heard at once by a plain subscription, kept by a stream (DESIGN §4, §7). */
export class SnapshotStream {
  readonly #link: NatsLink;
  readonly #stream: HistoryStream;

  private constructor(link: NatsLink, stream: HistoryStream) {
    this.#link = link;
    this.#stream = stream;
  }

  /**
   * Creates the stream, or brings ours to these settings. Waits for JetStream, saying so.
   * @throws {StreamForeignError} when it is another application's. @throws {StreamUnfitError} when waiting cannot help.
   */
  static async open(link: NatsLink, options: StreamOptions = {}): Promise<SnapshotStream> {
    return new SnapshotStream(link, await HistoryStream.open(link, 'snapshots', options));
  }

  /** For a mere reader: takes the stream as it is, and never creates or changes it. @throws see `OwnedStream.attach`. */
  static async attach(link: NatsLink): Promise<SnapshotStream> {
    return new SnapshotStream(link, await HistoryStream.attach(link, 'snapshots'));
  }

  /**
   * Publishes in the place after the sequence expected, 0 for the first: `refused` means that another leader published.
   * `failed` means that it may be stored or not, or that the stream was gone and is created again: read the newest. Subscribers
   * may have heard it in every case. Never rejects; over within two seconds.
   */
  publish(snapshot: Snapshot, expectedSequence: number): Promise<PublishOutcome> {
    return this.#stream.publish(encodeSnapshot({ ...snapshot, ...this.#link.installation.tag }), { expectedSequence });
  }

  /** `slots`: the table's, null where not known. Null: there is none. @throws when nobody can say. */
  async newest(slots: number | null): Promise<StoredSnapshot | null> {
    const message = await this.#stream.newest();
    if (message === null) return null;
    const stored = decodeStored(message, slots);
    if (stored.snapshot === null || this.#link.installation.admits('snapshot', stored.snapshot)) return stored;
    return { sequence: stored.sequence, snapshot: null, isForeign: true };
  }

  /** The last `limit` ones, oldest first. @throws when nobody can say. */
  async history(limit: number): Promise<StoredSnapshot[]> {
    const messages = await this.#stream.history(limit);
    return messages.map((message) => decodeStored(message, null));
  }

  /**
   * Tells of each snapshot as it is published, also of one that the stream refused: order them by (epoch, version). What
   * was published while disconnected is not told. Returns what ends it.
   */
  subscribe(slots: number | null, listener: (received: Heard) => void): () => void {
    const { connection, log, names, installation } = this.#link;
    const subscription = connection.subscribe(names.snapshotSubject, {
      callback: (error, message) => {
        if (error === null) {
          const received = decodeSnapshot(message.data, { slots });
          const isForeign = received.ok && !installation.admits('snapshot', received.snapshot);
          return deliver(listener, isForeign ? FOREIGN : received);
        }
        log.warn({ subject: names.snapshotSubject, reason: describeNatsError(error) }, 'snapshots are not heard');
      },
    });
    return () => subscription.unsubscribe();
  }
}

function decodeStored({ sequence, bytes }: StoredMessage, slots: number | null): StoredSnapshot {
  const decoded = decodeSnapshot(bytes, { slots });
  return decoded.ok
    ? { sequence, snapshot: decoded.snapshot }
    : { sequence, snapshot: null, reason: `sequence ${sequence}: ${decoded.reason}` };
}
