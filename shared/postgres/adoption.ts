import { type AdoptionRecord, hasNamespace, hasRelation, readRecord, requireSameTable } from './adoption-record.ts';
import { type AdoptionContext, lockAdoption, withAdoptionSession } from './adoption-session.ts';
import type { PostgresLink } from './connection.ts';
import { stateOf } from './failure.ts';
import { type InstallationRequest, settleInstallation } from './installation.ts';
import { isNothingToDo, migrate, type Plan, planMigrations } from './migrate.ts';
import { readRecorded, requireKnown, requireWorkable } from './migration-record.ts';
import { isOfStorage, MIGRATIONS, type Migration, type MigrationContext } from './migrations.ts';
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
import { type RecordedStatement, RecordingSession } from './recording-session.ts';
import { requireVisibleRows, requireWritableChanges } from './row-security.ts';
import { belongToSchemaOwner, readSchemaOwner, requireOwnSchema, warnOfForeignSchema } from './schema-owner.ts';
import type { Session } from './session.ts';
import { findChanges, readSettings, type SettingChange } from './storage-settings.ts';
import { describeTable, quoteName, TableError, type TableNames } from './table.ts';
import { findUntickable, findWarnings, readObstacles, type TableWarning } from './table-obstacles.ts';
import { findMisfit, findSimilarTable, readTableShape, type TableShape } from './table-shape.ts';

/** What was settled when the table was adopted. */
export interface Adoption {
  /** A power of two; baked into the index and the triggers. */
  readonly slots: number;
}

export interface AdoptionRequest extends AdoptionContext, InstallationRequest {
  /** Counts at the first adoption only: what was recorded then wins. */
  readonly slots: number;
  /** The storage settings of a table that exists stay as they are. Counts when it is adopted. @default false */
  readonly keepsStorageSettings?: boolean | undefined;
  /** @default those of this version; tests add others. */
  readonly migrations?: readonly Migration[];
}

/** What an adoption would do, see `planAdoption`. */
export interface AdoptionPlan extends Adoption {
  /** False: it would be created. */
  readonly isTableThere: boolean;
  /** In this order; empty: the table is adopted, and nothing is to be done. */
  readonly statements: readonly RecordedStatement[];
  readonly settings: readonly SettingChange[];
  readonly warnings: readonly TableWarning[];
}

const MOST_SLOTS = 2 ** 20;

/**
 * Creates the table if it does not exist, checks it, and makes what it lacks: later migrations, lost or altered triggers.
 * Idempotent: a second run changes nothing. Safe in any number of processes at once, also of different versions: one works,
 * the others wait and find it done. Where the signal aborts, it ends within a second, leaves no lock, and begins no other migration.
 *
 * @throws {TableError} where somebody must change something first; the message says what.
 * @throws {PostgresUnavailableError} when the connection is lost; running it again goes on where it stopped.
 * @throws the signal's reason.
 */
export function adoptTable(link: PostgresLink, request: AdoptionRequest): Promise<Adoption> {
  return adopting(link, request, async (session) => {
    await lockAdoption(session, request);
    const prepared = await prepare(session, request);
    if (!isNothingToDo(prepared.plan, prepared.before)) await migrate(prepared.context, prepared.plan);
    const ask: Ask = (statement) => session.query(statement);
    await requirePrivileges(ask, coordinatorPrivileges(request.names));
    await requireWritableChanges(ask);
    await settleInstallation(ask, request);
    const owner = await readSchemaOwner(ask);
    if (owner !== null) warnOfForeignSchema(owner, request.log);
    for (const { fields, message } of prepared.warnings) request.log.warn(fields, message);
    return { slots: prepared.context.slots };
  });
}

/**
 * What `adoptTable` would do now, and what should be known before. Changes nothing and locks nothing: its session is read-only.
 * @throws as `adoptTable` would before it changes anything.
 */
export function planAdoption(link: PostgresLink, request: AdoptionRequest): Promise<AdoptionPlan> {
  return adopting(link, request, async (session) => {
    await session.query({ text: 'SET default_transaction_read_only = on' });
    const { context, plan, before, shape, warnings } = await prepare(session, request);
    const recorder = new RecordingSession(session, request.names);
    if (!isNothingToDo(plan, before)) await migrate({ ...context, session: recorder }, plan);
    const isStorageSet = request.keepsStorageSettings !== true && plan.migrations.some(isOfStorage);
    const current = isStorageSet ? await readSettings((statement) => session.query(statement), request.names) : null;
    return {
      slots: context.slots,
      isTableThere: shape !== null,
      statements: recorder.statements,
      settings: current === null ? [] : findChanges(current),
      warnings,
    };
  });
}

async function adopting<Result>(
  link: PostgresLink,
  { names, slots, log, signal, onWait }: AdoptionRequest,
  work: (session: Session) => Promise<Result>,
): Promise<Result> {
  if (!Number.isInteger(slots) || slots < 1 || slots > MOST_SLOTS || (slots & (slots - 1)) !== 0) {
    throw new TableError('bad-slots', `expected the slots to be a power of two, 1 to ${MOST_SLOTS}, got ${slots}`);
  }
  try {
    return await withAdoptionSession(link, { log, signal, onWait }, work);
  } catch (error) {
    if (stateOf(error) !== '42501') throw error;
    const reason = (error as Error).message;
    const advice = `let its owner grant it, or let the owner of ${describeTable(names)} and of schema scaler run the coordinator`;
    throw new TableError('missing-privilege', `a right is missing: ${reason}; ${advice}`, { cause: error });
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

interface Prepared {
  readonly context: MigrationContext;
  readonly plan: Plan;
  readonly before: AdoptionRecord | null;
  readonly shape: TableShape | null;
  readonly warnings: readonly TableWarning[];
}

/** Everything that is looked at before anything is changed. */
async function prepare(session: Session, request: AdoptionRequest): Promise<Prepared> {
  const { names, slots, keepsStorageSettings, log, signal, onWait, migrations = MIGRATIONS } = request;
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
  const obstacles = shape === null ? null : await readObstacles(ask, names);
  const untickable = obstacles === null ? null : findUntickable(obstacles, names);
  if (untickable !== null) throw untickable;
  const settled = before?.slots ?? slots;
  if (settled !== slots) {
    log.info({ slots: settled, asked: slots }, 'the table keeps the number of slots it was adopted with');
  }
  const context = { session, names, slots: settled, keepsStorageSettings, log, signal, onWait };
  const plan = await planMigrations(context, migrations, recorded);
  if (!isNothingToDo(plan, before)) await requireRightsToMake(ask, context, { shape, before, plan });
  const warnings = shape === null || obstacles === null ? [] : findWarnings(shape, obstacles, names);
  return { context, plan, before, shape, warnings };
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
