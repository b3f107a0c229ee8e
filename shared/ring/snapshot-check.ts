/**
 * What makes a ring snapshot valid. Kept apart from snapshot.ts so that each reads on one screen; only snapshot.ts
 * calls it.
 */
import * as z from 'zod';
import { parseSlots, SlotSetError } from './slot-set.ts';
import type { Decoded, Snapshot } from './snapshot.ts';
import { describeBadWorkerId } from './worker-id.ts';

/** Far above any sensible table, far below what would exhaust memory. */
const SLOTS_MAX = 2 ** 20;

const count = z.int().min(0);

const workerId = z.string().superRefine((id, context) => {
  const reason = describeBadWorkerId(id);
  if (reason !== null) context.addIssue({ code: 'custom', message: reason });
});

const plainCause = z.object({
  kind: z.enum(['bootstrap', 'leader-changed', 'worker-joined', 'worker-left', 'table-resized', 'operator']),
  worker: workerId.exactOptional(),
  evidence: z.enum(['left', 'connection-closed', 'lease-expired', 'not-ticking', 'drained']).exactOptional(),
});

const nestedCause = plainCause.extend({
  others: z.never({ error: 'causes nest one level deep: expected no "others" here' }).exactOptional(),
});

const schema = z.object({
  version: count,
  epoch: count,
  at: z.iso.datetime(),
  cause: plainCause.extend({ others: z.array(nestedCause).exactOptional() }),
  slots: z
    .int()
    .min(1)
    .max(SLOTS_MAX)
    .refine((slots) => (slots & (slots - 1)) === 0, { error: 'expected a power of two' }),
  rows: count,
  moved: z.object({ slots: count, rows: count, minimumRows: count }),
  workers: z.array(z.object({ id: workerId, rows: count, slots: z.string() })),
});

/** Checks a parsed message; `slots` is the number the table has, null where that is not known. */
export function checkSnapshot(message: unknown, slots: number | null): Decoded {
  const parsed = schema.safeParse(message);
  if (!parsed.success) return { ok: false, reason: describeIssues(parsed.error.issues, message) };
  const snapshot: Snapshot = parsed.data;
  const reason = slotCountProblem(snapshot, slots) ?? sharesProblem(snapshot) ?? rowsProblem(snapshot);
  return reason === null ? { ok: true, snapshot } : { ok: false, reason };
}

function slotCountProblem(snapshot: Snapshot, slots: number | null): string | null {
  if (slots === null || snapshot.slots === slots) return null;
  return `expected a snapshot of ${slots} slots, got one of ${snapshot.slots}: it belongs to another table`;
}

/** Every worker once, every slot once. */
function sharesProblem(snapshot: Snapshot): string | null {
  const { workers } = snapshot;
  const owners = new Int32Array(snapshot.slots).fill(-1);
  const seen = new Set<string>();
  for (const [index, worker] of workers.entries()) {
    if (seen.has(worker.id)) return `workers[${index}].id: expected each worker once, got "${worker.id}" again`;
    seen.add(worker.id);
    const slice = readSlice(worker.slots, snapshot.slots);
    if (typeof slice === 'string') return `workers[${index}].slots of "${worker.id}": ${slice}`;
    for (const slot of slice) {
      const other = owners[slot]!;
      if (other >= 0) return `slot ${slot}: expected one owner, got "${workers[other]!.id}" and "${worker.id}"`;
      owners[slot] = index;
    }
  }
  if (workers.length === 0) return null;
  const missing = owners.reduce((sum, owner) => sum + (owner < 0 ? 1 : 0), 0);
  return missing === 0 ? null : `slot ${owners.indexOf(-1)}: expected an owner, got none (${missing} slots have none)`;
}

function readSlice(text: string, slots: number): number[] | string {
  try {
    return parseSlots(text, slots);
  } catch (error) {
    if (error instanceof SlotSetError) return error.message;
    throw error;
  }
}

function rowsProblem(snapshot: Snapshot): string | null {
  if (snapshot.workers.length === 0) return null;
  const sum = snapshot.workers.reduce((total, worker) => total + worker.rows, 0);
  return sum === snapshot.rows ? null : `rows: expected the workers' rows to add up to ${snapshot.rows}, got ${sum}`;
}

function describeIssues(issues: readonly z.core.$ZodIssue[], message: unknown): string {
  const [first] = issues;
  if (first === undefined) return 'expected a ring snapshot';
  const path = first.path.map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`)).join('');
  const found = first.path.reduce<unknown>((value, key) => Reflect.get(Object(value), key), message);
  const where = path === '' ? 'message' : path.replace(/^\./, '');
  const more = issues.length > 1 ? ` (and ${issues.length - 1} more problems)` : '';
  return `${where}: ${first.message}, got ${brief(found)}${more}`;
}

/** Structures are named, not printed: a hostile one may be nested too deeply to print. */
function brief(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
