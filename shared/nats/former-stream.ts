/**
 * Recognises streams and buckets that versions before the mark created: by every single setting, because nothing else
 * tells them from another application's. These settings are history; never adapt them to new ones.
 */
import { millis, nanos, type StreamConfig, type StreamInfo } from 'nats';
import * as z from 'zod';
import { decodeOrNull } from '../message/decode-message.ts';
import type { JetStream } from './jetstream.ts';
import { isMessageMissing, isPermissionDenied } from './nats-errors.ts';
import type { WantedStream } from './stream-settings.ts';

const COMMON = {
  retention: 'limits',
  storage: 'file',
  max_bytes: -1,
  max_msg_size: -1,
  allow_direct: false,
};
const BUCKET = {
  ...COMMON,
  max_msgs: -1,
  max_msgs_per_subject: 1,
  discard: 'new',
  deny_delete: true,
  allow_rollup_hdrs: true,
};
const HISTORY = { ...COMMON, max_msgs_per_subject: -1, max_age: 0, discard: 'old' };

const FORMER = {
  leadership: BUCKET,
  liveness: BUCKET,
  snapshots: { ...HISTORY, max_msgs: 256 },
  sizes: { ...HISTORY, max_msgs: 1024 },
  recoveries: { ...HISTORY, max_msgs: 256 },
} as const;

const TTL_MIN_MS = 100;
const DUPLICATE_WINDOW_MAX_MS = 120_000;
/** Of a bucket's messages: one that was garbage must not hide the others. */
const LOOKED_AT = 16;
const VALUE_BYTES_MAX = 65_536;

/** Both buckets hold values of this shape: who it is, and since when. */
const processValue = z.looseObject({ id: z.string(), startedAt: z.iso.datetime() });

/** Every setting is as it was, the TTL being any that could be configured, and everything else is the server's default. */
export function hasFormerSettings(config: StreamConfig, { kind, settings }: WantedStream): boolean {
  const expected: Readonly<Record<string, unknown>> = {
    ...FORMER[kind],
    name: settings.name,
    subjects: settings.subjects,
    ...agesOf(config, kind),
    // Replicas of an existing stream were left as they were.
    num_replicas: config.num_replicas,
  };
  const keys = new Set([...Object.keys(expected), ...Object.keys(config)]);
  return [...keys].every((key) => {
    const has = config[key as keyof StreamConfig];
    if (key in expected) return JSON.stringify(has ?? false) === JSON.stringify(expected[key]);
    return key === 'metadata' ? isOfServer(has) : isDefault(has);
  });
}

/**
 * Some KV clients create buckets with the very same settings, so a bucket with other values than ours is not ours.
 * Histories need no such look: no other application has their subject, limits and settings all alike.
 * @throws the client's error when nobody can say.
 */
export async function holdsFormerValues({ manager }: JetStream, { config, state }: StreamInfo): Promise<boolean> {
  if (config.max_msgs_per_subject !== 1 || state.messages === 0) return true;
  let hasOthers = false;
  for (let seq = state.last_seq; seq >= Math.max(state.first_seq, state.last_seq - LOOKED_AT + 1); seq -= 1) {
    const message = await manager.streams.getMessage(config.name, { seq }).catch(nullIfUnreadable);
    // A deletion's message is empty, in every application's bucket.
    if (message === null || message.data.length === 0) continue;
    if (decodeOrNull(processValue, message.data, VALUE_BYTES_MAX) !== null) return true;
    hasOthers = true;
  }
  return !hasOthers;
}

function agesOf({ max_age, duplicate_window }: StreamConfig, kind: WantedStream['kind']): Partial<StreamConfig> {
  if (kind === 'leadership' || kind === 'liveness') {
    const ttlMs = Math.max(millis(max_age), TTL_MIN_MS);
    return { max_age: nanos(ttlMs), duplicate_window: nanos(Math.min(ttlMs, DUPLICATE_WINDOW_MAX_MS)) };
  }
  // It was left to the server, whose own limit may be shorter than its usual default.
  return { duplicate_window: Math.min(duplicate_window, nanos(DUPLICATE_WINDOW_MAX_MS)) };
}

/** From 2.11 on servers note in the metadata which version they need. */
function isOfServer(metadata: unknown): boolean {
  return Object.keys(metadata ?? {}).every((key) => key.startsWith('_nats.'));
}

/** Servers report unset settings in all these ways; which settings there are differs from version to version. */
function isDefault(value: unknown): boolean {
  if (value === undefined || value === null) return true;
  if (typeof value === 'object') return Object.keys(value).length === 0;
  return [false, 0, -1, '', 'none', 'default'].includes(value as string | number | boolean);
}

function nullIfUnreadable(error: unknown): null {
  if (isMessageMissing(error) || isPermissionDenied(error)) return null;
  throw error;
}
