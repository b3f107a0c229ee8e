/** Looks at a start who lives under our names in NATS, before anything there is created or changed. */
import { setTimeout as wait } from 'node:timers/promises';
import { WaitingNotice } from '../process/waiting-notice.ts';
import type { NatsLink } from './connection.ts';
import { readTag, type Tag } from './installation-gate.ts';
import { useJetStream } from './jetstream.ts';
import { isDeletion } from './kv-bucket.ts';
import { streamOfBucket, subjectOfKey } from './names.ts';

/** Another installation has our names. Waiting does not help: one of the two needs another prefix. */
export class ForeignInstallationError extends Error {
  readonly code = 'foreign-installation';

  constructor({ own, foreign, prefix }: { readonly own: string; readonly foreign: string; readonly prefix: string }) {
    const names = prefix === '' ? 'without a prefix' : `under the prefix "${prefix}"`;
    const example = prefix === '' ? 'staging' : `${prefix}-2`;
    super(
      `expected only services of installation ${own} ${names} on this NATS, but installation ${foreign} lives there. ` +
        `Start every service of this one with another prefix, for example --nats-prefix ${example} (NATS_PREFIX), or stop the other one first.`,
    );
    this.name = 'ForeignInstallationError';
  }
}

interface Neighbours {
  readonly leader: Tag | null;
  readonly workers: readonly Tag[];
}

const LOOK_EVERY_MS = 250;
/** A key that is left behind expires up to this much after its TTL. */
const EXPIRY_SLACK_MS = 1_000;
/** Enough to tell who is at home; not everybody need be read. */
const MOST_READ = 64;

/**
 * Another installation is refused if its leader lives under our names, or if its workers do and none of ours. Otherwise we
 * are at home, and its messages are rejected. Keys left behind by processes that ended are waited for.
 * `former`: an identity that this installation had; the services that still have it change it within `settledMs`.
 * @throws {ForeignInstallationError}
 */
export async function refuseForeignInstallation(
  link: NatsLink,
  options: {
    readonly ttlMs: number;
    readonly former: { readonly identity: string | null; readonly settledMs: number };
    /** A worker's login may not be allowed to read the leader's key. */
    readonly readsLeader: boolean;
  },
): Promise<void> {
  const { installation: gate, names } = link;
  const { ttlMs, former } = options;
  if (gate.own === null) return;
  const notice = new WaitingNotice(link.log, link.onWait);
  for (const startedMs = performance.now(); ; ) {
    const foreign = findForeign(await look(link, options.readsLeader), (tag) => gate.isForeign(tag));
    if (foreign === null) return;
    const patienceMs = foreign === former.identity ? former.settledMs : ttlMs + EXPIRY_SLACK_MS;
    if (performance.now() - startedMs > patienceMs) {
      throw new ForeignInstallationError({ own: gate.own, foreign, prefix: names.prefix });
    }
    const reason = `installation ${foreign} was seen there`;
    notice.say({ reason, own: gate.own }, `waiting for another installation to leave our names in NATS (${reason})`);
    await wait(LOOK_EVERY_MS, undefined, { signal: link.signal });
  }
}

/** The identity of the installation whose place this is; null: ours, or nobody's. */
function findForeign({ leader, workers }: Neighbours, isForeign: (tag: Tag) => boolean): string | null {
  if (leader !== null) return isForeign(leader) ? (leader.installation ?? null) : null;
  const foreign = workers.filter(isForeign);
  if (foreign.length === 0 || foreign.length < workers.length) return null;
  return foreign[0]?.installation ?? null;
}

async function look(link: NatsLink, readsLeader: boolean): Promise<Neighbours> {
  const { names } = link;
  const [leader] = readsLeader ? await readTags(link, names.leadershipBucket, 1) : [];
  return { leader: leader ?? null, workers: await readTags(link, names.livenessBucket, MOST_READ) };
}

/** By requests alone, which narrow logins are allowed too. What cannot be read counts as empty. */
async function readTags(link: NatsLink, bucket: string, most: number): Promise<Tag[]> {
  const { manager } = await useJetStream(link);
  const stream = streamOfBucket(bucket);
  const found: Tag[] = [];
  for (let seq = 1; found.length < most; ) {
    const query = { seq, next_by_subj: subjectOfKey(bucket, '>') };
    const message = await manager.streams.getMessage(stream, query).catch(() => null);
    if (message === null) return found;
    if (!isDeletion(message.header, message.data)) found.push(readTag(message.data));
    seq = message.seq + 1;
  }
  return found;
}
