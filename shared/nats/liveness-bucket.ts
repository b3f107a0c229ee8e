import type { Msg } from 'nats';
import type { NatsLink } from './connection.ts';
import { Deadline } from './deadline.ts';
import { deliver } from './deliver.ts';
import { isDeletion, KvBucket, type KvEntry, type RemoveOutcome } from './kv-bucket.ts';
import { KvWatch } from './kv-watch.ts';
import { decodeLiveness, encodeLiveness, type Liveness } from './liveness.ts';
import { subjectOfKey } from './names.ts';
import { describeNatsError } from './nats-errors.ts';
import type { BucketOptions } from './stream-settings.ts';
import { writeKey } from './write-key.ts';

export interface LivenessEntry {
  readonly id: string;
  readonly revision: number;
  /** Null: garbage; `reason` says why. */
  readonly value: Liveness | null;
  readonly reason?: string;
  /** Of another installation: counted and reported already. @default false */
  readonly isForeign?: boolean;
}

export type RenewOutcome =
  | { readonly kind: 'renewed'; readonly revision: number }
  /** The key is another process's (null: what it wrote has been replaced since). */
  | { readonly kind: 'taken'; readonly by: Liveness | null }
  | { readonly kind: 'failed'; readonly reason: string };

export type LivenessChange =
  /** A put was sent, stored or not. In order with the deletions of revision null. */
  | { readonly kind: 'heard'; readonly value: Liveness }
  /** A put was stored; may come late, again after each opening of the watch, or not at all when a later one came soon. */
  | { readonly kind: 'stored'; readonly value: Liveness; readonly revision: number }
  /** `revision`: of the deletion; null: heard of, where nothing could refuse it. Expiry is not told. */
  | { readonly kind: 'removed'; readonly id: string; readonly revision: number | null }
  /** A key or a value that is none of ours was stored. */
  | { readonly kind: 'rejected'; readonly id: string; readonly reason: string }
  /** Another installation's, stored or not: counted and reported already. */
  | { readonly kind: 'foreign'; readonly id: string };

type MyRemoval = Exclude<RemoveOutcome, { readonly kind: 'changed' }>;

/** A renewal that takes longer than this has failed. */
const RENEW_LIMIT_MS = 950;
const DELETE_ATTEMPTS = 3;
const EXPECTED_HEADER = 'Nats-Expected-Last-Subject-Sequence';

/** Who is alive: one key for each worker, which expires unless it is renewed (DESIGN §4, §6). */
export class LivenessBucket {
  readonly #link: NatsLink;
  readonly #bucket: KvBucket;
  #mine: { readonly id: string; readonly startedAt: string; readonly revision: number } | null = null;
  /** Keys whose deletion is under way here: its outcome tells what became of them. */
  readonly #deleting = new Set<string>();
  /** The write under way, which the next one waits for: a renewal must not put back a key that is being removed. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(link: NatsLink, bucket: KvBucket) {
    this.#link = link;
    this.#bucket = bucket;
  }

  /**
   * Creates the bucket, or brings ours to these settings. Waits for JetStream, saying so.
   * @throws {StreamForeignError} when it is another application's. @throws {StreamUnfitError} when waiting cannot help.
   */
  static async open(link: NatsLink, options: BucketOptions): Promise<LivenessBucket> {
    return new LivenessBucket(link, await KvBucket.open(link, 'liveness', options));
  }

  /** For a mere reader: takes the bucket as it is, and never creates or changes it. @throws see `OwnedStream.attach`. */
  static async attach(link: NatsLink): Promise<LivenessBucket> {
    return new LivenessBucket(link, await KvBucket.attach(link, 'liveness'));
  }

  /**
   * Creates or renews my key by compare-and-set on my last revision. Adopts a key of mine (same id, same start) whose revision
   * is unknown here, replaces an unreadable value, and recreates a lost bucket. Never rejects; over within a second, where
   * `failed` means that it may be stored or not: renew again.
   */
  renew(value: Liveness): Promise<RenewOutcome> {
    return this.#inTurn(() => this.#put(value, isMine(value, this.#mine) ? this.#mine.revision : 0));
  }

