/** The way back: removes everything that adoption made, and restores the storage settings that the table had before. */

import { hasNamespace, hasRelation, readRecord, requireSameTable } from './adoption-record.ts';
import { type AdoptionContext, retryWhileLocked, tryLockAdoption, withAdoptionSession } from './adoption-session.ts';
import { carefulFunction } from './careful-tick.ts';
import { changeFunctions, changeTriggers } from './change-triggers.ts';
import type { PostgresLink } from './connection.ts';
import { EPOCH_FUNCTION } from './epoch-function.ts';
import { stateOf } from './failure.ts';
import { readRecorded, requireKnown } from './migration-record.ts';
import { indexName, LOCK_LIMIT, MIGRATIONS } from './migrations.ts';
import type { Ask } from './privileges.ts';
import { describeLock, type RecordedStatement } from './recording-session.ts';
import type { Session } from './session.ts';
import { readFormerSettings, readSettings, restoreSettings, type SettingChange } from './storage-settings.ts';
import { describeTable, quoteName, quoteTable, TableError, type TableNames } from './table.ts';

export interface Release {
  /** Run in one transaction. Empty: Postgres holds nothing of ours. */
  readonly statements: readonly RecordedStatement[];
  readonly settings: readonly SettingChange[];
  /** False: an earlier version adopted the table, and did not record its settings; ours are reset to Postgres' defaults. */
  readonly isFormerKnown: boolean;
  /** Of a dry run: why it would be refused now. */
  readonly refusal: string | null;
}

/** A connection of a service, as far as Postgres can tell. */
export interface ServiceSession {
  readonly pid: number;
  readonly application: string;
}

interface ReleaseRequest extends AdoptionContext {
  readonly names: TableNames;
  readonly isDryRun: boolean;
}

const TABLES = ['table_change', 'slot', 'migration', 'adoption'];
const SEQUENCE = 'epoch';
const DEPENDENT_OBJECTS = '2BP01';

/**
 * Removes triggers, slot index and schema `scaler` and restores storage settings, all or nothing; rows stay as they are. With
 * `isDryRun` only says what it would do. A second run finds nothing to do. The table is locked for as long as the catalog takes.
 *
 * @throws {TableError} `in-use` while services are connected, `others-depend` where somebody else's objects use ours,
 *   `adopted-otherwise`, `newer-schema`, `missing-privilege`. The signal's reason.
 */
export async function releaseTable(link: PostgresLink, request: ReleaseRequest): Promise<Release> {
  try {
    return await withAdoptionSession(link, request, (session) => releaseIn(session, request));
  } catch (error) {
    const state = stateOf(error);
    if (state === DEPENDENT_OBJECTS) throw describeDependents(error as Error & { readonly detail?: string });
    if (state !== '42501') throw error;
    const advice = `run it as the owner of ${describeTable(request.names)} and of schema scaler`;
    throw new TableError('missing-privilege', `a right is missing: ${(error as Error).message}; ${advice}`, {
      cause: error,
    });
  }
}

async function releaseIn(session: Session, request: ReleaseRequest): Promise<Release> {
  const { names, isDryRun, log, signal, onWait } = request;
  const ask: Ask = (statement) => session.query(statement);
  if (!isDryRun && !(await tryLockAdoption(ask))) {
    throw new TableError(
      'in-use',
      'another process adopts or releases the table just now; try again when it has ended',
    );
  }
  const inUse = await findSessions(ask);
  if (inUse !== null && !isDryRun) throw inUse;
  const release = { ...(await planRelease(ask, names)), refusal: inUse?.message ?? null };
  if (isDryRun || release.statements.length === 0) return release;
  const attempt = async () => {
    try {
      await session.query({ text: `BEGIN; ${LOCK_LIMIT}` });
      for (const { sql } of release.statements) await session.query({ text: sql });
      await session.query({ text: 'COMMIT' });
    } catch (error) {
      if (!session.isOver) await session.query({ text: 'ROLLBACK' });
      throw error;
    }
  };
  await retryWhileLocked(attempt, { ask, names, name: 'release', log, signal, onWait });
  return release;
}

/**
 * Workers are known by their ids, all services by what they run: the last statement of each of their connections names schema `scaler`.
 * A person's session that looked into it last is taken for one too, and named.
 */
async function findSessions(ask: Ask): Promise<TableError | null> {
  const workers = (await hasRelation(ask, 'scaler', 'slot'))
    ? (await ask<{ worker: string }>({ text: 'SELECT DISTINCT worker FROM scaler.slot WHERE worker IS NOT NULL' })).rows
    : [];
  const { rows } = await ask<ServiceSession>({
    text: `SELECT pid, application_name AS application FROM pg_stat_activity
      WHERE datname = current_database() AND backend_type = 'client backend'
        AND application_name IS DISTINCT FROM current_setting('application_name')
        AND (application_name = ANY ($1::text[]) OR query ~ '\\mscaler\\.|''scaler''') ORDER BY pid`,
    // As Postgres cuts them.
    values: [workers.map(({ worker }) => worker.slice(0, 63))],
  });
  if (rows.length === 0) return null;
  const sessions = rows.map(({ pid, application }) => `pid ${pid} (${application === '' ? 'no name' : application})`);
  return new TableError(
    'in-use',
    `expected no session that uses schema scaler, got ${sessions.join(', ')}; stop all workers and coordinators, close other such sessions, and try again`,
  );
}

