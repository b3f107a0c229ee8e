/** The streams and buckets of an installation, and their settings. Only settings that a 2.9 server knows are used. */
import { DiscardPolicy, nanos, RetentionPolicy, StorageType, type StreamConfig } from 'nats';
import { type NatsNames, streamOfBucket, subjectOfKey } from './names.ts';
import type { StreamKind } from './stream-mark.ts';

export type BucketKind = Extract<StreamKind, 'leadership' | 'liveness'>;
export type HistoryKind = Exclude<StreamKind, BucketKind>;

export interface StreamOptions {
  /** 1, 3 or 5. @default 1 for a new stream; an existing one keeps what it has */
  readonly replicas?: number;
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
}

/** How many messages each stream keeps. */
const KEPT: Readonly<Record<HistoryKind, number>> = { snapshots: 256, sizes: 1024, recoveries: 256 };

const DUPLICATE_WINDOW_MAX_MS = 120_000;

const COMMON = { retention: RetentionPolicy.Limits, storage: StorageType.File, max_bytes: -1, max_msg_size: -1 };

/** Everything that a coordinator opens. */
export function wantedStreams(names: NatsNames, options: BucketOptions): WantedStream[] {
  const { replicas } = options;
  const ofStream = replicas === undefined ? {} : { replicas };
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
export function wantedBucket(names: NatsNames, kind: BucketKind, { ttlMs, replicas }: BucketOptions): WantedStream {
  const bucket = bucketName(names, kind);
  const settings: WantedStream['settings'] = {
    ...COMMON,
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
  return { kind, settings, replicas };
}

/** A stream of one subject that keeps its last messages. */
export function wantedHistory(names: NatsNames, kind: HistoryKind, { replicas }: StreamOptions): WantedStream {
  const [name, subject] = historyName(names, kind);
  const settings: WantedStream['settings'] = {
    ...COMMON,
    name,
    subjects: [subject],
    max_msgs: KEPT[kind],
    max_msgs_per_subject: -1,
    max_age: 0,
    discard: DiscardPolicy.Old,
    allow_direct: false,
  };
  return { kind, settings, replicas };
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
