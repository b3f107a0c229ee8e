/** One try at creating a stream of ours, or bringing an existing one to the settings wanted. Only our own is changed. */
import type { StreamConfig, StreamInfo } from 'nats';
import { adviseOnLimit, describeStorage, isSpaceRefused } from './account-limits.ts';
import type { NatsLink } from './connection.ts';
import type { JetStream } from './jetstream.ts';
import {
  describeNatsError,
  isApiError,
  isImmutableSetting,
  isPermissionDenied,
  isStreamMissing,
  isStreamNameInUse,
  isSubjectOverlap,
  isTemporary,
} from './nats-errors.ts';
import { writeMark } from './stream-mark.ts';
import {
  describeForeign,
  describeOverlaps,
  describeRole,
  judgeOwnership,
  nameStream,
  type Ownership,
  StreamForeignError,
} from './stream-ownership.ts';
import type { WantedStream } from './stream-settings.ts';

/** A stream of ours cannot be created, or not be brought to the settings needed. The message says what to do. */
export class StreamUnfitError extends Error {
  readonly code = 'stream-unfit';

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'StreamUnfitError';
  }
}

export interface RestoredStream {
  readonly info: StreamInfo;
  /** All that it held is gone, and its sequences begin again. */
  readonly wasMissing: boolean;
}

export interface OpenedStream extends RestoredStream {
  readonly ownership: Exclude<Ownership, 'foreign'>;
}

/**
 * Idempotent; several processes may do it at once.
 * @throws {StreamForeignError} when it is another application's, or its subjects are.
 * @throws {StreamUnfitError} when waiting cannot help.
 * @throws the client's error when trying again may help, or when a permission is denied.
 */
export async function restoreStream(link: NatsLink, jetStream: JetStream, wanted: WantedStream): Promise<OpenedStream> {
  const { manager } = jetStream;
  const { name } = wanted.settings;
  let info: StreamInfo | null = null;
  try {
    info = await manager.streams.info(name).catch(nullIfMissing);
    const wasMissing = info === null;
    info ??= await createStream(link, jetStream, wanted);
    const ownership = await judgeOwnership(jetStream, info, wanted);
    if (ownership === 'foreign') throw new StreamForeignError([describeForeign(info)], link.names.prefix);
    refuseUnusable(info, wanted, ownership);
    return { info: await correctStream(link, { jetStream, info, wanted, ownership }), wasMissing, ownership };
  } catch (error) {
    if (isSubjectOverlap(error)) throw await overlapError(link, jetStream, wanted);
    const mayPass = isTemporary(error) || isPermissionDenied(error) || isStreamMissing(error) || !isApiError(error);
    throw mayPass ? error : await unfitError(error, { jetStream, wanted, isExisting: info !== null });
  }
}

async function createStream(link: NatsLink, { manager }: JetStream, wanted: WantedStream): Promise<StreamInfo> {
  const { settings, kind, replicas } = wanted;
  const mark = writeMark(kind, {}, { keepsMetadata: keepsMetadata(link) });
  try {
    const info = await manager.streams.add({ ...settings, ...mark, num_replicas: replicas ?? 1 });
    link.log.info({ stream: settings.name, subjects: settings.subjects }, 'stream created');
    return info;
  } catch (error) {
    if (!isStreamNameInUse(error)) throw error;
    // Another process created it meanwhile, in its own way.
    return manager.streams.info(settings.name);
  }
}

interface Correction {
  readonly jetStream: JetStream;
  readonly info: StreamInfo;
  readonly wanted: WantedStream;
  readonly ownership: Exclude<Ownership, 'foreign'>;
}

/** Sends only what differs, and logs what the server made of it. */
async function correctStream(link: NatsLink, { jetStream, info, wanted, ownership }: Correction): Promise<StreamInfo> {
  const { config } = info;
  const target =
    ownership === 'later' ? optionsOf(config, wanted) : { ...wanted.settings, ...markOf(link, info, wanted) };
  const replicas = wanted.replicas === undefined ? {} : { num_replicas: wanted.replicas };
  // Managed by hand, or chosen for another service: an unasked default does not change it.
  const keepsSize = !wanted.isSizeChosen && config.max_bytes > 0;
  const differing = Object.entries({ ...target, ...replicas }).filter(
    ([key, value]) => !isSame(config, key, value) && !(keepsSize && key === 'max_bytes'),
  );
  if (differing.length === 0) return info;
  try {
    const changed = await updateStream(link, { jetStream, config, wanted }, Object.fromEntries(differing));
    const changes = differing.flatMap(([key]) => {
      const [from, to] = [config, changed.config].map((each) => each[key as keyof StreamConfig]);
      return JSON.stringify(from) === JSON.stringify(to) ? [] : [[key, { from: from ?? null, to: to ?? null }]];
    });
    const message = ownership === 'former' ? 'stream of an earlier version adopted' : 'stream settings changed';
    if (changes.length > 0) link.log.info({ stream: config.name, changes: Object.fromEntries(changes) }, message);
    return changed;
  } catch (error) {
    // It is ours all the same: somebody with more rights brings it to these settings.
    if (isPermissionDenied(error)) return info;
    throw error;
  }
}

