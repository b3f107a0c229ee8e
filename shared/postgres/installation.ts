/**
 * Which installation this is, so that two of them on one NATS do not take each other's messages for their own.
 *
 * The identity is `<system>/<database>/<schema>.<table>`. `<system>` is the identifier that initdb gave to the database system, or
 * a random UUID where our role may not read that. It is kept in `scaler.adoption`, so that all services have the same one
 * whatever their roles may read. A copy of a database brings the row along. So the row is held against the database itself:
 * where the two contradict each other, the copy gets an identity of its own.
 */
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import { hasRelation } from './adoption-record.ts';
import { stateOf } from './failure.ts';
import type { Ask } from './privileges.ts';
import { TableError, type TableNames } from './table.ts';

/** What `scaler.adoption` says; null: no coordinator of this version has adopted the table yet. */
export interface Installation {
  readonly identity: string | null;
  /** Before the database turned out to be a copy, or was moved to another system. */
  readonly formerIdentity: string | null;
  /** `''`: none. */
  readonly natsPrefix: string | null;
}

/** What the database itself says. */
interface Facts {
  /** Null: our role may not read it. */
  readonly system: string | null;
  readonly database: string;
}

export interface InstallationRequest {
  readonly names: TableNames;
  readonly log: Logger;
  /** Recorded at the first adoption; undefined: neither recorded nor checked. */
  readonly natsPrefix?: string;
  /** For a database without an identity. @default a new one */
  readonly identity?: string;
}

const NONE: Installation = { identity: null, formerIdentity: null, natsPrefix: null };
/** Through JSON: databases of former versions have no such columns. */
const READ_TEXT = `
SELECT to_jsonb(a) ->> 'installation' AS identity, to_jsonb(a) ->> 'former_installation' AS "formerIdentity",
  to_jsonb(a) ->> 'nats_prefix' AS "natsPrefix" FROM scaler.adoption a`;
const INSUFFICIENT_PRIVILEGE = '42501';
const EVERY_MS = 5_000;
/** After this long, every service has read an identity that was changed. */
export const INSTALLATION_SETTLED_MS = 2 * EVERY_MS + 2_000;

/** As if nothing were recorded where `scaler.adoption` may not be read: adopting the table says which right is missing. */
export async function readInstallation(ask: Ask): Promise<Installation> {
  if (!(await hasRelation(ask, 'scaler', 'adoption'))) return NONE;
  try {
    const { rows } = await ask<Installation>({ text: READ_TEXT });
    return rows[0] ?? NONE;
  } catch (error) {
    if (stateOf(error) === INSUFFICIENT_PRIVILEGE) return NONE;
    throw error;
  }
}

/**
 * Who a service is before it may change anything: the recorded identity, or the one that adopting the table records.
 * `isCopy`: the recorded one is another database's.
 * @throws {TableError} `other-prefix`.
 */
export async function identifyInstallation(
  ask: Ask,
  { names, natsPrefix }: Pick<InstallationRequest, 'names' | 'natsPrefix'>,
): Promise<Installation & { readonly expected: string; readonly isCopy: boolean }> {
  const [recorded, facts] = [await readInstallation(ask), await readFacts(ask)];
  requireSamePrefix(recorded, natsPrefix);
  const isCopy = recorded.identity !== null && isOfOther(recorded.identity, facts, names);
  const expected = recorded.identity === null || isCopy ? makeIdentity(facts, names) : recorded.identity;
  return { ...recorded, expected, isCopy };
}

/**
 * Records identity and prefix where they are missing, and a new identity where the database is a copy. Idempotent; several
 * processes may do it at once.
 * @throws {TableError} `other-prefix`.
 */
