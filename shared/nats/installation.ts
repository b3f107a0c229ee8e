/** What an installation has in NATS as a whole: the processes that live, and the streams and buckets that it would leave behind. */
import { RequestStrategy, type ServiceIdentity } from 'nats';
import type { NatsLink } from './connection.ts';
import { useJetStream } from './jetstream.ts';
import { KvBucket } from './kv-bucket.ts';
import { LivenessBucket } from './liveness-bucket.ts';
import { isNoResponders, isStreamMissing } from './nats-errors.ts';
import { readMark } from './stream-mark.ts';
import { describeForeign, nameStream, StreamForeignError } from './stream-ownership.ts';
import { wantedStreams } from './stream-settings.ts';

export interface LivingProcess {
  readonly role: 'worker' | 'coordinator';
  readonly id: string;
  /** How it is known to live. */
  readonly evidence: string;
}

export interface StreamRemoval {
  /** As people look for them. */
  readonly removed: readonly string[];
  /** Those that carry no mark of ours, with the reason; nobody touches them. */
  readonly left: readonly string[];
}

/** The longest silence between two answers, and after the last one. */
const ANSWER_LIMIT_MS = 500;
/** What is read is not changed, so any lease will do. */
const READERS_TTL_MS = 2_000;

/** By their keys and by what answers discovery: a standby has no key. @throws the client's error when nobody can say. */
export async function findLiving(link: NatsLink): Promise<readonly LivingProcess[]> {
  const { names } = link;
  const living: LivingProcess[] = [];
  for (const id of await readKeys(async () => (await LivenessBucket.attach(link)).entries())) {
    living.push({ role: 'worker', id, evidence: `its key in bucket ${names.livenessBucket}` });
  }
  if (await hasLeader(link)) {
    living.push({ role: 'coordinator', id: '', evidence: `key leader in bucket ${names.leadershipBucket}` });
  }
  for (const [role, service] of [
    ['worker', names.workerService],
    ['coordinator', names.coordinatorService],
  ] as const) {
    for (const id of await discover(link, service)) {
      if (living.some((known) => known.role === role && known.id === id)) continue;
      living.push({ role, id, evidence: `it answers as NATS service ${service}` });
    }
  }
  return living;
}

async function readKeys(read: () => Promise<readonly { readonly id: string }[]>): Promise<readonly string[]> {
  try {
    return (await read()).map(({ id }) => id);
  } catch (error) {
    if (isStreamMissing(error) || error instanceof StreamForeignError) return [];
    throw error;
  }
}

/** An unreadable value counts: somebody wrote it within the lease. */
async function hasLeader(link: NatsLink): Promise<boolean> {
  const keys = await readKeys(async () => {
    const entries = await (await KvBucket.attach(link, 'leadership')).readAll();
    return entries.filter(({ isDeleted }) => !isDeleted).map(({ key: id }) => ({ id }));
  });
  return keys.length > 0;
}

async function discover({ connection }: NatsLink, service: string): Promise<readonly string[]> {
  const client = connection.services.client({ strategy: RequestStrategy.JitterTimer, maxWait: ANSWER_LIMIT_MS });
  const ids = new Set<string>();
  try {
    for await (const { metadata, id } of (await client.ping(service)) as AsyncIterable<ServiceIdentity>) {
      ids.add(metadata?.id ?? id);
    }
  } catch (error) {
    if (!isNoResponders(error)) throw error;
  }
  return [...ids].sort();
}

/**
 * Deletes the streams and buckets that carry our mark. `isDryRun`: only says what would be deleted. Idempotent.
 * @throws the client's error when nobody can say; what was deleted until then stays deleted.
 */
export async function removeStreams(
  link: NatsLink,
  { isDryRun }: { readonly isDryRun: boolean },
): Promise<StreamRemoval> {
  const { manager } = await useJetStream(link);
  const removed: string[] = [];
  const left: string[] = [];
  for (const { settings, kind } of wantedStreams(link.names, { ttlMs: READERS_TTL_MS })) {
    try {
      const info = await manager.streams.info(settings.name);
      if (readMark(info.config)?.kind !== kind) {
        left.push(describeForeign(info));
        continue;
      }
      if (!isDryRun) await manager.streams.delete(settings.name);
      removed.push(nameStream(settings.name));
    } catch (error) {
      if (!isStreamMissing(error)) throw error;
    }
  }
  return { removed, left };
}
