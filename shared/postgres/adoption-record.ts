import type { Ask } from './privileges.ts';
import { describeName, describeTable, TableError, type TableNames } from './table.ts';

/** What `scaler.adoption` holds. */
export interface AdoptionRecord {
  readonly slots: number;
  readonly names: TableNames;
  /** False: its making was cut off, or is still under way. */
  readonly isComplete: boolean;
  /** Workers that do not know the migration of this number cannot work here; 0: all can. */
  readonly workerMigration: number;
}

/** @throws when there is no such table, or no right to read it. */
export async function readRecord(ask: Ask): Promise<AdoptionRecord | null> {
  const { rows } = await ask<AdoptionRecord>({
    // Through JSON: databases of the first version have no such column.
    text: `SELECT slots, completed_at IS NOT NULL AS "isComplete",
      coalesce((to_jsonb(a) ->> 'worker_migration')::int, 0) AS "workerMigration", json_build_object('schema', table_schema, 'table', table_name,
      'id', id_column, 'value', value_column, 'worker', worker_column) AS names FROM scaler.adoption a`,
  });
  return rows[0] ?? null;
}

/** @throws {TableError} `adopted-otherwise`. */
export function requireSameTable({ names: recorded }: AdoptionRecord, names: TableNames): void {
  const keys = ['schema', 'table', 'id', 'value', 'worker'] as const;
  if (keys.every((key) => recorded[key] === names[key])) return;
  const describe = (some: TableNames) =>
    `${describeTable(some)} (${[some.id, some.value, some.worker].map(describeName).join(', ')})`;
  const advice =
    'give the same --table and columns, use another database, or run notifi-scaler release for the adopted table first';
  throw new TableError(
    'adopted-otherwise',
    `expected ${describe(names)}, but this database adopted ${describe(recorded)}; ${advice}`,
  );
}

/** By the catalog, which anyone may read: naming a relation in a closed schema is refused. */
export async function hasRelation(ask: Ask, schema: string, name: string): Promise<boolean> {
  const { rows } = await ask({
    text: 'SELECT 1 FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace WHERE s.nspname = $1 AND c.relname = $2',
    values: [schema, name],
  });
  return rows.length > 0;
}

export async function hasNamespace(ask: Ask, name: string): Promise<boolean> {
  return (await ask({ text: 'SELECT 1 FROM pg_namespace WHERE nspname = $1', values: [name] })).rows.length > 0;
}
