/** Whose stream stands under a name of ours, and what to say when it is another application's. */
import { millis, type StreamConfig, type StreamInfo } from 'nats';
import { hasFormerSettings, holdsFormerValues } from './former-stream.ts';
import type { JetStream } from './jetstream.ts';
import { MARK_FORMAT, readMark } from './stream-mark.ts';
import type { WantedStream } from './stream-settings.ts';

/**
 * - `ours`: it carries our mark.
 * - `former`: it carries none, but is exactly as versions before the mark created it. It is ours, and is marked.
 * - `later`: it carries the mark of a later version, whose settings this version does not know.
 * - `foreign`: everything else.
 */
export type Ownership = 'ours' | 'former' | 'later' | 'foreign';

/** What stands in the way of one of our streams. Another prefix is the cure; nothing of others is changed or used. */
export class StreamForeignError extends Error {
  readonly code = 'stream-foreign';
  readonly findings: readonly string[];

  /** `prefix`: the one in use. */
  constructor(findings: readonly string[], prefix: string) {
    const cure =
      prefix === ''
        ? '--nats-prefix (NATS_PREFIX), for example --nats-prefix notifi'
        : `--nats-prefix (NATS_PREFIX) than ${JSON.stringify(prefix)}`;
    super(
      `${findings.join('; ')}. Notifi-Scaler neither changes nor uses what other applications created. ` +
        `Start every service of this installation with ${prefix === '' ? 'a' : 'another'} ${cure}.`,
    );
    this.name = 'StreamForeignError';
    this.findings = findings;
  }
}

/** @throws the client's error when nobody can say. */
export async function judgeOwnership(jetStream: JetStream, info: StreamInfo, wanted: WantedStream): Promise<Ownership> {
  const mark = readMark(info.config);
  if (mark !== null) {
    if (mark.kind !== wanted.kind) return 'foreign';
    return mark.format > MARK_FORMAT ? 'later' : 'ours';
  }
  if (!hasFormerSettings(info.config, wanted)) return 'foreign';
  return (await holdsFormerValues(jetStream, info)) ? 'former' : 'foreign';
}

export function describeForeign({ config, state, created }: StreamInfo): string {
  const { description } = config;
  const traits = [
    ...describeRole(config),
    ...(config.subjects?.length ? [`subjects ${config.subjects.join(', ')}`] : []),
    ...(isBucket(config) && config.max_msgs_per_subject > 0 ? [`history ${config.max_msgs_per_subject}`] : []),
    config.max_age === 0 ? 'no maximum age' : `maximum age ${millis(config.max_age)} ms`,
    `${state.messages} messages`,
    `created ${created}`,
    ...(description ? [`description ${JSON.stringify(description)}`] : []),
  ];
  return `${nameStream(config.name)} is not Notifi-Scaler's: expected our mark in its description, got ${traits.join(', ')}`;
}

/** Streams of other names that capture a subject of ours, so that ours cannot be created. Empty: none, or none we may see. */
export async function describeOverlaps({ manager }: JetStream, { settings }: WantedStream): Promise<string[]> {
  const findings: string[] = [];
  for (const subject of settings.subjects) {
    for await (const name of manager.streams.names(subject)) {
      if (name === settings.name) continue;
      const info = await manager.streams.info(name).catch(() => null);
      const theirs = info === null ? '' : ` (subjects ${info.config.subjects?.join(', ')})`;
      findings.push(
        `${nameStream(settings.name)} cannot be created: its subject ${subject} overlaps ${nameStream(name)} ` +
          `of another application${theirs}`,
      );
    }
  }
  return findings;
}

/** Why a stream cannot hold what we publish although it carries our mark; empty: it can. */
export function describeRole({ mirror, sources, sealed, subject_transform }: StreamConfig): string[] {
  return [
    ...(mirror ? [`a mirror of stream ${mirror.name}`] : []),
    ...(sources?.length ? [`fed from ${sources.map(({ name }) => `stream ${name}`).join(', ')}`] : []),
    ...(subject_transform ? ['its subjects are transformed'] : []),
    ...(sealed ? ['sealed'] : []),
  ];
}

/** As people look for it: with `nats kv ls` or with `nats stream ls`. */
export function nameStream(name: string): string {
  return name.startsWith('KV_') ? `bucket "${name.slice(3)}" (stream ${name})` : `stream ${name}`;
}

function isBucket({ name }: StreamConfig): boolean {
  return name.startsWith('KV_');
}
