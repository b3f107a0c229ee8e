/**
 * A watch of a bucket that outlives what the client's own does not: it is opened anew
 *  - after a reconnect (the client's own notices its loss only after two missed heartbeats, 10 s or more),
 *  - when it ends or fails, after a pause, because each opening leaves a consumer behind for some seconds,
 *  - when the bucket is another one than at its opening: lost and made anew,
 *  - when it is blind: the bucket has had news for a second that the watch has not told of.
 * Each opening tells again all that the bucket holds. What expired or vanished meanwhile is not told.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { adviseOnLimit } from './account-limits.ts';
import type { NatsLink } from './connection.ts';
import type { KvBucket, KvEntry } from './kv-bucket.ts';
import { describeNatsError, isStreamMissing } from './nats-errors.ts';

export interface KvListener {
  /** A key's newest message, a deletion or an empty value too. Must not throw. */
  onEntry(entry: KvEntry): void;
  /** The watch was opened (anew); what the bucket holds follows. */
  onOpen?(): void;
  /** Since the opening, all that the bucket holds has been told. */
  onComplete?(): void;
}

const BACKOFF_MIN_MS = 50;
const BACKOFF_MAX_MS = 2_000;
const CHECK_EVERY_MS = 1_000;
const RECONNECTED = 'reconnected';

export class KvWatch {
  readonly #link: NatsLink;
  readonly #bucket: KvBucket;
  readonly #listener: KvListener;
  readonly #stopped = new AbortController();
  /** Ends the opening under way, or the pause before the next. */
  #end: (reason: string) => void = () => {};

  private constructor(link: NatsLink, bucket: KvBucket, listener: KvListener) {
    this.#link = link;
    this.#bucket = bucket;
    this.#listener = listener;
  }

  /** Resolves when it is open for the first time, or the link is closed; restores a bucket that is gone. */
  static async start(link: NatsLink, bucket: KvBucket, listener: KvListener): Promise<KvWatch> {
    const watch = new KvWatch(link, bucket, listener);
    await new Promise<void>((resolve) => {
      void watch.#run(resolve).then(resolve);
    });
    return watch;
  }

  /** Idempotent. Nothing is told afterwards. */
  stop(): void {
    this.#stopped.abort();
    this.#end('stopped');
  }

  async #run(onFirstOpen: () => void): Promise<void> {
    const ignore = this.#link.onStatus((status) => {
      if (status === 'reconnected') this.#end(RECONNECTED);
    });
    void this.#link.closed.then(() => {
      this.#stopped.abort();
      this.#end('the link is closed');
    });
    let failures = 0;
    while (!this.#stopped.signal.aborted) {
      const openedMs = performance.now();
      const reason = await this.#follow(onFirstOpen).catch(describeWithAdvice);
      if (this.#stopped.signal.aborted) break;
      failures = performance.now() - openedMs > BACKOFF_MAX_MS ? 0 : failures + 1;
      this.#logReopening(failures, reason);
      await this.#pause(Math.min(BACKOFF_MIN_MS * 2 ** failures, BACKOFF_MAX_MS));
    }
    ignore();
  }

  /** The services log a lost connection and the requests that fail with it: repeating that here adds nothing. */
  #logReopening(failures: number, reason: string): void {
    const { log } = this.#link;
    const fields = { bucket: this.#bucket.name, reason };
    if (failures > 2 || reason === RECONNECTED) log.debug(fields, 'reopening the watch on the bucket');
    else if (failures === 2) log.warn(fields, 'the watch on the bucket cannot be opened; trying again');
    else log.info(fields, 'reopening the watch on the bucket');
  }

  /** Opens the watch and tells of everything until it ends; returns why it did. */
  async #follow(onOpen: () => void): Promise<string> {
    let reason = 'the watch ended';
    let isEnded = false;
    this.#end = (why) => {
      reason = why;
      isEnded = true;
    };
    const { info } = await this.#bucket.restore();
    const sight = new Sight(info.created);
    this.#listener.onOpen?.();
    const watch = await this.#bucket.watch(() => {
      if (!this.#stopped.signal.aborted) this.#listener.onComplete?.();
    });
    this.#end = (why) => {
      reason = why;
      watch.stop();
    };
    if (isEnded) watch.stop();
    else onOpen();
    const timer = setInterval(
      () => void this.#check(sight).then((why) => why !== null && this.#end(why)),
      CHECK_EVERY_MS,
    );
    try {
      for await (const entry of watch.entries) {
        if (this.#stopped.signal.aborted) break;
        sight.see(entry.revision);
        this.#listener.onEntry(entry);
      }
    } finally {
      clearInterval(timer);
      watch.stop();
    }
    return reason;
  }

  /** Why the watch must be opened anew; null: it need not. */
  async #check(sight: Sight): Promise<string | null> {
    if (!this.#link.isConnected()) return null;
    try {
      const { created, state } = await this.#bucket.info();
      return sight.check({ created, lastSequence: state.last_seq });
    } catch (error) {
      return isStreamMissing(error) ? 'the bucket is gone' : null;
    }
  }

  async #pause(pauseMs: number): Promise<void> {
    const over = new AbortController();
    // Connected again: no reason to wait any longer.
    this.#end = () => over.abort();
    const signal = AbortSignal.any([over.signal, this.#stopped.signal]);
    await wait(pauseMs, undefined, { signal }).catch(() => {});
  }
}

function describeWithAdvice(error: unknown): string {
  const advice = adviseOnLimit(error);
  return advice === null ? describeNatsError(error) : `${describeNatsError(error)}. ${advice}`;
}

/** What a watch has told of, held against what the bucket says of itself from time to time. */
class Sight {
  readonly #created: string;
  #seen = 0;
  /** The bucket's last sequence at the previous check: by now it must have been seen. Null: not checked yet. */
  #due: number | null = null;

  constructor(created: string) {
    this.#created = created;
  }

  see(revision: number): void {
    this.#seen = Math.max(this.#seen, revision);
  }

  check(bucket: { readonly created: string; readonly lastSequence: number }): string | null {
    if (bucket.created !== this.#created) return 'the bucket was made anew';
    // What came before the first check may have expired before the watch could tell of it.
    if (this.#due === null) this.see(bucket.lastSequence);
    else if (this.#due > this.#seen) return 'the watch is blind';
    this.#due = bucket.lastSequence;
    return null;
  }
}