/** Without a size where there is no room to reserve it: the stream worked without one, and an upgrade must not stop it. */
async function updateStream(
  link: NatsLink,
  at: { readonly jetStream: JetStream; readonly config: StreamConfig; readonly wanted: WantedStream },
  change: Partial<StreamConfig>,
): Promise<StreamInfo> {
  const { jetStream, config, wanted } = at;
  const { manager } = jetStream;
  try {
    return await manager.streams.update(config.name, change);
  } catch (error) {
    const { max_bytes, ...others } = change;
    if (max_bytes === undefined || wanted.isSizeChosen || !isSpaceRefused(error)) throw error;
    const changed = await manager.streams.update(config.name, others);
    const advice = `${await describeStorage(manager)}${adviseOnLimit(error) ?? ''}`;
    const fields = { stream: config.name, maxBytes: max_bytes, reason: describeNatsError(error), advice };
    link.log.warn(fields, 'no space reserved for the stream: a neighbour can fill the storage that it needs');
    return changed;
  }
}

/** A later version may set everything else in its own way, and this one must not set it back. */
function optionsOf({ max_age }: StreamConfig, { settings }: WantedStream): Partial<StreamConfig> {
  const { duplicate_window } = settings;
  const isBucket = duplicate_window !== undefined;
  return isBucket && max_age !== settings.max_age ? { max_age: settings.max_age ?? 0, duplicate_window } : {};
}

function markOf(link: NatsLink, { config }: StreamInfo, { kind }: WantedStream): Partial<StreamConfig> {
  return writeMark(kind, config, { keepsMetadata: keepsMetadata(link) });
}

/** Older servers drop metadata silently, and the client refuses to send it to them. */
function keepsMetadata({ connection }: NatsLink): boolean {
  const [major = 0, minor = 0] = (connection.info?.version ?? '').split('.').map(Number);
  return major > 2 || (major === 2 && minor >= 10);
}

function isSame(config: StreamConfig, key: string, value: unknown): boolean {
  // Servers leave out what is false.
  const has = config[key as keyof StreamConfig] ?? false;
  if (key !== 'metadata') return JSON.stringify(has) === JSON.stringify(value);
  // In any order, and servers add keys of their own.
  return Object.entries(value as object).every(([name, text]) => config.metadata?.[name] === text);
}

async function overlapError(link: NatsLink, jetStream: JetStream, wanted: WantedStream): Promise<StreamForeignError> {
  const { name, subjects } = wanted.settings;
  const unknown =
    `${nameStream(name)} cannot be used: its subjects ${subjects.join(', ')} overlap a stream of another application, ` +
    'which this login may not see (nats stream ls shows it)';
  const findings = await describeOverlaps(jetStream, wanted).catch(() => []);
  return new StreamForeignError(findings.length > 0 ? findings : [unknown], link.names.prefix);
}

/** It carries our mark, and still cannot hold what we publish. */
function refuseUnusable({ config }: StreamInfo, { settings }: WantedStream, ownership: Ownership): void {
  const { name, subjects } = settings;
  const role = describeRole(config);
  if (role.length > 0) {
    throw new StreamUnfitError(
      `${nameStream(name)} carries our mark, but is ${role.join(', ')}: expected a stream that only Notifi-Scaler ` +
        `publishes to. Delete it (nats stream rm ${name}): it is created again. Or give another --nats-prefix.`,
    );
  }
  if (ownership === 'later' && JSON.stringify(config.subjects) !== JSON.stringify(subjects)) {
    throw new StreamUnfitError(
      `${nameStream(name)} was created by a later version of Notifi-Scaler: expected subjects ${subjects.join(', ')}, ` +
        `got ${config.subjects?.join(', ')}. Run that version everywhere, or give another --nats-prefix.`,
    );
  }
}

async function unfitError(
  error: unknown,
  at: { readonly jetStream: JetStream; readonly wanted: WantedStream; readonly isExisting: boolean },
): Promise<StreamUnfitError> {
  const { jetStream, wanted, isExisting } = at;
  const { settings } = wanted;
  const { name } = settings;
  const advice = adviseOnLimit(error);
  if (advice !== null) {
    const size = `${nameStream(name)} cannot be ${isExisting ? 'changed' : 'created'}: ${describeNatsError(error)}`;
    const asked = `it is to have ${settings.max_bytes} bytes on ${wanted.replicas ?? 1} servers`;
    const storage = isSpaceRefused(error) ? await describeStorage(jetStream.manager) : '';
    return new StreamUnfitError(`${size}; ${asked}. ${storage}${advice}`, { cause: error });
  }
  const cure =
    isExisting && isImmutableSetting(error)
      ? ` Delete it (nats stream rm ${name}): it is created again, and nothing depends on what it holds.`
      : '';
  const message = `${nameStream(name)} cannot be used: ${describeNatsError(error)}.`;
  return new StreamUnfitError(`${message} Expected ${JSON.stringify(settings)}.${cure}`, { cause: error });
}

function nullIfMissing(error: unknown): null {
  if (isStreamMissing(error)) return null;
  throw error;
}
