/**
 * What adoption makes, in numbered steps. Each is recorded in `scaler.migration` in the transaction that makes it, and never
 * changed afterwards: what comes later gets a number of its own.
 */
import type { Logger } from 'pino';
import { changeTriggerStatements, TRIGGER_NAMES } from './change-triggers.ts';
import type { Session } from './session.ts';
import { quoteName, quoteTable, quoteText, slotExpression, type TableNames } from './table.ts';

export interface MigrationContext {
  readonly session: Session;
  readonly names: TableNames;
  readonly slots: number;
  readonly log: Logger;
}

export interface Migration {
  readonly number: number;
  readonly name: string;
  /** False: it makes its own transactions, and running it again after half of it is harmless. */
  readonly isTransactional: boolean;
  /** True: it is part of the table, and gone with it when somebody drops the table and makes another. */
  readonly isOfTable: boolean;
  readonly run: (context: MigrationContext) => Promise<void>;
}

/** Somebody's long transaction may hold the table: waiting for its lock would hold up everybody behind us. */
export const LOCK_LIMIT = "SET LOCAL lock_timeout = '3s'";

/**
 * Ticks update every row each second, all of it HOT while the pages have room. Vacuum must come often, since a little is
 * not HOT, and must not shorten the file, for which it locks the table. Statistics hardly matter to us: what is updated
 * each second would otherwise be analyzed each minute.
 */
const WORK_SETTINGS = [
  'fillfactor = 50',
  'autovacuum_vacuum_scale_factor = 0.05',
  'autovacuum_vacuum_threshold = 1000',
  'autovacuum_analyze_scale_factor = 100',
  'vacuum_truncate = false',
].join(', ');

const SLOT_SETTINGS = WORK_SETTINGS.replace('fillfactor = 50', 'fillfactor = 25');
/** A queue: it is written at its end, and pruned every few seconds. */
const CHANGE_SETTINGS =
  'autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_insert_threshold = -1, vacuum_truncate = false';

export const MIGRATIONS: readonly Migration[] = [
  { number: 1, name: 'bookkeeping', isTransactional: true, isOfTable: false, run: makeBookkeeping },
  { number: 2, name: 'work table', isTransactional: true, isOfTable: true, run: makeTable },
  { number: 3, name: 'slot index', isTransactional: false, isOfTable: true, run: makeIndex },
  { number: 4, name: 'storage settings', isTransactional: true, isOfTable: true, run: setStorage },
  { number: 5, name: 'change triggers', isTransactional: true, isOfTable: true, run: makeTriggers },
];

async function makeBookkeeping({ session, names, slots }: MigrationContext): Promise<void> {
  const statements = [
    `CREATE TABLE scaler.slot (slot int PRIMARY KEY, epoch bigint NOT NULL DEFAULT 0, version bigint NOT NULL DEFAULT 0,
      worker text, last_tick bigint NOT NULL DEFAULT 0) WITH (${SLOT_SETTINGS})`,
    `INSERT INTO scaler.slot (slot) SELECT generate_series(0, ${slots - 1})`,
    `CREATE TABLE scaler.table_change (slot int NOT NULL, delta int NOT NULL,
      xid xid8 NOT NULL DEFAULT pg_current_xact_id()) WITH (${CHANGE_SETTINGS})`,
    'CREATE SEQUENCE scaler.epoch',
    // One row. `epoch` is the last one drawn: only that leader prunes. `completed_at` is set once all is made.
    `CREATE TABLE scaler.adoption (is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only), table_schema text NOT NULL,
      table_name text NOT NULL, id_column text NOT NULL, value_column text NOT NULL, worker_column text NOT NULL,
      slots int NOT NULL, epoch bigint NOT NULL DEFAULT 0, completed_at timestamptz)`,
    `INSERT INTO scaler.adoption (table_schema, table_name, id_column, value_column, worker_column, slots)
      VALUES (${[names.schema, names.table, names.id, names.value, names.worker].map(quoteText).join(', ')}, ${slots})`,
    // Sequences roll nothing back, so what was once drawn never comes again; the row's lock puts all who draw in a line.
    `CREATE FUNCTION scaler.draw_epoch(above bigint) RETURNS bigint LANGUAGE plpgsql AS $$
      DECLARE floor_epoch bigint; drawn bigint;
      BEGIN
        SELECT greatest(above, epoch) INTO STRICT floor_epoch FROM scaler.adoption FOR UPDATE;
        drawn := nextval('scaler.epoch');
        IF drawn <= floor_epoch THEN
          PERFORM setval('scaler.epoch', floor_epoch);
          drawn := nextval('scaler.epoch');
        END IF;
        UPDATE scaler.adoption SET epoch = drawn;
        RETURN drawn;
      END $$`,
  ];
  for (const text of statements) await session.query({ text });
}

