import type { Ask, Needs } from './privileges.ts';
import { describeTable, quoteName, quoteTable, TableError, type TableNames } from './table.ts';

interface Hidden extends Pick<TableNames, 'schema' | 'table'> {
  readonly owner: string;
  readonly isOwned: boolean;
  /** The policies apply to the owner too. */
  readonly isForced: boolean;
  readonly role: string;
}

/** `row_security_active` takes all into account: owners, members of owners, BYPASSRLS, superusers. */
const HIDDEN_TEXT = `
SELECT s.nspname::text AS schema, c.relname::text AS table, pg_get_userbyid(c.relowner)::text AS owner,
  pg_has_role(c.relowner, 'USAGE') AS "isOwned", c.relforcerowsecurity AS "isForced", current_user::text AS role
FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
WHERE (s.nspname = $1 AND c.relname = $2 OR s.nspname = 'scaler' AND c.relname = ANY ($3)) AND row_security_active(c.oid)
ORDER BY s.nspname = 'scaler', 2`;

/**
 * Row-level security would hide rows without a word. Our sessions ask for a refusal instead (`row_security = off`); here it is
 * found beforehand, from the catalog. A policy that shows every row is refused like any other: Postgres does not look into it.
 *
 * @throws {TableError} `missing-privilege`, with the statements to run.
 */
export async function requireVisibleRows(
  ask: Ask,
  { names, bookkeeping }: Pick<Needs, 'names' | 'bookkeeping'>,
): Promise<void> {
  const values = [names.schema, names.table, bookkeeping];
  const { rows } = await ask<Hidden>({ text: HIDDEN_TEXT, values });
  const [first] = rows;
  if (first === undefined) return;
  const tables = rows.map(describeTable).join(', ');
  const expected = `expected role "${first.role}" to see every row of ${tables}, but row-level security applies to it`;
  throw new TableError(
    'missing-privilege',
    `${expected} (a policy does not help); ${describeRemedies(rows, first.role)}`,
  );
}

function describeRemedies(hidden: readonly Hidden[], role: string): string {
  const bypass = `let a superuser run: ALTER ROLE ${quoteName(role)} BYPASSRLS`;
  const others = hidden.flatMap((table) => remedyWithoutBypass(table));
  return `${bypass}; or let an owner run: ${[...new Set(others)].join('; ')}`;
}

/** Not every hosted database has a superuser to ask. */
function remedyWithoutBypass({ schema, table, owner, isOwned, isForced, role }: Hidden): readonly string[] {
  const name = quoteTable({ schema, table });
  // Ours needs no policies: only our roles have any right on it.
  if (schema === 'scaler') return [`ALTER TABLE ${name} DISABLE ROW LEVEL SECURITY`];
  const own = isOwned ? [] : [`GRANT ${quoteName(owner)} TO ${quoteName(role)}`];
  const exempt = isForced ? [`ALTER TABLE ${name} NO FORCE ROW LEVEL SECURITY`] : [];
  return [...own, ...exempt];
}

/**
 * The triggers' functions write `scaler.table_change` with their owner's rights, in the sessions of whoever writes rows: these
 * would be refused.
 * @throws {TableError} `missing-privilege`.
 */
export async function requireWritableChanges(ask: Ask): Promise<void> {
  const { rows } = await ask<{ owner: string }>({
    text: `SELECT DISTINCT r.rolname::text AS owner
      FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace JOIN pg_proc p ON p.pronamespace = s.oid AND p.prosecdef
      JOIN pg_roles r ON r.oid = p.proowner
      WHERE s.nspname = 'scaler' AND c.relname = 'table_change' AND c.relrowsecurity AND NOT (r.rolsuper OR r.rolbypassrls)
        AND (c.relforcerowsecurity OR NOT pg_has_role(r.oid, c.relowner, 'USAGE'))`,
  });
  if (rows.length === 0) return;
  const owners = rows.map(({ owner }) => `"${owner}"`).join(', ');
  throw new TableError(
    'missing-privilege',
    `expected role ${owners}, which owns the trigger functions, to write scaler.table_change, but row-level security applies to it; ` +
      'let an owner run: ALTER TABLE "scaler"."table_change" DISABLE ROW LEVEL SECURITY',
  );
}
