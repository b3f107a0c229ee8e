/**
 * The streams and buckets of an installation, and their settings. Only settings that a 2.9 server knows are used.
 *
 * Each reserves its space: managed services demand that, and where all streams of an account do it, no neighbour takes the space
 * that the leases need. A full bucket would refuse renewals, so it gets room for many more workers than one NATS serves; a full
 * history drops its oldest.
 */
import { DiscardPolicy, nanos, RetentionPolicy, StorageType, type StreamConfig } from 'nats';
import { type NatsNames, streamOfBucket, subjectOfKey } from './names.ts';
import type { StreamKind } from './stream-mark.ts';

export type BucketKind = Extract<StreamKind, 'leadership' | 'liveness'>;
export type HistoryKind = Exclude<StreamKind, BucketKind>;

export interface StreamOptions {
  /** 1, 3 or 5. @default 1 for a new stream; an existing one keeps what it has */
  readonly replicas?: number;
  /** What all streams and buckets reserve together, MiB. @default 64 for new streams; existing ones keep what they have */
  readonly storageMib?: number;
}

export interface BucketOptions extends StreamOptions {
  /** Of each key, since it was last put. At least 100. */
  readonly ttlMs: number;
}

export interface WantedStream {
  readonly kind: StreamKind;
  readonly settings: Partial<StreamConfig> & { readonly name: string; readonly subjects: [string] };
  /** Undefined: 1 for a new stream, and an existing one keeps what it has. */
  readonly replicas: number | undefined;
  /** False: a stream that has a size keeps it. */
  readonly isSizeChosen: boolean;
}

/** How many messages each stream keeps. */
const KEPT: Readonly<Record<HistoryKind, number>> = { snapshots: 256, sizes: 1024, recoveries: 256 };

const DUPLICATE_WINDOW_MAX_MS = 120_000;

const DEFAULT_STORAGE_MIB = 64;
const KIB = 1_024;

/**
 * Of 1024 parts of all storage, and the largest message, headers included. A worker's value takes about 500 bytes in the stream:
 * 64 MiB are room for 16,000 workers, and for 52 of the largest snapshots. A usual snapshot has 20 KiB.
 */
const SIZES: Readonly<Record<StreamKind, { readonly parts: number; readonly messageBytes: number }>> = {
  leadership: { parts: 4, messageBytes: 8 * KIB },
  sizes: { parts: 8, messageBytes: 8 * KIB },
  recoveries: { parts: 52, messageBytes: 72 * KIB },
  liveness: { parts: 128, messageBytes: 8 * KIB },
  snapshots: { parts: 832, messageBytes: 1_032 * KIB },
};

const COMMON = { retention: RetentionPolicy.Limits, storage: StorageType.File };

/** Everything that a coordinator opens. */
export function wantedStreams(names: NatsNames, options: BucketOptions): WantedStream[] {
  const { ttlMs: _, ...ofStream } = options;
  return [
    wantedBucket(names, 'leadership', options),
    wantedBucket(names, 'liveness', options),
    wantedHistory(names, 'snapshots', ofStream),
    wantedHistory(names, 'sizes', ofStream),
    wantedHistory(names, 'recoveries', ofStream),
  ];
}

export function bucketName(names: NatsNames, kind: BucketKind): string {
  return kind === 'leadership' ? names.leadershipBucket : names.livenessBucket;
}

/** As every KV client expects a bucket of history 1 to be. Never read from a replica: what is read decides. */
export function wantedBucket(names: NatsNames, kind: BucketKind, options: BucketOptions): WantedStream {
  const { ttlMs } = options;
  const bucket = bucketName(names, kind);
  const settings: WantedStream['settings'] = {
    ...COMMON,
    ...sizeOf(kind, options),
    name: streamOfBucket(bucket),
    subjects: [subjectOfKey(bucket, '>')],
    max_msgs: -1,
    max_msgs_per_subject: 1,
    max_age: nanos(ttlMs),
    // Refused where it is longer than the maximum age.
    duplicate_window: nanos(Math.min(ttlMs, DUPLICATE_WINDOW_MAX_MS)),
    discard: DiscardPolicy.New,
    deny_delete: true,
    allow_rollup_hdrs: true,
    allow_direct: false,
  };
  return { kind, settings, ...chosenOf(options) };
}

/** A stream of one subject that keeps its last messages. */
export function wantedHistory(names: NatsNames, kind: HistoryKind, options: StreamOptions): WantedStream {
  const [name, subject] = historyName(names, kind);
  const settings: WantedStream['settings'] = {
    ...COMMON,
    ...sizeOf(kind, options),
    name,
    subjects: [subject],
    max_msgs: KEPT[kind],
    max_msgs_per_subject: -1,
    max_age: 0,
    discard: DiscardPolicy.Old,
    allow_direct: false,
  };
  return { kind, settings, ...chosenOf(options) };
}

function sizeOf(kind: StreamKind, { storageMib = DEFAULT_STORAGE_MIB }: StreamOptions) {
  const { parts, messageBytes } = SIZES[kind];
  return { max_bytes: storageMib * KIB * parts, max_msg_size: messageBytes };
}

function chosenOf({ replicas, storageMib }: StreamOptions): Pick<WantedStream, 'replicas' | 'isSizeChosen'> {
  return { replicas, isSizeChosen: storageMib !== undefined };
}

function historyName(names: NatsNames, kind: HistoryKind): readonly [string, string] {
  switch (kind) {
    case 'snapshots':
      return [names.snapshotStream, names.snapshotSubject];
    case 'sizes':
      return [names.tableStream, names.tableSubject];
    case 'recoveries':
      return [names.recoveryStream, names.recoverySubject];
  }
}