export async function settleInstallation(ask: Ask, request: InstallationRequest): Promise<Installation> {
  const { names, natsPrefix, log } = request;
  const found = await identifyInstallation(ask, { names, ...pickPrefix(natsPrefix) });
  const { identity: recorded, expected, isCopy } = found;
  const lacksPrefix = natsPrefix !== undefined && found.natsPrefix === null;
  if (recorded === null) {
    const identity = request.identity ?? expected;
    await ask({ text: 'UPDATE scaler.adoption SET installation = $1 WHERE installation IS NULL', values: [identity] });
  } else if (isCopy) {
    await ask({
      text: 'UPDATE scaler.adoption SET installation = $1, former_installation = $2 WHERE installation = $2',
      values: [expected, recorded],
    });
    log.warn({ from: recorded, to: expected }, 'database is a copy or was moved: the installation got a new identity');
  }
  if (lacksPrefix) {
    await ask({
      text: 'UPDATE scaler.adoption SET nats_prefix = $1 WHERE nats_prefix IS NULL',
      values: [natsPrefix],
    });
  }
  if (recorded !== null && !isCopy && !lacksPrefix) return found;
  const settled = await readInstallation(ask);
  requireSamePrefix(settled, natsPrefix);
  return settled;
}

/**
 * Reads the identity again now and then: a coordinator of this version may have adopted the table since, or the database
 * may have been moved to another system. Returns what ends it.
 */
export function followInstallation(
  read: () => Promise<Installation>,
  become: (identity: string) => void,
  everyMs = EVERY_MS,
): () => void {
  let isBusy = false;
  const timer = setInterval(() => {
    if (isBusy) return;
    isBusy = true;
    read()
      .then(({ identity }) => identity !== null && become(identity))
      // Postgres' troubles are reported by those who need its answer.
      .catch(() => {})
      .finally(() => {
        isBusy = false;
      });
  }, everyMs);
  timer.unref();
  return () => clearInterval(timer);
}

function requireSamePrefix({ natsPrefix: recorded }: Installation, natsPrefix: string | undefined): void {
  if (natsPrefix === undefined || recorded === null || recorded === natsPrefix) return;
  const describe = (prefix: string) => (prefix === '' ? 'no NATS prefix' : `NATS prefix "${prefix}"`);
  const same = recorded === '' ? 'leave out --nats-prefix (NATS_PREFIX)' : `give --nats-prefix ${recorded}`;
  throw new TableError(
    'other-prefix',
    `expected ${describe(recorded)}, with which this database was adopted, got ${describe(natsPrefix)}: two rings on one ` +
      `database depose each other. Either ${same}, or change the prefix: stop all services of this database, run ` +
      `UPDATE scaler.adoption SET nats_prefix = '${natsPrefix}'; and start them again`,
  );
}

async function readFacts(ask: Ask): Promise<Facts> {
  const { rows } = await ask<{ database: string; mayRead: boolean }>({
    text: `SELECT current_database()::text AS database,
      coalesce(has_function_privilege(to_regprocedure('pg_catalog.pg_control_system()'), 'EXECUTE'), false) AS "mayRead"`,
  });
  const { database, mayRead } = rows[0]!;
  if (!mayRead) return { system: null, database };
  const { rows: control } = await ask<{ system: string }>({
    text: 'SELECT system_identifier::text AS system FROM pg_catalog.pg_control_system()',
  });
  return { system: control[0]?.system ?? null, database };
}

function makeIdentity({ system, database }: Facts, names: TableNames): string {
  return `${system ?? randomUUID()}/${placeOf(database, names)}`;
}

/** A random UUID says nothing about the system, and no more does a role that may not read its identifier. */
function isOfOther(identity: string, { system, database }: Facts, names: TableNames): boolean {
  const at = identity.indexOf('/');
  const recorded = identity.slice(0, at);
  if (identity.slice(at + 1) !== placeOf(database, names)) return true;
  return system !== null && /^\d+$/.test(recorded) && recorded !== system;
}

function placeOf(database: string, { schema, table }: TableNames): string {
  return `${database}/${schema}.${table}`;
}

function pickPrefix(natsPrefix: string | undefined): { readonly natsPrefix?: string } {
  return natsPrefix === undefined ? {} : { natsPrefix };
}
