/**
 * One KV bucket. Writes name the revision they replace, as an expected sequence on the key's own subject: nothing is
 * overwritten unseen, and a write that arrives late or twice does no harm. Reads are answered by the stream's leader.
 *
 * A key is deleted when its newest message says so, or is empty: servers mark expired keys that way.
 */
import { headers, type KV, type KvEntry as KvEntryOfClient, type MsgHdrs, type StreamInfo } from 'nats';
import type { NatsLink } from './connection.ts';
import { CALL_LIMIT_MS } from './jetstream.ts';
import { subjectOfKey } from './names.ts';
import { describeNatsError, isMessageMissing, isOtherStream, isSilence, isWrongSequence } from './nats-errors.ts';
import { OwnedStream } from './owned-stream.ts';
import type { RestoredStream } from './restored-stream.ts';
import { type BucketKind, type BucketOptions, bucketName, wantedBucket } from './stream-settings.ts';

export interface KvEntry {
  readonly key: string;
  readonly revision: number;
  /** Empty when it is deleted. */
  readonly bytes: Uint8Array;
  readonly isDeleted: boolean;
}

export interface BucketWatch {
  /** Ends when it is stopped; throws what ended it else. */
  readonly entries: AsyncIterable<KvEntry>;
  stop(): void;
}

export type WriteOutcome =
  | { readonly kind: 'stored'; readonly revision: number }
  /** The key's newest revision is another than the one expected. */
  | { readonly kind: 'conflict' }
  /** No answer, or another stream's: it may be stored or not. */
  | { readonly kind: 'silent'; readonly reason: string }
  | { readonly kind: 'failed'; readonly reason: string };

export type RemoveOutcome =
  | { readonly kind: 'removed' }
  /** It is at another revision. */
  | { readonly kind: 'changed' }
  /** It may be removed or not. */
  | { readonly kind: 'failed'; readonly reason: string };

export interface Write {
  /** Null: delete it. Must not be empty. */
  readonly bytes: Uint8Array | null;
  /** The key's newest revision, a deletion's too; 0: the bucket holds nothing of it. */
  readonly expected: number;
  /** @default 1000 */
  readonly limitMs?: number;
}

const OPERATION_HEADER = 'KV-Operation';
const ENTRIES_LIMIT_MS = 2_000;
/** A reader restores nothing, so its idea of the TTL never counts. */
const READERS_TTL_MS = 2_000;

export class KvBucket {
  readonly name: string;
  readonly #link: NatsLink;
  readonly #stream: OwnedStream;

  private constructor(name: string, link: NatsLink, stream: OwnedStream) {
    this.name = name;
    this.#link = link;
    this.#stream = stream;
  }

  /** See `openStream` for what it waits for and throws. */
  static async open(link: NatsLink, kind: BucketKind, options: BucketOptions): Promise<KvBucket> {
    const stream = await OwnedStream.open(link, wantedBucket(link.names, kind, options));
    return new KvBucket(bucketName(link.names, kind), link, stream);
  }

  /** For a mere reader, see `OwnedStream.attach`. */
  static async attach(link: NatsLink, kind: BucketKind): Promise<KvBucket> {
    const stream = await OwnedStream.attach(link, wantedBucket(link.names, kind, { ttlMs: READERS_TTL_MS }));
    return new KvBucket(bucketName(link.names, kind), link, stream);
  }

  /** Creates it again where it was lost. @throws see `restoreStream`. */
  restore(): Promise<RestoredStream> {
    return this.#stream.restore();
  }

