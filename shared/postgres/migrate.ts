import { setTimeout as delay } from 'node:timers/promises';
import type { AdoptionRecord } from './adoption-record.ts';
import { stateOf } from './failure.ts';
import { LOCK_LIMIT, MIGRATIONS, type Migration, type MigrationContext } from './migrations.ts';
import type { Session } from './session.ts';
import { describeTable } from './table.ts';

const LOCKED_RETRY_MS = 1_000;
const LOCK_NOT_AVAILABLE = '55P03';

/** Makes what is missing. Only under the adoption's lock; after any interruption it goes on where it stopped. */
export async function migrate(context: MigrationContext, before: AdoptionRecord | null): Promise<void> {
  const { session, log, names } = context;
  const done = before === null ? new Set<number>() : await readDone(session);
  if (before?.isComplete === true)
    log.warn({ table: describeTable(names) }, 'the table lost its slot index or its triggers: making them again');
  for (const migration of MIGRATIONS) {
    if (done.has(migration.number) && !migration.isOfTable) continue;
    // What is part of the table is simply made again after any interruption; each of these steps replaces what it finds.
    await runMigration(context, migration);
    log.info({ number: migration.number, name: migration.name }, 'migration done');
  }
  await session.query({ text: 'UPDATE scaler.adoption SET completed_at = clock_timestamp()' });
}

async function runMigration(context: MigrationContext, migration: Migration): Promise<void> {
  const { session, log } = context;
  for (;;) {
    try {
      if (migration.isTransactional) await session.query({ text: `BEGIN; ${LOCK_LIMIT}` });
      if (migration.number === 1) await makeSchema(session);
      await migration.run(context);
      await session.query({
        text: 'INSERT INTO scaler.migration (number, name) VALUES ($1, $2) ON CONFLICT (number) DO UPDATE SET applied_at = DEFAULT',
        values: [migration.number, migration.name],
      });
      if (migration.isTransactional) await session.query({ text: 'COMMIT' });
      return;
    } catch (error) {
      // Outside a transaction this is a mere warning.
      if (!session.isOver) await session.query({ text: 'ROLLBACK' });
      if (stateOf(error) !== LOCK_NOT_AVAILABLE) throw error;
      log.warn({ name: migration.name }, 'the table is locked by somebody else; trying again');
      await delay(LOCKED_RETRY_MS);
    }
  }
}

async function makeSchema(session: Session): Promise<void> {
  // Not IF NOT EXISTS: that asks for the right to create schemas even where there is nothing to create.
  const { rows } = await session.query({ text: "SELECT 1 FROM pg_namespace WHERE nspname = 'scaler'" });
  if (rows.length === 0) await session.query({ text: 'CREATE SCHEMA scaler' });
  await session.query({
    text: `CREATE TABLE scaler.migration (number int PRIMARY KEY, name text NOT NULL,
      applied_at timestamptz NOT NULL DEFAULT clock_timestamp())`,
  });
}

async function readDone(session: Session): Promise<Set<number>> {
  const { rows } = await session.query<{ number: number }>({ text: 'SELECT number FROM scaler.migration' });
  return new Set(rows.map(({ number }) => number));
}
