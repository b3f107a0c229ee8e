import * as z from 'zod';
import { decodeOrNull } from '../message/decode-message.ts';
import type { NatsLink } from './connection.ts';
import { deliver } from './deliver.ts';
import { installationField } from './installation-gate.ts';
import { KvBucket, type KvEntry, type RemoveOutcome } from './kv-bucket.ts';
import { KvWatch } from './kv-watch.ts';
import type { BucketOptions } from './stream-settings.ts';
import { writeKey } from './write-key.ts';

/** Who leads, as the key says. */
export interface Leader {
  readonly id: string;
  /** Of the leader's term; 0 until it is drawn. */
  readonly epoch: number;
  /** ISO time of the process's start. */
  readonly startedAt: string;
  /** Whose leader it is; those of former versions do not say. */
  readonly installation?: string;
}

export interface LeaderEntry extends Leader {
  readonly revision: number;
}

export type LeadershipOutcome =
  | { readonly kind: 'won'; readonly revision: number }
  /** Somebody else holds it, or it is no longer mine. */
  | { readonly kind: 'refused' }
  /** It may be stored or not: read the key. */
  | { readonly kind: 'failed'; readonly reason: string };

const KEY = 'leader';
const WRITE_LIMIT_MS = 950;
const BYTES_MAX = 4096;

const schema = z.object({
  id: z.string().min(1),
  epoch: z.int().min(0),
  startedAt: z.iso.datetime(),
  installation: installationField,
});

/** The one key whose holder leads; it expires unless it is renewed (DESIGN §4). A lease is no fence: Postgres decides. */
export class LeadershipBucket {
  readonly #link: NatsLink;
  readonly #bucket: KvBucket;

  private constructor(link: NatsLink, bucket: KvBucket) {
    this.#link = link;
    this.#bucket = bucket;
  }

  /**
   * Creates the bucket, or brings ours to these settings. Waits for JetStream, saying so.
   * @throws {StreamForeignError} when it is another application's. @throws {StreamUnfitError} when waiting cannot help.
   */
  static async open(link: NatsLink, options: BucketOptions): Promise<LeadershipBucket> {
    return new LeadershipBucket(link, await KvBucket.open(link, 'leadership', options));
  }

  /**
   * Takes the key where nobody has it, where this very process has it already, or where its value is unreadable: no leader wrote
   * that. Never rejects; over within a second.
   */
  create(value: Leader): Promise<LeadershipOutcome> {
    return this.#write(value, {
      expected: 0,
      mayReplace: (entry) => entry === null || entry.isDeleted || isHeldBy(value, entry) || isUnreadable(entry),
    });
  }

  /**
   * Replaces exactly this revision: mine, to renew it, or a dead holder's. A later one only where this very process wrote
   * it (an earlier outcome was `failed`, but it was stored), or where it is unreadable. Refused when the key is gone. Never
   * rejects; over within a second.
   */
  renew(value: Leader, revision: number): Promise<LeadershipOutcome> {
    return this.#write(value, {
      expected: revision,
      mayReplace: (entry) => entry !== null && (isHeldBy(value, entry) || isUnreadable(entry)),
    });
  }

  /** Deletes the key at exactly this revision, so that a standby takes over at once. Never rejects. */
  async remove(revision: number): Promise<RemoveOutcome> {
    const outcome = await this.#bucket.write(KEY, { bytes: null, expected: revision });
    if (outcome.kind === 'stored') return { kind: 'removed' };
    return outcome.kind === 'conflict' ? { kind: 'changed' } : { kind: 'failed', reason: outcome.reason };
  }

  /** Answered by the stream's leader; null: nobody holds it. @throws when nobody can say, or the key is unreadable. */
  async read(): Promise<LeaderEntry | null> {
    const entry = await this.#bucket.read(KEY);
    if (entry === null || entry.isDeleted) return null;
    const leader = decode(entry);
    if (leader === null) throw new Error(`key ${KEY} at revision ${entry.revision} is no leader's`);
    return leader;
  }

  /**
   * Tells the holder at each renewal (of several in a moment perhaps only the last), and null when the key is deleted or not
   * there at an opening of the watch; expiry is not told. Resolves when it is open; returns what ends it.
   */
  async watch(listener: (entry: LeaderEntry | null) => void): Promise<() => Promise<void>> {
    let isSeen = false;
    const watch = await KvWatch.start(this.#link, this.#bucket, {
      onOpen: () => {
        isSeen = false;
      },
      onEntry: (entry) => {
        if (entry.key !== KEY) return;
        isSeen = true;
        const leader = entry.isDeleted ? null : decode(entry);
        if (entry.isDeleted || leader !== null) return deliver(listener, leader);
        const { name: bucket } = this.#bucket;
        this.#link.log.warn({ bucket, key: KEY, revision: entry.revision }, 'a leader value was kept out');
      },
      onComplete: () => {
        if (!isSeen) deliver(listener, null);
      },
    });
    return async () => watch.stop();
  }

  async #write(
    value: Leader,
    how: { readonly expected: number; readonly mayReplace: (entry: KvEntry | null) => boolean },
  ): Promise<LeadershipOutcome> {
    const { id, epoch, startedAt } = value;
    const bytes = new TextEncoder().encode(JSON.stringify({ id, epoch, startedAt, ...this.#link.installation.tag }));
    const outcome = await writeKey(this.#bucket, KEY, { bytes, ...how, limitMs: WRITE_LIMIT_MS });
    switch (outcome.kind) {
      case 'stored':
        return { kind: 'won', revision: outcome.revision };
      case 'refused':
        return { kind: 'refused' };
      case 'failed':
        return outcome;
    }
  }
}

function isHeldBy(value: Leader, entry: KvEntry): boolean {
  const holder = entry.isDeleted ? null : decode(entry);
  return holder !== null && holder.id === value.id && holder.startedAt === value.startedAt;
}

/** No leader wrote it, so it deposes none. Whoever replaces it does so at its revision: only one succeeds. */
function isUnreadable(entry: KvEntry): boolean {
  return !entry.isDeleted && decode(entry) === null;
}

function decode({ bytes, revision }: KvEntry): LeaderEntry | null {
  const leader = decodeOrNull(schema, bytes, BYTES_MAX);
  return leader === null ? null : { ...leader, revision };
}
