import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type AdoptionRecord, hasNamespace, hasRelation, readRecord, requireSameTable } from './adoption-record.ts';
import type { PostgresLink } from './connection.ts';
import { stateOf } from './failure.ts';
import { isNothingToDo, migrate, type Plan, planMigrations } from './migrate.ts';
import { readRecorded, requireKnown, requireWorkable } from './migration-record.ts';
import { MIGRATIONS, type Migration, type MigrationContext } from './migrations.ts';
import {
  type Ask,
  coordinatorNeeds,
  coordinatorPrivileges,
  createInDatabase,
  createInSchema,
  requirePrivileges,
  workerNeeds,
  workerPrivileges,
} from './privileges.ts';
import { requireVisibleRows, requireWritableChanges } from './row-security.ts';
import { belongToSchemaOwner, readSchemaOwner, requireOwnSchema, warnOfForeignSchema } from './schema-owner.ts';
import type { Session } from './session.ts';
import { describeTable, quoteName, TableError, type TableNames } from './table.ts';
import { findMisfit, findSimilarTable, readTableShape, replicaIdentityRemedy, type TableShape } from './table-shape.ts';

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
  /** @default those of this version; tests add others. */
  readonly migrations?: readonly Migration[];
}

const LOCK_KEY = '7307767123520511602';
const LOCK_RETRY_MS = 100;
/** As in shared/ring/worker-id.ts. */
const LONGEST_WORKER_ID = 128;
const MOST_SLOTS = 2 ** 20;
const SAY_EVERY_MS = 5_000;

/**
 * Creates the table if it does not exist, checks it, and makes what it lacks: later migrations, lost or altered triggers.
 * Idempotent: a second run changes nothing. Safe in any number of processes at once, also of different versions: one works,
 * the others wait and find it done.
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
 * Migrations that this version does not know are no obstacle, unless they say so: coordinators are upgraded before workers.
 * @throws {TableError} `adopted-otherwise`, `newer-schema`, or `missing-privilege` with the statements to run.
 */
export async function readAdoption(link: PostgresLink, names: TableNames): Promise<Adoption | null> {
  const ask: Ask = (statement) => link.query('control', statement);
  if (!(await hasRelation(ask, 'scaler', 'adoption'))) return null;
  await requireVisibleRows(ask, workerNeeds(names));
  const wanted = workerPrivileges(names);
  await requirePrivileges(ask, wanted.slice(0, 2));
  const row = await readRecord(ask);
  if (row === null) return null;
  requireSameTable(row, names);
  requireWorkable(row.workerMigration, MIGRATIONS);
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

async function adoptLocked(session: Session, request: AdoptionRequest): Promise<Adoption> {
  const { names, slots, log, migrations = MIGRATIONS } = request;
  const ask: Ask = (statement) => session.query(statement);
  await requireVisibleRows(ask, coordinatorNeeds(names));
  const before = (await hasRelation(ask, 'scaler', 'adoption')) ? await readOrRefuse(ask, names) : null;
  if (before !== null) requireSameTable(before, names);
  const recorded = before === null ? [] : await readRecorded(ask);
  requireKnown(recorded, migrations);
  const shape = await readTableShape(ask, names);
  const similar = shape === null && before === null ? await findSimilarTable(ask, names) : null;
  const misfit = shape === null ? similar : findMisfit(shape, names);
  if (misfit !== null) throw misfit;
  const settled = before?.slots ?? slots;
  if (settled !== slots) {
    log.info({ slots: settled, asked: slots }, 'the table keeps the number of slots it was adopted with');
  }
  const context = { session, names, slots: settled, log };
  const plan = await planMigrations(context, migrations, recorded);
  if (!isNothingToDo(plan, before)) {
    await requireRightsToMake(ask, context, { shape, before, plan });
    await migrate(context, plan);
  }
  await requirePrivileges(ask, coordinatorPrivileges(names));
  await requireWritableChanges(ask);
  const owner = await readSchemaOwner(ask);
  if (owner !== null) warnOfForeignSchema(owner, log);
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
  if (!shape.hasReplicaIdentity) {
    const remedy = replicaIdentityRemedy(shape, names);
    log.warn(
      { table, remedy },
      'the table has no replica identity: a publication of its updates would make every tick fail',
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
  await requirePrivileges(ask, coordinatorPrivileges(names).slice(0, 3));
  return readRecord(ask);
}

async function requireRightsToMake(
  ask: Ask,
  { names }: MigrationContext,
  found: { readonly shape: TableShape | null; readonly before: AdoptionRecord | null; readonly plan: Plan },
): Promise<void> {
  const { shape, before, plan } = found;
  const hasSchema = await hasNamespace(ask, names.schema);
  if (!hasSchema) {
    const remedy = `run: CREATE SCHEMA ${quoteName(names.schema)}, or give another --table`;
    throw new TableError(
      'missing-schema',
      `expected a schema ${names.schema} for ${describeTable(names)}, there is none; ${remedy}`,
    );
  }
  const owner = await readSchemaOwner(ask);
  if (owner !== null && before === null) requireOwnSchema(owner);
  const ofSchema = owner === null ? [createInDatabase()] : [createInSchema('scaler'), ...belongToSchemaOwner(owner)];
  const scaler = [...ofSchema, ...(await ownersInScaler(ask))];
  const isTableChanged = plan.migrations.some(({ isOfTable }) => isOfTable);
  const table = isTableChanged ? [...(shape === null ? [] : [ownTable(shape)]), createInSchema(names.schema)] : [];
  await requirePrivileges(ask, [...scaler, ...table]);
}

/** What is in schema `scaler` can be altered by its owners only. */
async function ownersInScaler(ask: Ask) {
  const { rows } = await ask<{ owner: string; isMember: boolean }>({
    text: `SELECT DISTINCT pg_get_userbyid(o.owner)::text AS owner, pg_has_role(o.owner, 'USAGE') AS "isMember" FROM (
        SELECT relowner AS owner, relnamespace AS space FROM pg_class UNION SELECT proowner, pronamespace FROM pg_proc
      ) o JOIN pg_namespace s ON s.oid = o.space WHERE s.nspname = 'scaler' ORDER BY 1`,
  });
  return rows.map(({ owner, isMember }) => belongTo(owner, isMember));
}

/** Indexes, triggers and settings are the owner's business; no GRANT on the table gives that right. */
function ownTable({ owner, isOwned }: TableShape) {
  return belongTo(owner, isOwned);
}

function belongTo(owner: string, isMember: boolean) {
  return { check: '$1::boolean', values: [isMember], remedy: `GRANT ${quoteName(owner)} TO ROLE` };
}