  /** Replaces the key of a holder that is known to be dead, at exactly the revision that was read. Else as `renew`. */
  takeOver(value: Liveness, revision: number): Promise<RenewOutcome> {
    return this.#inTurn(() => this.#put(value, revision));
  }

  /**
   * Deletes my key, never another's. `removed`: no key of mine is left. `failed`: unknown, try again. Never rejects. Waits
   * for a renewal under way; idempotent.
   */
  remove(): Promise<MyRemoval> {
    return this.#inTurn(async () => {
      if (this.#mine === null) return { kind: 'removed' };
      const outcome = await this.#removeMine(this.#mine).catch(
        (error): MyRemoval => ({ kind: 'failed', reason: describeNatsError(error) }),
      );
      if (outcome.kind === 'removed') this.#mine = null;
      return outcome;
    });
  }

  /** The whole bucket, without deleted keys; what cannot be read comes with value null. @throws when it cannot be read whole. */
  async entries(): Promise<LivenessEntry[]> {
    const entries = await this.#bucket.readAll();
    // The newest of each key: one that was put while they were read came twice.
    const newest = new Map(entries.map((entry) => [entry.key, entry]));
    return [...newest.values()].filter(({ isDeleted }) => !isDeleted).map((entry) => this.#admit(entry));
  }

  /** Answered by the stream's leader; null: there is none. @throws when nobody can say, as when the bucket is gone. */
  async read(id: string): Promise<LivenessEntry | null> {
    const entry = await this.#bucket.read(id);
    return entry === null || entry.isDeleted ? null : this.#admit(entry);
  }

  /**
   * Deletes a key unless it is at another revision by now, deleted or expired included.
   * @throws when it is unknown whether it was deleted; doing it again is harmless.
   */
  async deleteAt(id: string, revision: number): Promise<'deleted' | 'changed'> {
    this.#deleting.add(id);
    const outcome = await this.#bucket.write(id, { bytes: null, expected: revision });
    this.#deleting.delete(id);
    if (outcome.kind === 'stored') return 'deleted';
    if (outcome.kind === 'conflict') return 'changed';
    throw new Error(`key ${id} was not deleted: ${outcome.reason}`);
  }

  /**
   * Tells of every change, twice over: as heard at once by a plain subscription, also what the stream cannot store just
   * now; and as stored, with revisions, by a watch that reopens itself. Resolves when both are open; returns what ends both.
   */
  async watch(listener: (change: LivenessChange) => void): Promise<() => Promise<void>> {
    const tell = (change: LivenessChange) => deliver(listener, change);
    const prefix = subjectOfKey(this.#bucket.name, '');
    const heard = this.#link.connection.subscribe(subjectOfKey(this.#bucket.name, '>'), {
      callback: (error, message) => {
        if (error === null) this.#hear(message.subject.slice(prefix.length), message, tell);
        else this.#link.log.warn({ reason: describeNatsError(error) }, 'renewals are not heard');
      },
    });
    const watch = await KvWatch.start(this.#link, this.#bucket, {
      onEntry: (entry) => tell(this.#describeStored(entry)),
    });
    return async () => {
      heard.unsubscribe();
      watch.stop();
    };
  }

  #hear(key: string, { headers, data }: Msg, tell: (change: LivenessChange) => void): void {
    if (!isDeletion(headers, data)) {
      const decoded = decodeLiveness(key, data);
      // What is garbage is told of when it was stored.
      if (!decoded.ok) return;
      const isOurs = this.#link.installation.admits('liveness', decoded.value);
      tell(isOurs ? { kind: 'heard', value: decoded.value } : { kind: 'foreign', id: key });
      return;
    }
    if ((headers?.get(EXPECTED_HEADER) ?? '') === '') {
      tell({ kind: 'removed', id: key, revision: null });
      return;
    }
    if (this.#deleting.has(key)) return;
    // This one names the revision it deletes, and a refused one sounds the same: only the bucket knows.
    this.#bucket.read(key).then(
      (entry) => {
        if (entry?.isDeleted) tell({ kind: 'removed', id: key, revision: entry.revision });
      },
      () => {},
    );
  }

  async #put(value: Liveness, expected: number): Promise<RenewOutcome> {
    const { id, startedAt } = value;
    // Before the outcome: a write that seems to fail may be stored, and is then mine to remove.
    this.#mine = { id, startedAt, revision: expected };
    const outcome = await writeKey(this.#bucket, id, {
      bytes: encodeLiveness({ ...value, ...this.#link.installation.tag }),
      expected,
      limitMs: RENEW_LIMIT_MS,
      mayReplace: (entry) => {
        const holder = entry === null || entry.isDeleted ? null : decodeEntry(entry).value;
        // Null too where the value is unreadable: no worker wrote that, so no other lives under this id.
        return holder === null || isMine(value, holder);
      },
    });
    if (outcome.kind === 'refused') return { kind: 'taken', by: decodeEntry(outcome.entry).value };
    if (outcome.kind === 'failed') return outcome;
    this.#mine = { id, startedAt, revision: outcome.revision };
    return { kind: 'renewed', revision: outcome.revision };
  }

  async #removeMine(mine: {
    readonly id: string;
    readonly startedAt: string;
    readonly revision: number;
  }): Promise<MyRemoval> {
    const deadline = new Deadline(RENEW_LIMIT_MS);
    let expected = mine.revision;
    for (let attempt = 0; attempt < DELETE_ATTEMPTS; attempt += 1) {
      const outcome = await this.#bucket.write(mine.id, { bytes: null, expected, limitMs: deadline.leftMs() });
      if (outcome.kind === 'stored') return { kind: 'removed' };
      if (outcome.kind !== 'conflict') return { kind: 'failed', reason: outcome.reason };
      const entry = await deadline.within(this.read(mine.id));
      if (entry === null || !isMine(mine, entry.value)) return { kind: 'removed' };
      expected = entry.revision;
    }
    return { kind: 'failed', reason: `key ${mine.id} changed during ${DELETE_ATTEMPTS} attempts to delete it` };
  }

  /** Another installation's value is none for those who plan with it. */
  #admit(entry: KvEntry): LivenessEntry {
    const decoded = decodeEntry(entry);
    const { id, revision, value } = decoded;
    if (value === null || this.#link.installation.admits('liveness', value)) return decoded;
    return { id, revision, value: null, isForeign: true, reason: 'it is of another installation' };
  }

  #describeStored(entry: KvEntry): LivenessChange {
    const { key, revision } = entry;
    if (entry.isDeleted) return { kind: 'removed', id: key, revision };
    const { value, reason = '', isForeign } = this.#admit(entry);
    if (isForeign === true) return { kind: 'foreign', id: key };
    return value === null ? { kind: 'rejected', id: key, reason } : { kind: 'stored', value, revision };
  }

  #inTurn<Outcome>(write: () => Promise<Outcome>): Promise<Outcome> {
    const outcome = this.#turn.then(write);
    this.#turn = outcome.catch(() => {});
    return outcome;
  }
}

type Process = Pick<Liveness, 'id' | 'startedAt'>;

function isMine<Other extends Process>(me: Process, other: Other | null): other is Other {
  return other !== null && other.id === me.id && other.startedAt === me.startedAt;
}

function decodeEntry({ key, revision, bytes }: KvEntry): LivenessEntry {
  const decoded = decodeLiveness(key, bytes);
  return decoded.ok
    ? { id: key, revision, value: decoded.value }
    : { id: key, revision, value: null, reason: decoded.reason };
}
