import type { AdoptionRecord } from './adoption-record.ts';
import { retryWhileLocked } from './adoption-session.ts';
import { findAlteredFunctions } from './definitions.ts';
import { equipRecord, type RecordedMigration, recordMigration } from './migration-record.ts';
import {
  hasIndex,
  LOCK_LIMIT,
  type Migration,
  type MigrationContext,
  type MigrationSession,
  replaceFunctions,
} from './migrations.ts';
import type { Ask } from './privileges.ts';
import { readSettings, recordFormerSettings, withoutOurs } from './storage-settings.ts';
import { describeTable } from './table.ts';

/** What there is to do. */
export interface Plan {
  readonly migrations: readonly Migration[];
  /** Names of functions that are altered; those that the migrations make are not among them. */
  readonly functions: readonly string[];
}

/** Unrecorded migrations, and those whose work is lost or altered. Changes nothing. */
export async function planMigrations(
  context: MigrationContext,
  known: readonly Migration[],
  recorded: readonly RecordedMigration[],
): Promise<Plan> {
  if (recorded.length === 0) return { migrations: known, functions: [] };
  const { session, log, names } = context;
  const done = new Set(recorded.map(({ number }) => number));
  const migrations: Migration[] = [];
  for (const migration of known) {
    const isDone = done.has(migration.number);
    if (isDone && (migration.isIntact === undefined || (await migration.isIntact(context)))) continue;
    migrations.push(migration);
    if (isDone) {
      const lost = { table: describeTable(names), number: migration.number, name: migration.name };
      log.warn(lost, 'part of the table or its triggers is missing or was changed; recreating it');
    }
  }
  const altered = await findAlteredFunctions((statement) => session.query(statement), context);
  return { migrations, functions: altered.map(({ name }) => name) };
}

/** Makes what is planned. Only under the adoption's lock; after any interruption it goes on where it stopped. */
export async function migrate(context: MigrationContext, { migrations, functions }: Plan): Promise<void> {
  const { session, log } = context;
  for (const migration of migrations) {
    await runMigration(context, migration);
    log.info({ number: migration.number, name: migration.name }, 'migration done');
  }
  if (functions.length > 0) {
    const replaced = await inTransaction(session, () => replaceFunctions(context));
    // None where a migration has just made them.
    if (replaced.length > 0)
      log.warn({ functions: replaced }, 'trigger functions were not as this version defines them; replaced');
  }
  await session.query({
    text: 'UPDATE scaler.adoption SET completed_at = clock_timestamp() WHERE completed_at IS NULL',
  });
}

export function isNothingToDo({ migrations, functions }: Plan, before: AdoptionRecord | null): boolean {
  return before?.isComplete === true && migrations.length === 0 && functions.length === 0;
}

async function runMigration(context: MigrationContext, migration: Migration): Promise<void> {
  const { session, names, log, signal, onWait } = context;
  const ask: Ask = (statement) => session.query(statement);
  const waiting = { ask, names, name: migration.name, log, signal, onWait };
  await retryWhileLocked(() => attemptMigration(context, migration), waiting);
}

async function attemptMigration(context: MigrationContext, migration: Migration): Promise<void> {
  const { session } = context;
  const isFirst = migration.number === 1;
  if (!isFirst) await inTransaction(session, () => equipRecord(session));
  const run = async () => {
    if (isFirst) await makeSchema(session);
    await migration.run(context);
    if (isFirst) {
      await equipRecord(session);
      await keepSettings(context);
    }
    await recordMigration(session, migration);
  };
  return migration.isTransactional ? inTransaction(session, run) : rollBackAfter(session, run);
}

async function inTransaction<Result>(session: MigrationSession, work: () => Promise<Result>): Promise<Result> {
  return rollBackAfter(session, async () => {
    await session.query({ text: `BEGIN; ${LOCK_LIMIT}` });
    const result = await work();
    await session.query({ text: 'COMMIT' });
    return result;
  });
}

/** Outside a transaction the ROLLBACK after a failure is a mere warning. */
async function rollBackAfter<Result>(session: MigrationSession, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (!session.isOver) await session.query({ text: 'ROLLBACK' });
    throw error;
  }
}

/** A table with our index was adopted before, and the record of that is lost: what is as we set it is not its owner's choice. */
async function keepSettings(context: MigrationContext): Promise<void> {
  const ask: Ask = (statement) => context.session.query(statement);
  const current = (await readSettings(ask, context.names)) ?? [];
  await recordFormerSettings(ask, (await hasIndex(context)) ? withoutOurs(current) : current);
}

async function makeSchema(session: MigrationSession): Promise<void> {
  // Not IF NOT EXISTS: that asks for the right to create schemas even where there is nothing to create.
  const { rows } = await session.query({ text: "SELECT 1 FROM pg_namespace WHERE nspname = 'scaler'" });
  if (rows.length === 0) await session.query({ text: 'CREATE SCHEMA scaler' });
  await session.query({
    text: `CREATE TABLE scaler.migration (number int PRIMARY KEY, name text NOT NULL,
      applied_at timestamptz NOT NULL DEFAULT clock_timestamp())`,
  });
}