  /**
   * Before a write that names no revision of ours. A bucket that was another application's at the last look is asked for
   * again. @throws {StreamForeignError} while it is another application's; the client's error when nobody can say.
   */
  async verify(): Promise<void> {
    if (this.#stream.isRefused) await this.#stream.lookAgain();
    else await this.#stream.verify();
  }

  /** Another application's bucket stood under our name at the last look: it is not written to or read. */
  get isRefused(): boolean {
    return this.#stream.isRefused;
  }

  /** @throws the client's error, also when the bucket is gone. */
  info(): Promise<StreamInfo> {
    return this.#stream.jetStream.manager.streams.info(this.#stream.name);
  }

  /** Never rejects. */
  async write(key: string, { bytes, expected, limitMs = CALL_LIMIT_MS }: Write): Promise<WriteOutcome> {
    // The client would keep it, and send it whenever the connection is back.
    if (!this.#link.isConnected()) return { kind: 'failed', reason: 'not connected to NATS' };
    const marks = headers();
    if (bytes === null) marks.set(OPERATION_HEADER, 'DEL');
    try {
      this.#stream.assertUsable();
      const stored = await this.#stream.jetStream.client.publish(
        subjectOfKey(this.name, key),
        bytes ?? new Uint8Array(),
        {
          timeout: Math.max(1, Math.floor(limitMs)),
          headers: marks,
          // A lost bucket's subjects may be another stream's by now.
          expect: { streamName: this.#stream.name, lastSubjectSequence: expected },
        },
      );
      return { kind: 'stored', revision: stored.seq };
    } catch (error) {
      if (isWrongSequence(error)) return { kind: 'conflict' };
      const isSilent = isSilence(error) || isOtherStream(error);
      return { kind: isSilent ? 'silent' : 'failed', reason: describeNatsError(error) };
    }
  }

  /** The key's newest message, a deletion too; null when there is none. @throws the client's error when nobody can say. */
  async read(key: string): Promise<KvEntry | null> {
    this.#stream.assertUsable();
    const query = { last_by_subj: subjectOfKey(this.name, key) };
    const { manager } = this.#stream.jetStream;
    try {
      const { data, header, seq } = await manager.streams.getMessage(this.#stream.name, query);
      return { key, revision: seq, bytes: data, isDeleted: isDeletion(header, data) };
    } catch (error) {
      if (isMessageMissing(error)) return null;
      throw error;
    }
  }

  /** All keys' newest messages, deletions too. @throws when the bucket is gone or did not tell all in time. */
  async readAll(): Promise<KvEntry[]> {
    const entries: KvEntry[] = [];
    let isComplete = false;
    let watch: BucketWatch | undefined;
    watch = await this.watch(() => {
      isComplete = true;
      watch?.stop();
    });
    // An empty bucket is complete before there is a watch to stop.
    if (isComplete) watch.stop();
    const timer = setTimeout(() => watch?.stop(), ENTRIES_LIMIT_MS);
    try {
      for await (const entry of watch.entries) entries.push(entry);
    } finally {
      clearTimeout(timer);
    }
    if (!isComplete) throw new Error(`bucket ${this.name}: expected all its keys in time, got ${entries.length}`);
    return entries;
  }

  /**
   * The client's own watch: what the bucket holds, then what becomes of it. `onComplete`: once, when all that it holds has been
   * taken. @throws when the bucket is gone.
   */
  async watch(onComplete: () => void): Promise<BucketWatch> {
    this.#stream.assertUsable();
    const settings = { bindOnly: true, streamName: this.#stream.name, allow_direct: false };
    const kv: KV = await this.#stream.jetStream.client.views.kv(this.name, settings);
    let isInitialized = false;
    let isComplete = false;
    let pending = 0;
    // The client counts messages, and a key that is put while they are read comes twice: only that nothing is left behind the
    // last one makes it whole.
    const look = () => {
      if (isComplete || !isInitialized || pending > 0) return;
      isComplete = true;
      onComplete();
    };
    const iterator = await kv.watch({
      initializedFn: () => {
        isInitialized = true;
        look();
      },
    });
    async function* take(): AsyncGenerator<KvEntry> {
      for await (const entry of iterator) {
        yield toEntry(entry);
        pending = entry.delta ?? 0;
        look();
      }
    }
    return { entries: take(), stop: () => iterator.stop() };
  }
}

function toEntry({ key, revision, value, operation }: KvEntryOfClient): KvEntry {
  return { key, revision, bytes: value, isDeleted: operation !== 'PUT' || value.length === 0 };
}

/** A message of the bucket's subject, heard or read. */
export function isDeletion(marks: MsgHdrs | undefined, bytes: Uint8Array): boolean {
  return bytes.length === 0 || ['DEL', 'PURGE'].includes(marks?.get(OPERATION_HEADER) ?? '');
}
