import { VERSION } from '../process/version.ts';
import { hasRelation } from './adoption-record.ts';
import type { Migration, MigrationSession } from './migrations.ts';
import type { Ask } from './privileges.ts';
import { TableError } from './table.ts';

/** A row of `scaler.migration`. */
export interface RecordedMigration {
  readonly number: number;
  readonly name: string;
  /** Of the program that applied it; null: a program that did not record it. */
  readonly programVersion: string | null;
}

/** @returns the migrations that were applied to this database, ascending; none where `scaler.migration` is missing. */
export async function readRecorded(ask: Ask): Promise<readonly RecordedMigration[]> {
  if (!(await hasRelation(ask, 'scaler', 'migration'))) return [];
  // Through JSON: databases of the first version have no such column.
  const { rows } = await ask<RecordedMigration>({
    text: `SELECT number, name, to_jsonb(m) ->> 'program_version' AS "programVersion" FROM scaler.migration m ORDER BY number`,
  });
  return rows;
}

/** @throws {TableError} `newer-schema`: a later version of this program was here. */
export function requireKnown(recorded: readonly RecordedMigration[], known: readonly Migration[]): void {
  const numbers = new Set(known.map(({ number }) => number));
  const unknown = recorded.filter(({ number }) => !numbers.has(number)).at(-1);
  if (unknown === undefined) return;
  const newest = known.at(-1)!;
  const by = unknown.programVersion === null ? 'another version' : `version ${unknown.programVersion}`;
  throw new TableError(
    'newer-schema',
    `expected migrations of schema scaler up to ${newest.number} (${newest.name}), the last one that version ${VERSION} knows, ` +
      `but ${by} applied migration ${unknown.number} (${unknown.name}) to this database; ` +
      'upgrade this coordinator to that version or a later one: going back to an older version is not possible',
  );
}

/** @throws {TableError} `newer-schema`, where the database says that workers must know a later migration than the newest known. */
export function requireWorkable(workerMigration: number, known: readonly Migration[]): void {
  const newest = known.at(-1)!;
  if (workerMigration <= newest.number) return;
  throw new TableError(
    'newer-schema',
    `expected a database that workers of version ${VERSION} can work with, which know its migrations up to ${newest.number} ` +
      `(${newest.name}), but it needs workers that know migration ${workerMigration}; upgrade this program to the coordinator's version`,
  );
}

/** Columns of the bookkeeping that databases of the first version lack. Not a migration: migrations are recorded with them. */
export async function equipRecord(session: MigrationSession): Promise<void> {
  const { rows } = await session.query({
    text: `SELECT 1 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace s ON s.oid = c.relnamespace
      WHERE s.nspname = 'scaler' AND (c.relname, a.attname) IN (('migration', 'program_version'), ('adoption', 'worker_migration'),
        ('adoption', 'former_settings'))`,
  });
  if (rows.length === 3) return;
  await session.query({ text: 'ALTER TABLE scaler.migration ADD COLUMN IF NOT EXISTS program_version text' });
  await session.query({
    text: 'ALTER TABLE scaler.adoption ADD COLUMN IF NOT EXISTS worker_migration int NOT NULL DEFAULT 0',
  });
  // NULL: unknown. Else `pg_class.reloptions` of the table as it was before its adoption.
  await session.query({ text: 'ALTER TABLE scaler.adoption ADD COLUMN IF NOT EXISTS former_settings text[]' });
}

export async function recordMigration(
  session: MigrationSession,
  { number, name, breaksWorkers }: Migration,
): Promise<void> {
  await session.query({
    text: `INSERT INTO scaler.migration (number, name, program_version) VALUES ($1, $2, $3)
      ON CONFLICT (number) DO UPDATE SET applied_at = DEFAULT, program_version = excluded.program_version`,
    values: [number, name, VERSION],
  });
  if (breaksWorkers !== true) return;
  await session.query({
    text: 'UPDATE scaler.adoption SET worker_migration = $1 WHERE worker_migration < $1',
    values: [number],
  });
}
