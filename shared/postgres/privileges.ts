import type { Session, Statement } from './session.ts';
import { quoteName, quoteTable, TableError, type TableNames } from './table.ts';

/** Whatever can run a statement: a session, or a lane of the link. */
export type Ask = Pick<Session, 'query'>['query'];

export interface Wanted {
  /** SQL that says whether the right is there; names are `$n`. */
  readonly check: string;
  readonly values: readonly unknown[];
  /** What to run where it is not; `ROLE` stands for the role. */
  readonly remedy: string;
}

/** What one kind of program needs of the database, checked at its start and whenever Postgres refuses a statement. */
export interface Needs {
  readonly names: TableNames;
  readonly privileges: readonly Wanted[];
  /** Tables of schema `scaler`. */
  readonly bookkeeping: readonly string[];
}

export function workerNeeds(names: TableNames): Needs {
  return { names, privileges: workerPrivileges(names), bookkeeping: ['adoption', 'slot'] };
}

export function coordinatorNeeds(names: TableNames): Needs {
  const bookkeeping = ['adoption', 'migration', 'slot', 'table_change'];
  return { names, privileges: coordinatorPrivileges(names), bookkeeping };
}

/** What a worker does: reads the adoption, claims and stamps slots, reads and updates rows. */
export function workerPrivileges(names: TableNames): readonly Wanted[] {
  return [
    onSchema('scaler', 'USAGE'),
    onRelation('scaler.adoption', 'SELECT'),
    onRelation('scaler.slot', 'SELECT', 'UPDATE'),
    ...useTable(names),
    onRelation(quoteTable(names), 'SELECT'),
    {
      check:
        "has_column_privilege($1::text, $2::text, 'UPDATE') AND has_column_privilege($1::text, $3::text, 'UPDATE')",
      values: [quoteTable(names), names.value, names.worker],
      remedy: `GRANT UPDATE ON ${quoteTable(names)} TO ROLE`,
    },
  ];
}

/** What a coordinator does once everything is made. */
export function coordinatorPrivileges(names: TableNames): readonly Wanted[] {
  return [
    onSchema('scaler', 'USAGE'),
    onRelation('scaler.adoption', 'SELECT', 'UPDATE'),
    onRelation('scaler.migration', 'SELECT'),
    onRelation('scaler.slot', 'SELECT'),
    onRelation('scaler.table_change', 'SELECT', 'DELETE'),
    {
      check: "has_sequence_privilege($1::text, 'UPDATE')",
      values: ['scaler.epoch'],
      remedy: 'GRANT USAGE, UPDATE ON SEQUENCE scaler.epoch TO ROLE',
    },
    ...useTable(names),
    onRelation(quoteTable(names), 'SELECT'),
  ];
}

export function createInDatabase(): Wanted {
  return {
    check: "has_database_privilege(current_database(), 'CREATE')",
    values: [],
    remedy: 'GRANT CREATE ON DATABASE DATABASE_NAME TO ROLE',
  };
}

export function createInSchema(schema: string): Wanted {
  return onSchema(schema, 'CREATE');
}

/** Rights on a relation cannot be asked for while its schema is closed; they are asked in this order, one after the other. */
function useTable({ schema }: TableNames): readonly Wanted[] {
  return [onSchema(schema, 'USAGE')];
}

function onSchema(schema: string, privilege: 'USAGE' | 'CREATE'): Wanted {
  return {
    check: `has_schema_privilege($1::text, '${privilege}')`,
    values: [schema],
    remedy: `GRANT ${privilege} ON SCHEMA ${quoteName(schema)} TO ROLE`,
  };
}

function onRelation(relation: string, ...privileges: readonly string[]): Wanted {
  return {
    check: privileges.map((privilege) => `has_table_privilege($1::text, '${privilege}')`).join(' AND '),
    values: [relation],
    remedy: `GRANT ${privileges.join(', ')} ON ${relation} TO ROLE`,
  };
}

/** @throws {TableError} `missing-privilege`, with every statement that is to be run, as far as can be told now. */
export async function requirePrivileges(ask: Ask, wanted: readonly Wanted[]): Promise<void> {
  const remedies: string[] = [];
  for (const { check, values, remedy } of wanted) {
    const isAllowed = await isGranted(ask, { text: `SELECT (${check}) AS granted`, values });
    if (!isAllowed) remedies.push(remedy);
  }
  if (remedies.length === 0) return;
  const { rows } = await ask<{ role: string; database: string }>({
    text: 'SELECT current_user::text AS role, current_database()::text AS database',
  });
  const { role, database } = rows[0]!;
  const statements = remedies.map((remedy) =>
    remedy
      .replace(/(?<=^GRANT CREATE ON DATABASE )DATABASE_NAME(?= TO ROLE$)/, () => quoteName(database))
      .replace(/ROLE$/, () => quoteName(role)),
  );
  throw missingPrivilege(role, statements);
}

export function missingPrivilege(role: string, statements: readonly string[]): TableError {
  const what = statements.length === 1 ? 'this right' : 'these rights';
  return new TableError(
    'missing-privilege',
    `role ${quoteName(role)} lacks ${what}; let an owner run: ${statements.join('; ')};`,
  );
}

async function isGranted(ask: Ask, statement: Statement): Promise<boolean> {
  try {
    return (await ask<{ granted: boolean }>(statement)).rows[0]?.granted === true;
  } catch (error) {
    // A relation in a closed schema cannot even be named.
    if ((error as { code?: unknown }).code === '42501') return false;
    throw error;
  }
}
