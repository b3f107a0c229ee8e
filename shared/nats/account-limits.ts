/** What to do about JetStream's refusals that come from the limits of a server or an account. */
import type { JetStreamManager } from 'nats';
import { apiCode, isNoResponders } from './nats-errors.ts';

/** Server error codes. Source: nats-server, server/errors.json; each was seen at a real server with such an account. */
const CODES = {
  accountResources: 10002,
  noPeers: 10005,
  serverResources: 10023,
  consumers: 10026,
  streams: 10027,
  memory: 10028,
  notForAccount: 10039,
  storage: 10047,
  replicas: 10074,
  notEnabled: 10076,
  needsMaxBytes: 10113,
  noTier: 10120,
  streamBytes: 10122,
} as const;

/** Space that cannot be reserved. An existing stream works on without. */
const OF_SPACE: ReadonlySet<number | undefined> = new Set([
  CODES.accountResources,
  CODES.serverResources,
  CODES.storage,
  CODES.streamBytes,
]);

const STREAMS = 5;
const SMALLER =
  'Give every service a smaller --nats-storage-mib (NATS_STORAGE_MIB; 8 suffices for a thousand workers), or raise the limit';

const ADVICE: ReadonlyMap<number, string> = new Map([
  [CODES.accountResources, `The account's JetStream limits are used up. ${SMALLER}.`],
  [CODES.storage, `The account, or the server, has too little file storage left to reserve this much. ${SMALLER}.`],
  [CODES.streamBytes, `The account limits the size of one stream (disk_max_stream_bytes). ${SMALLER}.`],
  [
    CODES.serverResources,
    `The server's JetStream storage is used up, or too few servers are up. ${SMALLER} (max_file_store).`,
  ],
  [CODES.memory, 'Expected file storage: streams of this name must not be kept in memory.'],
  [
    CODES.streams,
    `The account allows no more streams: an installation needs ${STREAMS} (max_streams). Raise the limit, or use another account.`,
  ],
  [
    CODES.consumers,
    'The account, or the stream, allows no more consumers: each coordinator needs up to 4 (max_consumers). Raise the limit.',
  ],
  [
    CODES.replicas,
    'A lone server keeps each stream once: give --nats-replicas 1 (NATS_REPLICAS), or connect to a cluster.',
  ],
  [
    CODES.noPeers,
    'The cluster has too few servers with JetStream and room: give a smaller --nats-replicas (NATS_REPLICAS), or add servers.',
  ],
  [
    CODES.notForAccount,
    "JetStream is not enabled for this login's account: enable it (jetstream: enabled in the account, or nsc edit account --js-disk-storage), or log in to another account.",
  ],
  [
    CODES.notEnabled,
    'The server runs without JetStream: start it with -js, or with jetstream {} in its configuration.',
  ],
  [
    CODES.needsMaxBytes,
    'The account demands a size for every stream (max_bytes_required): the stream was created without. Update every service to this version.',
  ],
  [
    CODES.noTier,
    'The account has no JetStream limits for this number of replicas: give another --nats-replicas (NATS_REPLICAS), or ask for such a tier.',
  ],
]);

const NO_ANSWER =
  'Does the server run with JetStream (-js)? Is it a leaf node of another JetStream domain? Then give the addresses of servers in the domain that has JetStream';

/** In sentences; null: nothing is known about it. */
export function adviseOnLimit(error: unknown): string | null {
  if (isNoResponders(error)) return `${NO_ANSWER}.`;
  return ADVICE.get(apiCode(error) ?? 0) ?? null;
}

/** The settings are right, but there is no room for them. */
export function isSpaceRefused(error: unknown): boolean {
  return OF_SPACE.has(apiCode(error));
}

/** What the account has, for a person who must choose a size; empty: it is unlimited, or does not say. */
export async function describeStorage(manager: JetStreamManager): Promise<string> {
  const info = await manager.getAccountInfo().catch(() => null);
  if (info === null) return '';
  const limit = info.limits.max_storage;
  if (limit === 0) return 'The account has no file storage, which the streams need. ';
  if (limit < 0) return '';
  const reserved = Math.max(info.storage, (info as { readonly reserved_storage?: number }).reserved_storage ?? 0);
  return `The account has ${toMib(limit)} MiB of file storage, ${toMib(limit - reserved)} MiB of it free. `;
}

function toMib(bytes: number): number {
  return Math.floor((10 * Math.max(0, bytes)) / 2 ** 20) / 10;
}