async function makeTable({ session, names }: MigrationContext): Promise<void> {
  const [id, value, worker] = [names.id, names.value, names.worker].map(quoteName);
  await session.query({
    text: `CREATE TABLE IF NOT EXISTS ${quoteTable(names)} (${id} uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      ${value} integer NOT NULL DEFAULT 0, ${worker} text) WITH (${WORK_SETTINGS})`,
  });
}

/**
 * Concurrently, unless the table is empty: a table that is in use must stay so, but an empty one need not wait for
 * everybody's long transactions. What a broken attempt leaves behind is invalid, and dropped first.
 */
async function makeIndex({ session, names, slots, log }: MigrationContext): Promise<void> {
  const name = indexName(names);
  const index = `${quoteName(names.schema)}.${quoteName(name)}`;
  const table = quoteTable(names);
  const { rows } = await session.query<{ empty: boolean }>({
    text: 'SELECT pg_relation_size($1) = 0 AS empty',
    values: [table],
  });
  const how = rows[0]?.empty === true ? '' : 'CONCURRENTLY';
  const drop = `DROP INDEX ${how} IF EXISTS ${index}`;
  const make = `CREATE INDEX ${how} ${quoteName(name)} ON ${table} (${slotExpression(names.id, slots)})`;
  log.info({ index: name }, 'making the slot index');
  const texts = how === '' ? [`BEGIN; ${LOCK_LIMIT}; ${drop}; ${make}; COMMIT`] : [drop, make];
  for (const text of texts) await session.query({ text });
  // An expression has no statistics before the first ANALYZE after its index.
  await session.query({ text: `ANALYZE ${quoteTable(names)}` });
}

/** Rewrites nothing: a table that was there keeps its full pages until its rows have moved. */
async function setStorage({ session, names }: MigrationContext): Promise<void> {
  await session.query({ text: `ALTER TABLE ${quoteTable(names)} SET (${WORK_SETTINGS})` });
}

async function makeTriggers({ session, names, slots }: MigrationContext): Promise<void> {
  for (const text of changeTriggerStatements(names, slots)) await session.query({ text });
}

/** Are the index and the triggers there? They go with the table when somebody drops it, or one by one by hand. */
export async function isTableEquipped({ session, names, slots }: Omit<MigrationContext, 'log'>): Promise<boolean> {
  const { rows } = await session.query<{ indexes: number; triggers: number }>({
    text: `SELECT
      (SELECT count(*)::int FROM pg_index x JOIN pg_class n ON n.oid = x.indexrelid WHERE x.indrelid = c.oid
        AND n.relname = $3 AND x.indisvalid AND pg_get_indexdef(x.indexrelid) ~ $4) AS indexes,
      (SELECT count(*)::int FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = ANY ($5) AND t.tgenabled <> 'D') AS triggers
    FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace WHERE s.nspname = $1 AND c.relname = $2`,
    values: [names.schema, names.table, indexName(names), `\\D${slots - 1}\\D`, TRIGGER_NAMES],
  });
  return rows[0]?.indexes === 1 && rows[0].triggers === TRIGGER_NAMES.length;
}

/** In the table's schema, within Postgres' 63 bytes. */
export function indexName({ table }: TableNames): string {
  const suffix = '_scaler_slot';
  let stem = table;
  while (Buffer.byteLength(stem + suffix) > 63) stem = stem.slice(0, -1);
  return stem + suffix;
}