async function planRelease(ask: Ask, names: TableNames): Promise<Omit<Release, 'refusal'>> {
  const record = (await hasRelation(ask, 'scaler', 'adoption')) ? await readRecord(ask) : null;
  if (record !== null) {
    requireSameTable(record, names);
    requireKnown(await readRecorded(ask), MIGRATIONS);
  }
  const equipment = await listEquipment(ask, names);
  const current = await readSettings(ask, names);
  // A table without our equipment was never adopted: settings that look like ours are its owner's.
  const isOurs = record !== null || equipment.length > 0;
  const former = await readFormerSettings(ask);
  const restoration =
    current === null || !isOurs ? { statements: [], changes: [] } : restoreSettings(names, { current, former });
  const texts = [...equipment, ...restoration.statements, ...(await listSchema(ask, names))];
  return {
    statements: texts.map((sql) => ({ sql, lock: describeLock(sql, names) })),
    settings: restoration.changes,
    isFormerKnown: former !== null || restoration.changes.length === 0,
  };
}

/** The table's triggers and indexes of ours, also those that only an earlier or a broken attempt left. */
async function listEquipment(ask: Ask, names: TableNames): Promise<readonly string[]> {
  const ours = changeTriggers(names).map(({ name }) => name);
  const { rows } = await ask<{ kind: 'trigger' | 'index'; name: string }>({
    text: `WITH t AS (SELECT c.oid FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
        WHERE s.nspname = $1 AND c.relname = $2)
      SELECT 'trigger' AS kind, g.tgname::text AS name FROM pg_trigger g JOIN t ON t.oid = g.tgrelid
        JOIN pg_proc p ON p.oid = g.tgfoid JOIN pg_namespace f ON f.oid = p.pronamespace
        WHERE NOT g.tgisinternal AND f.nspname = 'scaler' AND g.tgname = ANY ($4)
      UNION ALL SELECT 'index', n.relname::text FROM pg_index x JOIN t ON t.oid = x.indrelid JOIN pg_class n ON n.oid = x.indexrelid
        WHERE starts_with(n.relname, $3) AND pg_get_indexdef(x.indexrelid) ~ 'uuid_hash_extended' ORDER BY 1 DESC, 2`,
    values: [names.schema, names.table, indexName(names), ours],
  });
  return rows.map(({ kind, name }) =>
    kind === 'trigger'
      ? `DROP TRIGGER ${quoteName(name)} ON ${quoteTable(names)}`
      : `DROP INDEX ${quoteName(names.schema)}.${quoteName(name)}`,
  );
}

/** One by one and without CASCADE: what somebody else made in schema `scaler`, or on top of it, is never dropped. */
async function listSchema(ask: Ask, names: TableNames): Promise<readonly string[]> {
  if (!(await hasNamespace(ask, 'scaler'))) return [];
  const functions = [EPOCH_FUNCTION, carefulFunction(names, 1), ...changeFunctions(names, 1)].map(({ name }) => name);
  const { rows } = await ask<{ sql: string; isOurs: boolean }>({
    text: `WITH s AS (SELECT oid FROM pg_namespace WHERE nspname = 'scaler'), found AS (
        SELECT 1 AS turn, format('FUNCTION scaler.%I(%s)', p.proname, pg_get_function_identity_arguments(p.oid)) AS what,
          p.proname = ANY ($1) AS "isOurs" FROM pg_proc p JOIN s ON s.oid = p.pronamespace
        UNION ALL SELECT 2, format('%s scaler.%I', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW'
            WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END, c.relname),
          c.relkind = 'r' AND c.relname = ANY ($2) OR c.relkind = 'S' AND c.relname = $3
        FROM pg_class c JOIN s ON s.oid = c.relnamespace WHERE c.relkind NOT IN ('i', 'I', 't'))
      SELECT 'DROP ' || what AS sql, "isOurs" FROM found ORDER BY turn, what`,
    values: [functions, TABLES, SEQUENCE],
  });
  const others = rows.filter(({ isOurs }) => !isOurs).map(({ sql }) => sql.replace('DROP ', ''));
  if (others.length > 0) throw othersDepend(`schema scaler holds what is not ours: ${others.join(', ')}`);
  return [...rows.map(({ sql }) => sql), 'DROP SCHEMA scaler'];
}

function describeDependents({ message, detail }: Error & { readonly detail?: string }): TableError {
  return othersDepend(`${message}${detail === undefined ? '' : ` (${detail.replaceAll('\n', '; ')})`}`);
}

function othersDepend(what: string): TableError {
  return new TableError(
    'others-depend',
    `${what}; drop that, or move it elsewhere, and try again: nothing was changed`,
  );
}
