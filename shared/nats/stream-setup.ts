/** Opens streams and buckets, waiting for JetStream where it is not there yet. */
import { setTimeout as wait } from 'node:timers/promises';
import { WaitingNotice } from '../process/waiting-notice.ts';
import { adviseOnLimit } from './account-limits.ts';
import type { NatsLink } from './connection.ts';
import { type JetStream, useJetStream } from './jetstream.ts';
import { describeNatsError, isPermissionDenied, isStreamMissing, isTemporary } from './nats-errors.ts';
import { restoreStream } from './restored-stream.ts';
import { readMark } from './stream-mark.ts';
import { describeForeign, describeOverlaps, judgeOwnership, StreamForeignError } from './stream-ownership.ts';
import type { WantedStream } from './stream-settings.ts';

const RETRY_MIN_MS = 50;
const RETRY_MAX_MS = 1_000;

/**
 * Looks at everything that is about to be opened, before any of it is created: an installation that cannot start here
 * leaves nothing behind. Waits for JetStream indefinitely and says so.
 * @throws {StreamForeignError} naming all that is another application's.
 */
export async function refuseForeignStreams(link: NatsLink, wanted: readonly WantedStream[]): Promise<void> {
  const jetStream = await useJetStream(link);
  const findings: string[] = [];
  for (const each of wanted) {
    const found = await untilAnswered(link, each, () => findForeign(jetStream, each));
    findings.push(...(found ?? []));
  }
  if (findings.length > 0) throw new StreamForeignError(findings, link.names.prefix);
}

/**
 * Creates a stream or updates its differing settings. Waits for JetStream indefinitely and says so. A client that may not
 * see the stream takes it as it is. Idempotent; several processes may do it at once.
 * @throws {StreamForeignError} when it is another application's, or its subjects are.
 * @throws {StreamUnfitError} when waiting cannot help.
 */
export async function openStream(link: NatsLink, jetStream: JetStream, wanted: WantedStream): Promise<void> {
  const opened = await untilAnswered(link, wanted, () => restoreStream(link, jetStream, wanted));
  if (opened?.ownership !== 'later') return;
  const { config } = opened.info;
  const fields = { stream: config.name, mark: readMark(config) };
  link.log.info(fields, 'stream of a later version opened, its settings left as they are');
}

async function findForeign(jetStream: JetStream, wanted: WantedStream): Promise<string[]> {
  const info = await jetStream.manager.streams.info(wanted.settings.name).catch(nullIfMissing);
  // A login that may not list streams learns of an overlap when it creates its own.
  if (info === null) return describeOverlaps(jetStream, wanted).catch(emptyIfDenied);
  return (await judgeOwnership(jetStream, info, wanted)) === 'foreign' ? [describeForeign(info)] : [];
}

/** Tries until JetStream answers. Null: the permission is denied, which the link logs. */
async function untilAnswered<Value>(
  link: NatsLink,
  wanted: WantedStream,
  ask: () => Promise<Value>,
): Promise<Value | null> {
  const { name } = wanted.settings;
  const notice = new WaitingNotice(link.log, link.onWait);
  for (let retryMs = RETRY_MIN_MS; ; retryMs = Math.min(2 * retryMs, RETRY_MAX_MS)) {
    link.signal?.throwIfAborted();
    try {
      return await ask();
    } catch (error) {
      if (isPermissionDenied(error)) return null;
      if (!isTemporary(error)) throw error;
      const reason = describeNatsError(error);
      const advice = adviseOnLimit(error);
      const remedy = advice === null ? '' : `. ${advice}`;
      notice.say({ stream: name, reason }, `waiting for JetStream to open stream ${name} (${reason})${remedy}`);
    }
    await wait(retryMs, undefined, { signal: link.signal });
  }
}

function nullIfMissing(error: unknown): null {
  if (isStreamMissing(error)) return null;
  throw error;
}

function emptyIfDenied(error: unknown): string[] {
  if (isPermissionDenied(error)) return [];
  throw error;
}
