/**
 * What makes a ring snapshot valid. Kept apart from snapshot.ts so that each reads on one screen; only snapshot.ts
 * calls it.
 *
 * Read by hand, other than all other messages: between a worker's death and the claims of its slots, every worker reads one,
 * and a schema for it took longer than all else in it (measured: 0.2 ms of 0.5 ms; fifty workers share the processors).
 */
import { SlotSetError, visitRanges } from './slot-set.ts';
import type { Cause, CauseKind, Decoded, Evidence, Snapshot, WorkerShare } from './snapshot.ts';
import { describeBadWorkerId } from './worker-id.ts';

/** Far above any sensible table, far below what would exhaust memory. */
const SLOTS_MAX = 2 ** 20;
/** As in shared/nats/installation-gate.ts. */
const INSTALLATION_MAX = 1_024;
const TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z$/;
const CAUSES: ReadonlySet<unknown> = new Set<CauseKind>([
  'bootstrap',
  'leader-changed',
  'worker-joined',
  'worker-left',
  'table-resized',
  'operator',
]);
const EVIDENCE: ReadonlySet<unknown> = new Set<Evidence>([
  'left',
  'connection-closed',
  'lease-expired',
  'not-ticking',
  'drained',
]);

/** Its message says where in the snapshot, what was expected and what came. */
class Misfit extends Error {}

type Fields = Readonly<Record<string, unknown>>;

/** Checks a parsed message; `slots` is the number the table has, null where that is not known. */
export function checkSnapshot(message: unknown, slots: number | null): Decoded {
  try {
    const snapshot = readSnapshot(message);
    if (slots !== null && snapshot.slots !== slots) {
      throw new Misfit(
        `expected a snapshot of ${slots} slots, got one of ${snapshot.slots}: it belongs to another table`,
      );
    }
    checkShares(snapshot);
    checkRows(snapshot);
    return { ok: true, snapshot };
  } catch (error) {
    if (error instanceof Misfit) return { ok: false, reason: error.message };
    throw error;
  }
}

function readSnapshot(message: unknown): Snapshot {
  const fields = readFields(message, 'message', 'a ring snapshot');
  const { at, moved, slots, installation } = fields;
  if (typeof at !== 'string' || !TIME.test(at) || Number.isNaN(Date.parse(at))) {
    throw misfit('at', 'a time in ISO 8601, UTC', at);
  }
  if (!isCount(slots) || slots < 1 || slots > SLOTS_MAX)
    throw misfit('slots', `a number from 1 to ${SLOTS_MAX}`, slots);
  if ((slots & (slots - 1)) !== 0) throw misfit('slots', 'a power of two', slots);
  if (installation !== undefined && (typeof installation !== 'string' || installation.length > INSTALLATION_MAX)) {
    throw misfit('installation', `a string of at most ${INSTALLATION_MAX} characters`, installation);
  }
  const movement = readFields(moved, 'moved', '{slots, rows, minimumRows}');
  return {
    version: readCount(fields.version, 'version'),
    epoch: readCount(fields.epoch, 'epoch'),
    at,
    cause: readCause(fields.cause, 'cause'),
    slots,
    rows: readCount(fields.rows, 'rows'),
    moved: {
      slots: readCount(movement.slots, 'moved.slots'),
      rows: readCount(movement.rows, 'moved.rows'),
      minimumRows: readCount(movement.minimumRows, 'moved.minimumRows'),
    },
    workers: readList(fields.workers, 'workers').map(readShare),
    ...(installation !== undefined && { installation }),
  };
}

function readCause(value: unknown, place: string, nesting: 'outer' | 'inner' = 'outer'): Cause {
  const { kind, worker, evidence, others } = readFields(value, place, 'a cause');
  if (!CAUSES.has(kind)) throw misfit(`${place}.kind`, `one of ${[...CAUSES].join(', ')}`, kind);
  if (evidence !== undefined && !EVIDENCE.has(evidence)) {
    throw misfit(`${place}.evidence`, `one of ${[...EVIDENCE].join(', ')}`, evidence);
  }
  if (others !== undefined && nesting === 'inner') {
    throw new Misfit(`${place}.others: causes nest one level deep: expected no "others" here`);
  }
  return {
    kind: kind as CauseKind,
    ...(worker !== undefined && { worker: readWorkerId(worker, `${place}.worker`) }),
    ...(evidence !== undefined && { evidence: evidence as Evidence }),
    ...(others !== undefined && {
      others: readList(others, `${place}.others`).map((other, index) =>
        readCause(other, `${place}.others[${index}]`, 'inner'),
      ),
    }),
  };
}

function readShare(value: unknown, index: number): WorkerShare {
  const place = `workers[${index}]`;
  const { id, rows, slots } = readFields(value, place, '{id, rows, slots}');
  if (typeof slots !== 'string') throw misfit(`${place}.slots`, 'a string', slots);
  return { id: readWorkerId(id, `${place}.id`), rows: readCount(rows, `${place}.rows`), slots };
}

/** Every worker once, every slot once. */
function checkShares({ workers, slots }: Snapshot): void {
  const owners = new Int32Array(slots).fill(-1);
  const seen = new Set<string>();
  let index = 0;
  const take = (first: number, last: number) => {
    for (let slot = first; slot <= last; slot += 1) {
      const other = owners[slot]!;
      if (other >= 0) {
        throw new Misfit(`slot ${slot}: expected one owner, got "${workers[other]!.id}" and "${workers[index]!.id}"`);
      }
      owners[slot] = index;
    }
  };
  try {
    for (; index < workers.length; index += 1) {
      const { id, slots: text } = workers[index]!;
      if (seen.has(id)) throw new Misfit(`workers[${index}].id: expected each worker once, got "${id}" again`);
      seen.add(id);
      visitRanges(text, slots, take);
    }
  } catch (error) {
    if (!(error instanceof SlotSetError)) throw error;
    throw new Misfit(`workers[${index}].slots of "${workers[index]!.id}": ${error.message}`);
  }
  if (workers.length === 0 || !owners.includes(-1)) return;
  const missing = owners.reduce((sum, owner) => sum + (owner < 0 ? 1 : 0), 0);
  throw new Misfit(`slot ${owners.indexOf(-1)}: expected an owner, got none (${missing} slots have none)`);
}

function checkRows({ workers, rows }: Snapshot): void {
  if (workers.length === 0) return;
  const sum = workers.reduce((total, worker) => total + worker.rows, 0);
  if (sum !== rows) throw new Misfit(`rows: expected the workers' rows to add up to ${rows}, got ${sum}`);
}

function readFields(value: unknown, place: string, expected: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw misfit(place, expected, value);
  return value as Fields;
}

function readList(value: unknown, place: string): readonly unknown[] {
  if (!Array.isArray(value)) throw misfit(place, 'a list', value);
  return value;
}

function readCount(value: unknown, place: string): number {
  if (!isCount(value)) throw misfit(place, 'a whole number from 0', value);
  return value;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function readWorkerId(value: unknown, place: string): string {
  if (typeof value !== 'string') throw misfit(place, 'a string', value);
  const bad = describeBadWorkerId(value);
  if (bad !== null) throw new Misfit(`${place}: ${bad}`);
  return value;
}

function misfit(place: string, expected: string, value: unknown): Misfit {
  return new Misfit(`${place}: expected ${expected}, got ${brief(value)}`);
}

/** Structures are named, not printed: a hostile one may be nested too deeply to print. */
function brief(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
