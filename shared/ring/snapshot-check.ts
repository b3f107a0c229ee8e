/**
 * What makes a ring snapshot valid. Kept apart from snapshot.ts so that each reads on one screen; only snapshot.ts
 * calls it.
 */
import * as z from 'zod';
import { SlotSetError, visitRanges } from './slot-set.ts';
import type { Decoded, Snapshot, WorkerShare } from './snapshot.ts';
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
  /** Each is read by `readShare`: a schema for them takes ten times as long, and fifty workers wait for it. */
  workers: z.array(z.unknown()),
});

/** Checks a parsed message; `slots` is the number the table has, null where that is not known. */
export function checkSnapshot(message: unknown, slots: number | null): Decoded {
  const parsed = schema.safeParse(message);
  if (!parsed.success) return { ok: false, reason: describeIssues(parsed.error.issues, message) };
  const workers: WorkerShare[] = [];
  for (const [index, value] of parsed.data.workers.entries()) {
    const share = readShare(value);
    if (typeof share === 'string') return { ok: false, reason: `workers[${index}]${share}` };
    workers.push(share);
  }
  const snapshot: Snapshot = { ...parsed.data, workers };
  const reason = slotCountProblem(snapshot, slots) ?? sharesProblem(snapshot) ?? rowsProblem(snapshot);
  return reason === null ? { ok: true, snapshot } : { ok: false, reason };
}

/** One worker's share, or what is wrong with it, beginning with the place in it. */
function readShare(value: unknown): WorkerShare | string {
  if (typeof value !== 'object' || value === null) return `: expected {id, rows, slots}, got ${brief(value)}`;
  const { id, rows, slots }: Partial<Record<keyof WorkerShare, unknown>> = value;
  if (typeof id !== 'string') return `.id: expected a string, got ${brief(id)}`;
  const badId = describeBadWorkerId(id);
  if (badId !== null) return `.id: ${badId}`;
  if (!isCount(rows)) return `.rows: expected a whole number from 0, got ${brief(rows)}`;
  if (typeof slots !== 'string') return `.slots: expected a string, got ${brief(slots)}`;
  return { id, rows, slots };
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function slotCountProblem(snapshot: Snapshot, slots: number | null): string | null {
  if (slots === null || snapshot.slots === slots) return null;
  return `expected a snapshot of ${slots} slots, got one of ${snapshot.slots}: it belongs to another table`;
}

/** Every worker once, every slot once. */
function sharesProblem({ workers, slots }: Snapshot): string | null {
  const owners = new Int32Array(slots).fill(-1);
  const seen = new Set<string>();
  let twice: string | null = null;
  for (const [index, { id, slots: text }] of workers.entries()) {
    if (seen.has(id)) return `workers[${index}].id: expected each worker once, got "${id}" again`;
    seen.add(id);
    const bad = problemOf(() =>
      visitRanges(text, slots, (first, last) => {
        for (let slot = first; slot <= last; slot += 1) {
          const other = owners[slot]!;
          if (other >= 0) twice ??= `slot ${slot}: expected one owner, got "${workers[other]!.id}" and "${id}"`;
          owners[slot] = index;
        }
      }),
    );
    if (bad !== null) return `workers[${index}].slots of "${id}": ${bad}`;
    if (twice !== null) return twice;
  }
  if (workers.length === 0 || !owners.includes(-1)) return null;
  const missing = owners.reduce((sum, owner) => sum + (owner < 0 ? 1 : 0), 0);
  return `slot ${owners.indexOf(-1)}: expected an owner, got none (${missing} slots have none)`;
}

function problemOf(read: () => void): string | null {
  try {
    read();
    return null;
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
