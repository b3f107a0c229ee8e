/**
 * The mark that makes a stream or bucket Notifi-Scaler's own: without it, neither is changed or used.
 *
 * The mark stands in the description, which every server keeps and `nats stream ls` shows, and again in the metadata of
 * servers that keep metadata. Either one is enough, so an edited description does not disown a stream.
 */
import type { StreamConfig } from 'nats';

export type StreamKind = 'leadership' | 'liveness' | 'recoveries' | 'sizes' | 'snapshots';

/** Everything the mark says. A field added here appears in the description and in the metadata. */
export interface StreamMark {
  /** Of the streams' settings. Raise it when earlier versions must not set back what a new version sets. */
  readonly format: number;
  /** A `StreamKind`; a later version may know others. */
  readonly kind: string;
}

/** 2: streams have a size. */
export const MARK_FORMAT = 2;

const METADATA_PREFIX = 'notifi-scaler.';
const IN_DESCRIPTION = /\s*\[notifi-scaler((?: [a-z]+=[^\s\]]+)+)\]/;
/** Of the JetStream server. */
const DESCRIPTION_MAX_BYTES = 4096;

const PURPOSES: Readonly<Record<StreamKind, string>> = {
  leadership: 'which coordinator leads',
  liveness: 'which workers are alive',
  recoveries: 'how long each disruption took',
  sizes: 'how many rows the table has',
  snapshots: 'which worker has which slots',
};

type Marked = Pick<StreamConfig, 'description' | 'metadata'>;

/** Null: not ours. Where description and metadata differ, the later format counts. */
export function readMark({ description = '', metadata = {} }: Marked): StreamMark | null {
  const pairs = (IN_DESCRIPTION.exec(description)?.[1] ?? '').trim().split(' ');
  const described = toMark(new Map(pairs.map((pair) => splitOnce(pair))));
  const kept = Object.entries(metadata).filter(([key]) => key.startsWith(METADATA_PREFIX));
  const recorded = toMark(new Map(kept.map(([key, value]) => [key.slice(METADATA_PREFIX.length), value])));
  if (described === null || recorded === null) return described ?? recorded;
  return described.format > recorded.format ? described : recorded;
}

/** The description and metadata of our stream. An operator's words in the description and other metadata stay. */
export function writeMark(kind: StreamKind, current: Marked, { keepsMetadata }: { keepsMetadata: boolean }): Marked {
  const mark: StreamMark = { format: MARK_FORMAT, kind };
  const fields = Object.entries(mark).map(([name, value]) => [name, String(value)] as const);
  const inBrackets = `[notifi-scaler ${fields.map(([name, value]) => `${name}=${value}`).join(' ')}]`;
  const words = (current.description ?? '').replace(IN_DESCRIPTION, '').trim();
  const own = `Notifi-Scaler: ${PURPOSES[kind]} ${inBrackets}`;
  const theirs = `${words} ${inBrackets}`;
  const description = words === '' || Buffer.byteLength(theirs) > DESCRIPTION_MAX_BYTES ? own : theirs;
  if (!keepsMetadata) return { description };
  const metadata = Object.fromEntries(fields.map(([name, value]) => [`${METADATA_PREFIX}${name}`, value]));
  return { description, metadata: { ...current.metadata, ...metadata } };
}

function toMark(fields: ReadonlyMap<string, string>): StreamMark | null {
  const [format, kind] = [Number(fields.get('format')), fields.get('kind')];
  return Number.isInteger(format) && format > 0 && kind !== undefined ? { format, kind } : null;
}

function splitOnce(pair: string): [string, string] {
  const at = pair.indexOf('=');
  return [pair.slice(0, at), pair.slice(at + 1)];
}
