import * as z from 'zod';
import { decodeMessage, type Message } from '../message/decode-message.ts';
import { describeBadWorkerId } from '../ring/worker-id.ts';
import type { NatsLink } from './connection.ts';
import { deliver } from './deliver.ts';
import { installationField } from './installation-gate.ts';
import { describeNatsError } from './nats-errors.ts';

/** What a worker tells, once, of the slots that a snapshot gave it. Durations are by its own monotonic clock. */
export interface RingApplied {
  readonly worker: string;
  readonly epoch: number;
  readonly version: number;
  /** From the snapshot in hand to its slots claimed. */
  readonly claimedMs: number;
  /** From the snapshot in hand to the first tick of what was behind; null: no row was. */
  readonly firstTickMs: number | null;
  /** Slots gained; 0: only missed ticks are reported, of rows that stayed or whose takeover went wrong. */
  readonly slots: number;
  /** Rows that the first tick incremented. */
  readonly rows: number;
  /** Ticks missed, as far as that is certain: before the first tick, and others that this worker has not reported yet. */
  readonly missed: number;
  /** Whose worker it is; workers of former versions do not say. */
  readonly installation?: string;
}

/** The message is about 250 bytes; a longer one is not ours. */
const BYTES_MAX = 4096;
/** A claim that took longer tells of a broken clock. */
const LONGEST_MS = 86_400_000;

const count = z.int().min(0);
const duration = z.number().min(0).max(LONGEST_MS);

const schema = z
  .object({
    worker: z.string().refine((id) => describeBadWorkerId(id) === null, { error: 'expected a worker id' }),
    epoch: count,
    version: count,
    claimedMs: duration,
    firstTickMs: duration.nullable(),
    slots: count,
    rows: count,
    missed: count,
    installation: installationField,
  })
  .refine(({ claimedMs, firstTickMs }) => firstTickMs === null || firstTickMs >= claimedMs, {
    error: 'expected the first tick after the claim',
  });

/** Tells it to whoever listens. Not stored, not repeated: nothing depends on it, and it holds up nothing. */
export function publishApplied(link: NatsLink, applied: RingApplied): void {
  // The client would keep it, and send it when it is old news.
  if (!link.isConnected()) return;
  link.connection.publish(link.names.appliedSubject, encodeApplied({ ...applied, ...link.installation.tag }));
}

/** Tells of each such message, and of garbage with the reason. Returns what ends it. */
export function subscribeApplied(link: NatsLink, listener: (received: Message<RingApplied>) => void): () => void {
  const { connection, log, names } = link;
  const subscription = connection.subscribe(names.appliedSubject, {
    callback: (error, message) => {
      if (error === null) {
        const received = decodeApplied(message.data);
        if (received.ok && !link.installation.admits('applied', received.value)) return;
        return deliver(listener, received);
      }
      log.warn({ subject: names.appliedSubject, reason: describeNatsError(error) }, 'takeovers are not heard');
    },
  });
  return () => subscription.unsubscribe();
}

export function encodeApplied(applied: RingApplied): Uint8Array {
  const { worker, epoch, version, claimedMs, firstTickMs, slots, rows, missed, installation } = applied;
  return new TextEncoder().encode(
    JSON.stringify({ worker, epoch, version, claimedMs, firstTickMs, slots, rows, missed, installation }),
  );
}

/** @returns never throws; `reason` says what was expected. */
export function decodeApplied(bytes: Uint8Array): Message<RingApplied> {
  return decodeMessage(schema, bytes, { maxBytes: BYTES_MAX });
}
