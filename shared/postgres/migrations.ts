/**
 * What adoption makes, in numbered steps. Each is recorded in `scaler.migration` in the transaction that makes it, and never
 * changed afterwards: what comes later gets a number of its own, and is applied to adopted databases too.
 *
 * A later migration runs while workers of the former version tick and applications write. So it locks a table in use only for
 * as long as the catalog takes, rewrites none, and leaves former workers' statements valid or sets `breaksWorkers`.
 */
import { hasRelation } from './adoption-record.ts';
import type { AdoptionContext } from './adoption-session.ts';
import { carefulFunction } from './careful-tick.ts';
import {
  alterTriggerStatements,
  findAlteredFunctions,
  findAlteredTriggers,
  functionStatements,
} from './definitions.ts';
import { EPOCH_FUNCTION } from './epoch-function.ts';
import type { Ask } from './privileges.ts';
import type { Session } from './session.ts';
import {
  findChanges,
  readFormerSettings,
  readSettings,
  recordFormerSettings,
  updateFormer,
  WORK_SETTINGS,
} from './storage-settings.ts';
import { describeTable, quoteName, quoteTable, quoteText, slotExpression, type TableNames } from './table.ts';

/** A session, or what only records what would be run in one. */
export type MigrationSession = Pick<Session, 'query' | 'isOver'>;

export interface MigrationContext extends AdoptionContext {
  readonly session: MigrationSession;
  readonly names: TableNames;
  readonly slots: number;
  /** The table's storage settings stay as they are. @default false */
  readonly keepsStorageSettings?: boolean | undefined;
}

export interface Migration {
  readonly number: number;
  readonly name: string;
  /** False: it makes its own transactions, and running it again after half of it is harmless. */
  readonly isTransactional: boolean;
  /** Of what can be lost or altered after it was made: is it still there? False has the migration run again. */
  readonly isIntact?: (context: MigrationContext) => Promise<boolean>;
  /** True: it needs the rights of the table's owner. */
  readonly isOfTable: boolean;
  /** True: workers that do not know this migration cannot work with it, and refuse to start. @default false */
  readonly breaksWorkers?: boolean;
  readonly run: (context: MigrationContext) => Promise<void>;
}

/** Everybody who comes after us waits behind us for as long as we wait for a lock: so not for long, and then again later. */
export const LOCK_LIMIT = "SET LOCAL lock_timeout = '100ms'";

const SLOT_SETTINGS = WORK_SETTINGS.replace('fillfactor = 50', 'fillfactor = 25');
/** A queue: it is written at its end, and pruned every few seconds. */
const CHANGE_SETTINGS =
  'autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_insert_threshold = -1, vacuum_truncate = false';

const CHANGE_INDEX = 'table_change_xid';
/** Workers of this version cannot begin before it; those of the former version go on as they are. */
export const INCARNATIONS: Migration = {
  number: 8,
  name: 'incarnations',
  isTransactional: true,
  isOfTable: false,
  isIntact: ({ session }) => hasIncarnations((statement) => session.query(statement)),
  run: addIncarnations,
};

/** Sets the table's storage settings. */
const STORAGE_NUMBER = 4;

export const MIGRATIONS: readonly Migration[] = [
  { number: 1, name: 'bookkeeping', isTransactional: true, isOfTable: false, run: makeBookkeeping },
  { number: 2, name: 'work table', isTransactional: true, isOfTable: true, isIntact: hasTable, run: makeTable },
  { number: 3, name: 'slot index', isTransactional: false, isOfTable: true, isIntact: hasIndex, run: makeIndex },
  // A table without the index is another one than before, and lost its settings too. What an owner chose later stays.
  {
    number: STORAGE_NUMBER,
    name: 'storage settings',
    isTransactional: true,
    isOfTable: true,
    isIntact: hasIndex,
    run: setStorage,
  },
  {
    number: 5,
    name: 'change triggers',
    isTransactional: true,
    isOfTable: true,
    isIntact: hasTriggers,
    run: makeTriggers,
  },
  {
    number: 6,
    name: 'replica identity',
    isTransactional: true,
    isOfTable: false,
    isIntact: hasIdentity,
    run: setIdentity,
  },
  // Databases of the first version have functions that notify: replacing those, too, is part of it.
  {
    number: 7,
    name: 'changes without NOTIFY',
    isTransactional: true,
    isOfTable: false,
    isIntact: hasChangeIndex,
    run: makeChangeIndex,
  },
  INCARNATIONS,
  { number: 9, name: 'careful ticks', isTransactional: true, isOfTable: false, run: makeCarefulTick },
  { number: 10, name: 'installation', isTransactional: true, isOfTable: false, run: addInstallation },
];

