/**
 * Making streams and buckets, and bringing existing ones to the settings wanted: their defaults and a bucket's TTL are
 * otherwise silently kept. Only settings that a 2.9 server knows are used.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { DiscardPolicy, nanos, RetentionPolicy, StorageType, type StreamConfig, type StreamInfo } from 'nats';
import { WaitingNotice } from '../process/waiting-notice.ts';
import type { NatsLink } from './connection.ts';
import type { JetStream } from './jetstream.ts';
import { streamOfBucket, subjectOfKey } from './names.ts';
import {
  describeNatsError,
  isPermissionDenied,
  isStreamMissing,
  isStreamNameInUse,
  isTemporary,
} from './nats-errors.ts';

export interface WantedStream {
  readonly settings: Partial<StreamConfig> & { readonly name: string };
  /** Undefined: 1 for a new stream, and an existing one keeps what it has. */
  readonly replicas: number | undefined;
}

/** A stream cannot be made, or not be brought to the settings needed. The message says what to do. */
export class StreamUnfitError extends Error {
  readonly code = 'stream-unfit';

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'StreamUnfitError';
  }
}

const DUPLICATE_WINDOW_MAX_MS = 120_000;
const RETRY_MIN_MS = 50;
const RETRY_MAX_MS = 1_000;

const COMMON = { retention: RetentionPolicy.Limits, storage: StorageType.File, max_bytes: -1, max_msg_size: -1 };

/** As every KV client expects a bucket of history 1 to be. Never read from a replica: what is read decides. */
export function bucketSettings(
  bucket: string,
  { ttlMs, replicas }: { readonly ttlMs: number; readonly replicas?: number | undefined },
): WantedStream {
  const settings = {
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
  return { settings, replicas };
}

/** A stream of one subject that keeps its last messages. */
export function historySettings(
  name: string,
  {
    subject,
    keep,
    replicas,
  }: { readonly subject: string; readonly keep: number; readonly replicas?: number | undefined },
): WantedStream {
  const settings = {
    ...COMMON,
    name,
    subjects: [subject],
    max_msgs: keep,
    max_msgs_per_subject: -1,
    max_age: 0,
    discard: DiscardPolicy.Old,
    allow_direct: false,
  };
  return { settings, replicas };
}

/**
 * Makes a stream or updates its differing settings, waiting for ever for a JetStream that is not there yet and saying so.
 * A client that may not look at it takes it as it is. Idempotent; several processes may do it at once.
 * @throws {StreamUnfitError} where waiting cannot help: settings that cannot be changed, subjects that another stream has.
 */
export async function openStream(link: NatsLink, jetStream: JetStream, wanted: WantedStream): Promise<void> {
  const { name } = wanted.settings;
  const notice = new WaitingNotice(link.log);
  for (let retryMs = RETRY_MIN_MS; ; retryMs = Math.min(2 * retryMs, RETRY_MAX_MS)) {
    link.signal?.throwIfAborted();
    try {
      await restoreStream(jetStream, wanted);
      return;
    } catch (error) {
      // What is denied is logged by the link.
      if (isPermissionDenied(error)) return;
      if (!isTemporary(error)) throw error;
      const reason = describeNatsError(error);
      notice.say({ stream: name, reason }, `waiting for JetStream to open stream ${name} (${reason})`);
    }
    await wait(retryMs, undefined, { signal: link.signal });
  }
}

export interface RestoredStream {
  readonly info: StreamInfo;
  /** It was not there: all that it held is gone, and its sequences begin anew. */
  readonly wasMissing: boolean;
}

/** One try. @throws {StreamUnfitError}, or the client's error where trying again may help. */
export async function restoreStream({ manager }: JetStream, wanted: WantedStream): Promise<RestoredStream> {
  const { settings, replicas } = wanted;
  const { name } = settings;
  let wasMissing = false;
  try {
    let info = await manager.streams.info(name).catch(nullIfMissing);
    if (info === null) {
      wasMissing = true;
      // Null again: another process made it meanwhile, in its own way.
      info = await manager.streams.add({ ...settings, num_replicas: replicas ?? 1 }).catch(nullIfInUse);
      info ??= await manager.streams.info(name);
    }
    const change = { ...settings, num_replicas: replicas ?? info.config.num_replicas };
    if (!isFit(info.config, change)) info = await manager.streams.update(name, change);
    return { info, wasMissing };
  } catch (error) {
    if (isTemporary(error) || isPermissionDenied(error) || isStreamMissing(error) || !isFromServer(error)) throw error;
    throw new StreamUnfitError(
      `stream ${name} cannot be used: ${describeNatsError(error)}. Expected ${JSON.stringify(settings)}. ` +
        `Where nothing else needs it, delete it (nats stream rm ${name}): it is made anew.`,
      { cause: error },
    );
  }
}

function isFit(current: StreamConfig, wanted: Partial<StreamConfig>): boolean {
  return Object.entries(wanted).every(([key, value]) => {
    const has = current[key as keyof StreamConfig];
    // Servers leave out what is false.
    return JSON.stringify(has ?? false) === JSON.stringify(value);
  });
}

function isFromServer(error: unknown): boolean {
  return error instanceof Error && 'api_error' in error && error.api_error !== undefined;
}

function nullIfMissing(error: unknown): null {
  if (isStreamMissing(error)) return null;
  throw error;
}

function nullIfInUse(error: unknown): null {
  if (isStreamNameInUse(error)) return null;
  throw error;
}
