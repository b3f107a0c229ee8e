import * as z from 'zod';
import { decodeMessage, type Message } from '../message/decode-message.ts';
import { describeBadWorkerId } from '../ring/worker-id.ts';
import { installationField } from './installation-gate.ts';

/** What a worker says of itself: the value of its liveness key, and the reply to its probe (DESIGN §4). */
export interface Liveness {
  readonly id: string;
  /** ISO time of the process's start; with the id it tells two processes of one id apart. */
  readonly startedAt: string;
  /** Version of the snapshot applied; 0: none yet. */
  readonly ring: number;
  /** The last tick done, a second of the database's clock; 0: none yet. */
  readonly tick: number;
  readonly rows: number;
  /** Drained: it lives on and wants no slots; leaving: it ends as soon as others have them. */
  readonly state: 'active' | 'drained' | 'leaving';
  /** Rows that get no ticks; workers of an earlier version do not say. */
  readonly blocked?: number;
  /** Whose worker it is; workers of former versions do not say. */
  readonly installation?: string;
}

/** The value is about 250 bytes; a longer one is not ours. */
const BYTES_MAX = 4096;

const count = z.int().min(0);

const schema = z.object({
  id: z.string(),
  startedAt: z.iso.datetime(),
  ring: count,
  tick: count,
  rows: count,
  state: z.enum(['active', 'drained', 'leaving']),
  blocked: z.exactOptional(count),
  installation: installationField,
});

export function encodeLiveness(value: Liveness): Uint8Array {
  const { id, startedAt, ring, tick, rows, state, blocked, installation } = value;
  return new TextEncoder().encode(JSON.stringify({ id, startedAt, ring, tick, rows, state, blocked, installation }));
}

/**
 * Reads and checks a liveness value; `key` is where it was found, and must be the id it names. Unknown fields are left
 * out, so that a newer worker may add some.
 * @returns never throws; `reason` says what was expected and what came.
 */
export function decodeLiveness(key: string, bytes: Uint8Array): Message<Liveness> {
  const badKey = describeBadWorkerId(key);
  if (badKey !== null) return { ok: false, reason: badKey };
  const decoded = decodeMessage(schema, bytes, { maxBytes: BYTES_MAX });
  if (!decoded.ok || decoded.value.id === key) return decoded;
  return { ok: false, reason: `expected the id of its key, ${JSON.stringify(key)}, got ${quote(decoded.value.id)}` };
}

/** Shortened: what came may be anything. */
function quote(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}
