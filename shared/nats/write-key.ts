import { Deadline } from './deadline.ts';
import type { KvBucket, KvEntry } from './kv-bucket.ts';
import { describeNatsError } from './nats-errors.ts';

export interface KeyWrite {
  readonly bytes: Uint8Array;
  /** The revision thought to be the newest; 0: none. */
  readonly expected: number;
  /** For all of it. */
  readonly limitMs: number;
  /** When the expected revision was wrong: may what is there instead (null: nothing) be replaced? */
  readonly mayReplace: (entry: KvEntry | null) => boolean;
}

export type KeyWriteOutcome =
  | { readonly kind: 'stored'; readonly revision: number }
  | { readonly kind: 'refused'; readonly entry: KvEntry }
  /** It may be stored or not. */
  | { readonly kind: 'failed'; readonly reason: string };

/** Of the time left: what the first write may take, so that some is left to find out that the bucket is gone. */
const WRITE_SHARE = 0.6;
/** Each conflict means that somebody else wrote, or that the key expired in between. */
const ATTEMPTS = 4;

/**
 * Writes a key at the revision expected or at one that may be replaced. A bucket that is gone is created again: it shows as
 * silence, because a subscriber to the keys' subject hides that nobody stores it. A revision of 0, or one that turned out
 * wrong, would also fit another application's bucket: whose bucket it is, is looked at first. Never rejects.
 */
export async function writeKey(bucket: KvBucket, key: string, write: KeyWrite): Promise<KeyWriteOutcome> {
  const deadline = new Deadline(write.limitMs);
  let { expected } = write;
  try {
    if (expected === 0 || bucket.isRefused) await deadline.within(bucket.verify());
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const limitMs = WRITE_SHARE * deadline.leftMs();
      const outcome = await bucket.write(key, { bytes: write.bytes, expected, limitMs });
      if (outcome.kind === 'stored' || outcome.kind === 'failed') return outcome;
      if (outcome.kind === 'silent') {
        const { wasMissing } = await deadline.within(bucket.restore());
        if (!wasMissing) return { kind: 'failed', reason: outcome.reason };
      }
      const [entry] = await deadline.within(Promise.all([bucket.read(key), bucket.verify()]));
      if (!write.mayReplace(entry)) return entry === null ? gone(key) : { kind: 'refused', entry };
      expected = entry?.revision ?? 0;
    }
    return { kind: 'failed', reason: `key ${key} changed ${ATTEMPTS} times meanwhile` };
  } catch (error) {
    return { kind: 'failed', reason: describeNatsError(error) };
  }
}

function gone(key: string): KeyWriteOutcome {
  return { kind: 'refused', entry: { key, revision: 0, bytes: new Uint8Array(), isDeleted: true } };
}
