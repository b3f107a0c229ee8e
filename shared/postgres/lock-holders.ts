/** Who stands in the way of a lock, so that a wait can be named instead of merely reported. */
import type { Ask } from './privileges.ts';
import type { TableNames } from './table.ts';

export interface LockHolder {
  readonly pid: number;
  readonly application: string;
  /** As in `pg_stat_activity.backend_type`: `client backend`, `autovacuum worker`. */
  readonly kind: string | null;
  /** Since its transaction began, s; null: this role may not see that. */
  readonly ageSeconds: number | null;
}

const SHOWN = 3;

/** A statement for the holders among these backends, the oldest transaction first. `pids`: a query with a column `pid`. */
export function holdersAmong(pids: string): string {
  return `SELECT p.pid, coalesce(a.application_name, '') AS application, a.backend_type AS kind,
      extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS "ageSeconds"
    FROM (SELECT DISTINCT pid FROM (${pids}) f WHERE pid <> pg_backend_pid()) p
    LEFT JOIN pg_stat_activity a ON a.pid = p.pid ORDER BY "ageSeconds" DESC NULLS LAST, p.pid`;
}

const OF_TABLE = holdersAmong(`SELECT l.pid FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
  JOIN pg_namespace s ON s.oid = c.relnamespace JOIN pg_database d ON d.oid = l.database
  WHERE l.granted AND l.locktype = 'relation' AND d.datname = current_database() AND s.nspname = $1 AND c.relname = $2`);
/** A prepared transaction has the number 0. */
const OF_SESSION = holdersAmong('SELECT pid FROM unnest(pg_blocking_pids($1::int)) pid');
/** A key of 64 bits stands in two halves. */
const OF_KEY = holdersAmong(`SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database
  WHERE l.granted AND l.locktype = 'advisory' AND d.datname = current_database() AND l.objsubid = 1
    AND (l.classid::bigint << 32) | l.objid::bigint = $1::bigint`);

/** Those that have any lock on the table, the oldest transaction first. */
export async function findTableHolders(ask: Ask, { schema, table }: TableNames): Promise<readonly LockHolder[]> {
  return (await ask<LockHolder>({ text: OF_TABLE, values: [schema, table] })).rows;
}

/** Those that a session waits for now. */
export async function findBlockers(ask: Ask, pid: number): Promise<readonly LockHolder[]> {
  return (await ask<LockHolder>({ text: OF_SESSION, values: [pid] })).rows;
}

/** Those that have an advisory lock. */
export async function findKeyHolders(ask: Ask, key: string): Promise<readonly LockHolder[]> {
  return (await ask<LockHolder>({ text: OF_KEY, values: [key] })).rows;
}

/** `pid 4711 (psql), transaction open for 61 s`. */
export function describeHolders(holders: readonly LockHolder[]): string {
  const shown = holders.slice(0, SHOWN).map(({ pid, application, kind, ageSeconds }) => {
    if (pid === 0) return 'a prepared transaction: see pg_prepared_xacts';
    const name = application === '' ? (kind ?? '') : application;
    const who = name === '' ? `pid ${pid}` : `pid ${pid} (${name})`;
    return ageSeconds === null ? who : `${who}, transaction open for ${Math.max(0, Math.floor(ageSeconds))} s`;
  });
  const more = holders.length - shown.length;
  return `${shown.join('; ')}${more > 0 ? ` and ${more} more` : ''}`;
}
