import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type AdoptionRecord, hasNamespace, hasRelation, readRecord, requireSameTable } from './adoption-record.ts';
import type { PostgresLink } from './connection.ts';
import { stateOf } from './failure.ts';
import { migrate } from './migrate.ts';
import { isTableEquipped, type MigrationContext } from './migrations.ts';
import {
  type Ask,
  coordinatorPrivileges,
  createInDatabase,
  createInSchema,
  requirePrivileges,
  workerPrivileges,
} from './privileges.ts';
import type { Session } from './session.ts';
import { describeTable, quoteName, TableError, type TableNames } from './table.ts';
import { findMisfit, findSimilarTable, readTableShape, type TableShape } from './table-shape.ts';

/** What was settled when the table was adopted. */
export interface Adoption {
  /** A power of two; baked into the index and the triggers. */
  readonly slots: number;
}

interface AdoptionRequest {
  readonly names: TableNames;
  /** Counts at the first adoption only: what was recorded then wins. */
  readonly slots: number;
  readonly log: Logger;
}

const LOCK_KEY = '7307767123520511602';
const LOCK_RETRY_MS = 100;
/** As in shared/ring/worker-id.ts. */
const LONGEST_WORKER_ID = 128;
const MOST_SLOTS = 2 ** 20;
const SAY_EVERY_MS = 5_000;

/**
 * Makes the table where it does not exist, checks it, and makes what it lacks. Idempotent: a second run changes nothing.
 * Safe in any number of processes at once: one works, the others wait and find it done.
 *
 * @throws {TableError} where somebody must change something first; the message says what.
 * @throws {PostgresUnavailableError} when the connection is lost; running it again goes on where it stopped.
 */
export async function adoptTable(link: PostgresLink, request: AdoptionRequest): Promise<Adoption> {
  const { names, slots } = request;
  if (!Number.isInteger(slots) || slots < 1 || slots > MOST_SLOTS || (slots & (slots - 1)) !== 0) {
    throw new TableError('bad-slots', `expected the slots to be a power of two, 1 to ${MOST_SLOTS}, got ${slots}`);
  }
  const session = await link.open({ statementTimeoutMs: 0 });
  try {
    await lockAdoption(session, request.log);
    return await adoptLocked(session, request);
  } catch (error) {
    if (stateOf(error) !== '42501') throw error;
    const reason = (error as Error).message;
    const advice = `let its owner grant it, or let the owner of ${describeTable(names)} and of schema scaler run the coordinator`;
    throw new TableError('missing-privilege', `a right is missing: ${reason}; ${advice}`, { cause: error });
  } finally {
    // The lock goes with the connection.
    await session.end();
  }
}

/**
 * For workers: null where no coordinator has adopted the table yet.
 * @throws {TableError} `adopted-otherwise`, or `missing-privilege` with the statements to run.
 */
export async function readAdoption(link: PostgresLink, names: TableNames): Promise<Adoption | null> {
  const ask: Ask = (statement) => link.query('control', statement);
  if (!(await hasRelation(ask, 'scaler', 'adoption'))) return null;
  const wanted = workerPrivileges(names);
  await requirePrivileges(ask, wanted.slice(0, 2));
  const row = await readRecord(ask);
  if (row === null) return null;
  requireSameTable(row, names);
  if (!row.isComplete || !(await hasRelation(ask, names.schema, names.table))) return null;
  await requirePrivileges(ask, wanted);
  return { slots: row.slots };
}

/**
 * Polls instead of waiting in Postgres: a waiting statement would hold back the one who makes the index concurrently,
 * and the two would wait for each other.
 */
async function lockAdoption(session: Session, log: Logger): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    const { rows } = await session.query<{ locked: boolean }>({
      text: `SELECT pg_try_advisory_lock(${LOCK_KEY}) AS locked`,
    });
    if (rows[0]?.locked === true) return;
    if (attempt % (SAY_EVERY_MS / LOCK_RETRY_MS) === 0) log.info('waiting for another coordinator to adopt the table');
    await delay(LOCK_RETRY_MS);
  }
}

async function adoptLocked(session: Session, { names, slots, log }: AdoptionRequest): Promise<Adoption> {
  const ask: Ask = (statement) => session.query(statement);
  const before = (await hasRelation(ask, 'scaler', 'adoption')) ? await readOrRefuse(ask, names) : null;
  if (before !== null) requireSameTable(before, names);
  const shape = await readTableShape(session, names);
  const similar = shape === null && before === null ? await findSimilarTable(session, names) : null;
  const misfit = shape === null ? similar : findMisfit(shape, names);
  if (misfit !== null) throw misfit;
  const settled = before?.slots ?? slots;
  if (settled !== slots) {
    log.info({ slots: settled, asked: slots }, 'the table keeps the number of slots it was adopted with');
  }
  const context = { session, names, slots: settled, log };
  if (before?.isComplete !== true || !(await isTableEquipped(context))) {
    await requireRightsToMake(ask, context, shape, before);
    await migrate(context, before);
  }
  await requirePrivileges(ask, coordinatorPrivileges(names));
  if (shape !== null) warnOfShape(shape, { names, log });
  return { slots: settled };
}

function warnOfShape(shape: TableShape, { names, log }: Pick<AdoptionRequest, 'names' | 'log'>): void {
  const table = describeTable(names);
  for (const index of shape.hotBreakers) {
    log.warn(
      { table, index },
      'an index on the value or worker column makes every tick write all indexes: drop it if you can',
    );
  }
  const type = shape.columns.find(({ name }) => name === names.worker)?.type ?? '';
  const length = /\((\d+)\)/.exec(type)?.[1];
  if (length === undefined || Number(length) >= LONGEST_WORKER_ID) return;
  log.warn(
    { table, type },
    `worker ids have up to ${LONGEST_WORKER_ID} characters: a longer one than the column's makes ticks fail`,
  );
}

/** A coordinator that may not read the record gets the statements to run instead of Postgres' bare refusal. */
async function readOrRefuse(ask: Ask, names: TableNames): Promise<AdoptionRecord | null> {
  await requirePrivileges(ask, coordinatorPrivileges(names).slice(0, 2));
  return readRecord(ask);
}

async function requireRightsToMake(
  ask: Ask,
  { names }: MigrationContext,
  shape: TableShape | null,
  before: AdoptionRecord | null,
): Promise<void> {
  const hasSchema = await hasNamespace(ask, names.schema);
  if (!hasSchema) {
    const remedy = `run: CREATE SCHEMA ${quoteName(names.schema)}, or give another --table`;
    throw new TableError(
      'missing-schema',
      `expected a schema ${names.schema} for ${describeTable(names)}, there is none; ${remedy}`,
    );
  }
  const hasScaler = before !== null || (await hasNamespace(ask, 'scaler'));
  const table = shape === null ? [createInSchema(names.schema)] : [ownTable(shape), createInSchema(names.schema)];
  await requirePrivileges(ask, [hasScaler ? createInSchema('scaler') : createInDatabase(), ...table]);
}

function ownTable(shape: TableShape) {
  return {
    check: '$1::boolean',
    values: [shape.isOwned],
    // Indexes, triggers and settings are the owner's business; no GRANT on the table gives that right.
    remedy: `GRANT ${quoteName(shape.owner)} TO ROLE`,
  };
}