export function isOfStorage({ number }: Migration): boolean {
  return number === STORAGE_NUMBER;
}

/**
 * A table with our index had a schema `scaler` before, and its workers may live: what they have ticked in this second must
 * not be ticked again, so all slots count as ticked.
 */
async function makeBookkeeping(context: MigrationContext): Promise<void> {
  const { session, names, slots } = context;
  const lastTick = (await hasIndex(context)) ? 'floor(extract(epoch FROM clock_timestamp()))::bigint' : '0';
  const statements = [
    `CREATE TABLE scaler.slot (slot int PRIMARY KEY, epoch bigint NOT NULL DEFAULT 0, version bigint NOT NULL DEFAULT 0,
      worker text, last_tick bigint NOT NULL DEFAULT 0) WITH (${SLOT_SETTINGS})`,
    `INSERT INTO scaler.slot (slot, last_tick) SELECT slot, ${lastTick} FROM generate_series(0, ${slots - 1}) slot`,
    `CREATE TABLE scaler.table_change (slot int NOT NULL, delta int NOT NULL,
      xid xid8 NOT NULL DEFAULT pg_current_xact_id()) WITH (${CHANGE_SETTINGS})`,
    'CREATE SEQUENCE scaler.epoch',
    // One row. `epoch` is the last one drawn: only that leader prunes. `completed_at` is set once all is made.
    `CREATE TABLE scaler.adoption (is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only), table_schema text NOT NULL,
      table_name text NOT NULL, id_column text NOT NULL, value_column text NOT NULL, worker_column text NOT NULL,
      slots int NOT NULL, epoch bigint NOT NULL DEFAULT 0, completed_at timestamptz)`,
    `INSERT INTO scaler.adoption (table_schema, table_name, id_column, value_column, worker_column, slots)
      VALUES (${[names.schema, names.table, names.id, names.value, names.worker].map(quoteText).join(', ')}, ${slots})`,
    ...functionStatements(EPOCH_FUNCTION),
  ];
  for (const text of statements) await session.query({ text });
}

async function makeTable(context: MigrationContext): Promise<void> {
  const { session, names } = context;
  if (await hasTable(context)) return;
  const [id, value, worker] = [names.id, names.value, names.worker].map(quoteName);
  await session.query({
    text: `CREATE TABLE IF NOT EXISTS ${quoteTable(names)} (${id} uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      ${value} integer NOT NULL DEFAULT 0, ${worker} text) WITH (${WORK_SETTINGS})`,
  });
  await recordFormerSettings((statement) => session.query(statement), []);
}

/**
 * Concurrently, unless the table is empty: a table that is in use must stay so, but an empty one need not wait for everybody's
 * long transactions. It is built under another name: one of ours that is there, however wrong, is dropped only when the new
 * one is ready to take its place, and an attempt that could not swap them builds nothing again.
 */
