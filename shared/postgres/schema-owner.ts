import type { Logger } from 'pino';
import type { Ask, Wanted } from './privileges.ts';
import { quoteName, TableError } from './table.ts';

export interface SchemaOwner {
  readonly owner: string;
  /** Our role, or one that our role belongs to. */
  readonly isOurs: boolean;
  readonly isSuperuser: boolean;
  readonly role: string;
}

/** Of schema `scaler`; null where there is none. */
export async function readSchemaOwner(ask: Ask): Promise<SchemaOwner | null> {
  const { rows } = await ask<SchemaOwner>({
    text: `SELECT r.rolname::text AS owner, pg_has_role(r.oid, 'USAGE') AS "isOurs", r.rolsuper AS "isSuperuser",
      current_user::text AS role FROM pg_namespace s JOIN pg_roles r ON r.oid = s.nspowner WHERE s.nspname = 'scaler'`,
  });
  return rows[0] ?? null;
}

/**
 * The owner of a schema can drop objects of others in it and replace them: for example by functions that then run with the
 * rights of the roles that write or tick rows.
 * @throws {TableError} `foreign-schema`, where nothing of ours is in there yet.
 */
export function requireOwnSchema({ owner, isOurs, role }: SchemaOwner): void {
  if (isOurs) return;
  const expected = `expected schema scaler to belong to role ${quoteName(role)}, it belongs to ${quoteName(owner)}`;
  const reason = 'its owner could replace the functions that run when rows are written and ticked';
  const remedy = `let its owner run: ALTER SCHEMA "scaler" OWNER TO ${quoteName(role)}`;
  throw new TableError('foreign-schema', `${expected}: ${reason}; ${remedy}, or drop it if it is of no use`);
}

/** What a database that is adopted needs before more is made in it. Superusers may replace everything anyway. */
export function belongToSchemaOwner({ owner, isOurs, isSuperuser }: SchemaOwner): readonly Wanted[] {
  if (isOurs || isSuperuser) return [];
  return [{ check: 'false', values: [], remedy: `GRANT ${quoteName(owner)} TO ROLE` }];
}

/** An adopted database goes on: a coordinator that only leads need not own what another one made. */
export function warnOfForeignSchema({ owner, isOurs, isSuperuser, role }: SchemaOwner, log: Logger): void {
  if (isOurs || isSuperuser) return;
  const remedy = `ALTER SCHEMA "scaler" OWNER TO ${quoteName(role)}`;
  log.warn({ owner, remedy }, 'schema scaler belongs to another role, which could replace the functions in it');
}
