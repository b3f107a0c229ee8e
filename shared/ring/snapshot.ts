/**
 * The ring snapshot: the coordinator's decision who owns which slot, as it travels over NATS.
 *
 * A snapshot is whole: it needs no earlier one to be understood, so any may be lost. It is either valid in every part
 * or kept out in every part: a worker never applies half of one. Order comes from (epoch, version) alone, never from
 * `at`, which is for people.
 */
import { readJson } from '../message/decode-message.ts';
import type { Assignment, Movement } from './assignment.ts';
import { encodeSlots, parseSlots } from './slot-set.ts';
import { checkSnapshot } from './snapshot-check.ts';

export type CauseKind = 'bootstrap' | 'leader-changed' | 'worker-joined' | 'worker-left' | 'table-resized' | 'operator';

/** How the coordinator learnt that a worker is gone. */
export type Evidence = 'left' | 'connection-closed' | 'lease-expired' | 'not-ticking' | 'drained';

/**
 * Why a snapshot was made. Where several changes became one snapshot, `others` lists all but the first; they nest no
 * further.
 */
export interface Cause {
  readonly kind: CauseKind;
  readonly worker?: string;
  readonly evidence?: Evidence;
  readonly others?: readonly Cause[];
}

/** Where a snapshot or a claim stands among all others: by epoch, then by version. */
export interface Order {
  readonly epoch: number;
  readonly version: number;
}

export interface WorkerShare {
  readonly id: string;
  readonly rows: number;
  /** A slot set, see slot-set.ts. */
  readonly slots: string;
}

export interface Snapshot extends Order {
  /** ISO 8601, UTC. For people: nothing is decided by it. */
  readonly at: string;
  readonly cause: Cause;
  /** The table's number of slots, a power of two. */
  readonly slots: number;
  /** The table's rows when the snapshot was made; the workers' `rows` add up to it, unless there is no worker. */
  readonly rows: number;
  readonly moved: Movement;
  readonly workers: readonly WorkerShare[];
  /** Whose ring it is; leaders of former versions do not say. Nothing is decided by it here. */
  readonly installation?: string;
}

export type Decoded =
  | { readonly ok: true; readonly snapshot: Snapshot }
  | { readonly ok: false; readonly reason: string };

/** NATS refuses larger messages by default (`max_payload`). */
const MAX_BYTES_DEFAULT = 1024 * 1024;

/** Below zero when `a` comes before `b`, above when after, 0 when they are the same place. */
export function compareOrder(a: Order, b: Order): number {
  return a.epoch === b.epoch ? a.version - b.version : a.epoch - b.epoch;
}

/** Builds the snapshot of an assignment; pure, the clock's time comes in as `at`. */
export function makeSnapshot(args: {
  readonly order: Order;
  readonly at: string;
  readonly cause: Cause;
  readonly assignment: Assignment;
  readonly weights: ArrayLike<number>;
  readonly moved: Movement;
}): Snapshot {
  const { owners, workers } = args.assignment;
  const slices: number[][] = workers.map(() => []);
  const rows = new Array<number>(workers.length).fill(0);
  let total = 0;
  owners.forEach((owner, slot) => {
    const weight = args.weights[slot] ?? 0;
    total += weight;
    if (owner < 0) return;
    slices[owner]!.push(slot);
    rows[owner]! += weight;
  });
  return {
    version: args.order.version,
    epoch: args.order.epoch,
    at: args.at,
    cause: args.cause,
    slots: owners.length,
    rows: total,
    moved: args.moved,
    workers: workers.map((id, index) => ({ id, rows: rows[index]!, slots: encodeSlots(slices[index]!) })),
  };
}

/** The message's bytes: JSON, its fields in the order of DESIGN §4 whatever order the object's are in. */
export function encodeSnapshot(s: Snapshot): Uint8Array {
  const { slots, rows, minimumRows } = s.moved;
  const message = {
    version: s.version,
    epoch: s.epoch,
    at: s.at,
    ...(s.installation !== undefined && { installation: s.installation }),
    cause: inOrder(s.cause),
    slots: s.slots,
    rows: s.rows,
    moved: { slots, rows, minimumRows },
    workers: s.workers.map((worker) => ({ id: worker.id, rows: worker.rows, slots: worker.slots })),
  };
  return new TextEncoder().encode(JSON.stringify(message));
}

function inOrder(cause: Cause): Cause {
  return {
    kind: cause.kind,
    ...(cause.worker !== undefined && { worker: cause.worker }),
    ...(cause.evidence !== undefined && { evidence: cause.evidence }),
    ...(cause.others !== undefined && { others: cause.others.map(inOrder) }),
  };
}

/**
 * Reads and checks a message whole: size, JSON, fields, ids, and that every slot has exactly one owner when there are
 * workers. Unknown fields are left out, so that a newer coordinator may add some.
 *
 * @param expect `slots`: the table's number of slots, null where it is not known yet; `maxBytes`: 1 MiB by default.
 * @returns never throws; `reason` says what was expected and what came. A bad message stays bad: retrying cannot help.
 */
export function decodeSnapshot(
  bytes: Uint8Array,
  expect: { readonly slots: number | null; readonly maxBytes?: number },
): Decoded {
  const read = readJson(bytes, expect.maxBytes ?? MAX_BYTES_DEFAULT);
  return read.ok ? checkSnapshot(read.value, expect.slots) : read;
}

/** The slots of one worker, ascending; `[]` when the snapshot does not name it. */
export function sliceOf(s: Snapshot, worker: string): readonly number[] {
  const share = s.workers.find(({ id }) => id === worker);
  return share === undefined ? [] : parseSlots(share.slots, s.slots);
}

/** The assignment a snapshot carries, as the `previous` of the next one. */
export function toAssignment(s: Snapshot): Assignment {
  const owners = new Int32Array(s.slots).fill(-1);
  s.workers.forEach((share, index) => {
    for (const slot of parseSlots(share.slots, s.slots)) owners[slot] = index;
  });
  return { workers: s.workers.map(({ id }) => id), owners };
}

/** A cause in a few words: `worker-left worker-7c9f-x2x`, `table-resized`, `worker-joined a and 2 more`. */
export function describeCause(c: Cause): string {
  const first = c.worker === undefined ? c.kind : `${c.kind} ${c.worker}`;
  const more = c.others?.length ?? 0;
  return more === 0 ? first : `${first} and ${more} more`;
}