async function makeIndex(context: MigrationContext): Promise<void> {
  const { session, names, slots, log } = context;
  const name = indexName(names);
  const next = indexName(names, '_next');
  const table = quoteTable(names);
  const qualified = (index: string) => `${quoteName(names.schema)}.${quoteName(index)}`;
  const create = (how: string, index: string) =>
    `CREATE INDEX ${how} ${quoteName(index)} ON ${table} (${slotExpression(names.id, slots)})`;
  const { rows } = await session.query<{ empty: boolean }>({
    text: 'SELECT coalesce(pg_relation_size(to_regclass($1)), 0) = 0 AS empty',
    values: [table],
  });
  log.info({ index: name }, 'making the slot index');
  const drop = `BEGIN; ${LOCK_LIMIT}; DROP INDEX IF EXISTS ${qualified(name)}`;
  if (rows[0]?.empty === true) {
    await session.query({ text: `${drop}; ${create('', name)}; COMMIT` });
  } else {
    if (!(await hasIndex(context, next))) {
      // What a broken attempt leaves behind is invalid.
      await session.query({ text: `DROP INDEX CONCURRENTLY IF EXISTS ${qualified(next)}` });
      await session.query({ text: create('CONCURRENTLY', next) });
    }
    await session.query({ text: `${drop}; ALTER INDEX ${qualified(next)} RENAME TO ${quoteName(name)}; COMMIT` });
  }
  // An expression has no statistics before the first ANALYZE after its index.
  await session.query({ text: `ANALYZE ${table}` });
}

/** Rewrites nothing: a table that was there keeps its full pages until its rows have moved. */
async function setStorage({ session, names, keepsStorageSettings, log }: MigrationContext): Promise<void> {
  const ask: Ask = (statement) => session.query(statement);
  const current = await readSettings(ask, names);
  // A dry run creates no table.
  if (current === null) return;
  const changes = findChanges(current);
  if (changes.length === 0) return;
  const table = describeTable(names);
  const text = `ALTER TABLE ${quoteTable(names)} SET (${WORK_SETTINGS})`;
  if (keepsStorageSettings === true) {
    log.warn({ table, recommended: text }, 'storage settings of the table kept; ticks cost more and the table grows');
    return;
  }
  const former = await readFormerSettings(ask);
  const updated = former === null ? null : updateFormer(former, current);
  if (updated !== null && String(updated) !== String(former)) await recordFormerSettings(ask, updated);
  await session.query({ text });
  const isOwnersChanged = changes.some(({ from }) => from !== null);
  // What the owner set deliberately deserves attention.
  if (isOwnersChanged) log.warn({ table, changes }, 'storage settings changed; --keep-storage-settings keeps them');
  else log.info({ table, changes }, 'storage settings changed');
}

/**
 * A publication FOR ALL TABLES has Postgres refuse every DELETE from a table without a replica identity, at any `wal_level`.
 * FULL changes the catalog only, costs inserts nothing, and adds 24 bytes of WAL to a pruned row where `wal_level` is logical.
 * A primary key would rewrite the table while its writers wait, and make each of their inserts dearer: docs/performance.md.
 */
async function setIdentity({ session }: MigrationContext): Promise<void> {
  await session.query({ text: 'ALTER TABLE scaler.table_change REPLICA IDENTITY FULL' });
}

/** Workers that come before it tick as far as they can without. Edited or dropped, it is mended as the triggers' functions are. */
async function makeCarefulTick({ session, names, slots }: MigrationContext): Promise<void> {
  for (const text of functionStatements(carefulFunction(names, slots))) await session.query({ text });
}

/** What they hold is settled at each adoption, see installation.ts. */
async function addInstallation({ session }: MigrationContext): Promise<void> {
  await session.query({
    text: `ALTER TABLE scaler.adoption ADD COLUMN IF NOT EXISTS installation text,
      ADD COLUMN IF NOT EXISTS former_installation text, ADD COLUMN IF NOT EXISTS nats_prefix text`,
  });
}

async function hasIdentity({ session }: MigrationContext): Promise<boolean> {
  const { rows } = await session.query({
    text: `SELECT 1 FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
      WHERE s.nspname = 'scaler' AND c.relname = 'table_change' AND c.relreplident = 'f'`,
  });
  return rows.length === 1;
}

/**
 * The leader polls for changes, so each poll must find the new ones quickly, also where an old snapshot keeps vacuum from
 * removing those that were pruned. The index is made while writers wait; what there is to index is little.
 */
async function makeChangeIndex(context: MigrationContext): Promise<void> {
  await context.session.query({ text: `DROP INDEX IF EXISTS scaler.${CHANGE_INDEX}` });
  await context.session.query({ text: `CREATE INDEX ${CHANGE_INDEX} ON scaler.table_change (xid)` });
  await replaceFunctions(context);
}

async function hasChangeIndex({ session }: MigrationContext): Promise<boolean> {
  const { rows } = await session.query({
    text: `SELECT 1 FROM pg_index x JOIN pg_class n ON n.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
      JOIN pg_namespace s ON s.oid = c.relnamespace
      WHERE s.nspname = 'scaler' AND c.relname = 'table_change' AND n.relname = $1 AND x.indisvalid`,
    values: [CHANGE_INDEX],
  });
  return rows.length === 1;
}

/**
 * Which process of the worker claimed the slot. NULL: one of the version before. Such a process leaves what stands there when it
 * claims, so together with a worker that it never named an incarnation means nothing.
 */
async function addIncarnations({ session }: MigrationContext): Promise<void> {
  await session.query({ text: 'ALTER TABLE scaler.slot ADD COLUMN IF NOT EXISTS incarnation bigint' });
}

/** By the catalog, so that workers need no right on `scaler.migration`. */
export async function hasIncarnations(ask: Ask): Promise<boolean> {
  const { rows } = await ask({
    text: `SELECT 1 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace s ON s.oid = c.relnamespace
      WHERE s.nspname = 'scaler' AND c.relname = 'slot' AND a.attname = 'incarnation' AND NOT a.attisdropped`,
  });
  return rows.length === 1;
}

/** Functions first: the triggers name them. Only what differs is touched, so edited functions alone lock no table. */
async function makeTriggers({ session, names, slots }: MigrationContext): Promise<void> {
  await replaceFunctions({ session, names, slots });
  const triggers = await findAlteredTriggers((statement) => session.query(statement), names);
  for (const text of alterTriggerStatements(triggers, names)) await session.query({ text });
}

/** Makes those functions that are missing or altered. @returns their names. */
export async function replaceFunctions({
  session,
  names,
  slots,
}: Pick<MigrationContext, 'session' | 'names' | 'slots'>): Promise<readonly string[]> {
  const altered = await findAlteredFunctions((statement) => session.query(statement), { names, slots });
  for (const text of altered.flatMap(functionStatements)) await session.query({ text });
  return altered.map(({ name }) => name);
}

async function hasTable({ session, names }: Pick<MigrationContext, 'session' | 'names'>): Promise<boolean> {
  return hasRelation((statement) => session.query(statement), names.schema, names.table);
}

async function hasTriggers({ session, names }: MigrationContext): Promise<boolean> {
  return (await findAlteredTriggers((statement) => session.query(statement), names)).length === 0;
}

export async function hasIndex({ session, names, slots }: MigrationContext, name = indexName(names)): Promise<boolean> {
  const { rows } = await session.query({
    text: `SELECT 1 FROM pg_index x JOIN pg_class n ON n.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
      JOIN pg_namespace s ON s.oid = c.relnamespace
      WHERE s.nspname = $1 AND c.relname = $2 AND n.relname = $3 AND x.indisvalid AND pg_get_indexdef(x.indexrelid) ~ $4`,
    values: [names.schema, names.table, name, `\\D${slots - 1}\\D`],
  });
  return rows.length === 1;
}

/** In the table's schema, within Postgres' 63 bytes. */
export function indexName({ table }: TableNames, ending = ''): string {
  const suffix = `_scaler_slot${ending}`;
  let stem = table;
  while (Buffer.byteLength(stem + suffix) > 63) stem = stem.slice(0, -1);
  return stem + suffix;
}
