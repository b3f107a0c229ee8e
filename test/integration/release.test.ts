import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type pg from 'pg';
import { adoptTable, planAdoption, readAdoption } from '../../shared/postgres/adoption.ts';
import { connectPostgres, type PostgresLink } from '../../shared/postgres/connection.ts';
import { Fence } from '../../shared/postgres/fence.ts';
import { releaseTable } from '../../shared/postgres/release.ts';
import { addRows, removeRows } from '../../shared/postgres/rows.ts';
import { parseTableNames, TableError } from '../../shared/postgres/table.ts';
import { takeCatalogPicture } from '../support/catalog-picture.ts';
import { type OpenedDatabase, openDatabase } from '../support/opened-database.ts';
import type { recordingLog, TestDatabase } from '../support/postgres-server.ts';

const NAMES = parseTableNames({
  table: 'shop.orders',
  idColumn: 'id',
  valueColumn: 'value',
  workerColumn: 'currentworker',
});
/** An application's table, with settings, triggers, indexes and comments of its own. */
const OWN_TABLE = `
  CREATE SCHEMA shop;
  COMMENT ON SCHEMA shop IS 'of the shop';
  CREATE TABLE shop.orders (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), value integer NOT NULL DEFAULT 0, currentworker text,
    note text STORAGE EXTERNAL, made_at timestamptz NOT NULL DEFAULT now(), CONSTRAINT note_is_short CHECK (length(note) < 100))
    WITH (fillfactor = 90, autovacuum_enabled = true, autovacuum_analyze_scale_factor = 0.02, toast.autovacuum_enabled = false);
  ALTER TABLE shop.orders ALTER COLUMN note SET STATISTICS 500;
  COMMENT ON TABLE shop.orders IS 'orders of the shop';
  COMMENT ON COLUMN shop.orders.note IS 'a note';
  COMMENT ON CONSTRAINT note_is_short ON shop.orders IS 'short';
  CREATE INDEX by_time ON shop.orders (made_at) WITH (fillfactor = 80);
  COMMENT ON INDEX shop.by_time IS 'for reports';
  CREATE FUNCTION shop.shorten() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.note := left(NEW.note, 50); RETURN NEW; END';
  CREATE TRIGGER shorten BEFORE INSERT OR UPDATE OF note ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.shorten();
  COMMENT ON TRIGGER shorten ON shop.orders IS 'keeps it short';
  CREATE VIEW shop.recent AS SELECT id, note FROM shop.orders WHERE made_at > now() - interval '1 day';
  GRANT SELECT ON shop.orders TO PUBLIC;
  INSERT INTO shop.orders (note) SELECT n::text FROM generate_series(1, 200) n`;

let opened: OpenedDatabase;
let database: TestDatabase;
let link: PostgresLink;
let admin: pg.Client;
let records: ReturnType<typeof recordingLog>;

beforeEach(async () => {
  opened = await openDatabase('notifi-scaler');
  ({ database, link, admin, records } = opened);
});

afterEach(() => opened.close());

const request = { names: NAMES, slots: 16 };
const adopt = (more: { keepsStorageSettings?: boolean } = {}) =>
  adoptTable(link, { ...request, ...more, log: records.log });
const release = ({ isDryRun = false } = {}) => releaseTable(link, { names: NAMES, isDryRun, log: records.log });

/** Only for the admin's own sessions: the last statement of a session tells a service from others. */
async function query(text: string): Promise<pg.QueryResult> {
  const result = await admin.query(text);
  await admin.query('SELECT 1');
  return result;
}

async function readOptions(): Promise<string[]> {
  return (await query("SELECT reloptions FROM pg_class WHERE oid = 'shop.orders'::regclass")).rows[0].reloptions;
}

async function picture(): Promise<readonly string[]> {
  const taken = await takeCatalogPicture(admin);
  await query('SELECT 1');
  return taken;
}

async function refusalOf(work: Promise<unknown>): Promise<TableError> {
  const error = await work.then(
    () => new Error('expected a refusal, got none'),
    (refusal: unknown) => refusal,
  );
  assert.ok(error instanceof TableError, String(error));
  return error;
}

/** Of the table, by the admin's own transaction. */
async function readLocks(): Promise<string[]> {
  const { rows } = await admin.query(`SELECT mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE pid = pg_backend_pid() AND c.relname = 'orders' AND l.locktype = 'relation'`);
  return rows.map(({ mode }) => mode);
}

/** `SHARE ROW EXCLUSIVE: …` → `ShareRowExclusiveLock`, as pg_locks has it. */
function modeOf(lock: string): string {
  const words = lock.split(':')[0]!.toLowerCase().split(' ');
  return `${words.map((word) => word[0]!.toUpperCase() + word.slice(1)).join('')}Lock`;
}

/** Everything that services and applications do to a table. */
async function useTable(): Promise<void> {
  const fence = new Fence(link, NAMES, { slots: 16 });
  const slots = Array.from({ length: 16 }, (_, slot) => slot);
  await fence.claim({ worker: 'a', incarnation: 1, epoch: await fence.drawEpoch(0), version: 1, slots });
  await fence.tick({ worker: 'a', incarnation: 1, tick: 7, slots });
  await addRows(link, NAMES, 100);
  await removeRows(link, NAMES, 50);
  await query('UPDATE shop.orders SET id = gen_random_uuid() WHERE id IN (SELECT id FROM shop.orders LIMIT 3)');
  await query('BEGIN; TRUNCATE shop.orders; ROLLBACK');
}

describe('release', () => {
  test('leaves the schema as it was before adoption, and the rows as they are', async () => {
    await query(OWN_TABLE);
    const before = await picture();
    await adopt();
    assert.notDeepEqual(await picture(), before);
    await useTable();
    const rows = (await query('SELECT count(*)::int AS n, sum(value)::int AS sum FROM shop.orders')).rows;
    const { settings, isFormerKnown } = await release();
    assert.deepEqual(await picture(), before);
    assert.deepEqual(rows, (await query('SELECT count(*)::int AS n, sum(value)::int AS sum FROM shop.orders')).rows);
    assert.equal(isFormerKnown, true);
    assert.deepEqual(
      settings.find(({ setting }) => setting === 'fillfactor'),
      { setting: 'fillfactor', from: '50', to: '90' },
    );
  });

  test('leaves the schema as it was also after schema scaler was dropped and triggers were lost', async () => {
    await query(OWN_TABLE);
    await query('ALTER TABLE shop.orders RESET (fillfactor, autovacuum_analyze_scale_factor)');
    const before = await picture();
    await adopt();
    await query('DROP TRIGGER scaler_move ON shop.orders; DROP INDEX shop.orders_scaler_slot');
    await adopt();
    await query('DROP SCHEMA scaler CASCADE');
    await release();
    assert.deepEqual(await picture(), before);
    await adopt();
    await query('DROP SCHEMA scaler CASCADE');
    await adopt();
    await release();
    assert.deepEqual(await picture(), before);
  });

  test('can be followed by another adoption, and by another release', async () => {
    await query(OWN_TABLE);
    const before = await picture();
    for (let turn = 0; turn < 2; turn += 1) {
      assert.deepEqual(await adopt(), { slots: 16 });
      assert.ok((await release()).statements.length > 0);
      assert.equal(await readAdoption(link, NAMES), null);
      assert.deepEqual((await release()).statements, []);
    }
    assert.deepEqual(await picture(), before);
  });

  test('leaves the settings that the owner chose after the adoption', async () => {
    await query(OWN_TABLE);
    await adopt();
    await query('ALTER TABLE shop.orders SET (fillfactor = 70, autovacuum_vacuum_cost_delay = 3)');
    await release();
    const options = await readOptions();
    assert.ok(options.includes('fillfactor=70') && options.includes('autovacuum_vacuum_cost_delay=3'), String(options));
    assert.ok(options.includes('autovacuum_analyze_scale_factor=0.02'), String(options));
  });

  test('of a table that adoption created keeps the table, with default settings', async () => {
    await query('CREATE SCHEMA shop');
    await adopt();
    await release();
    assert.equal(await readOptions(), null);
    assert.deepEqual((await release()).statements, []);
  });

  test('says with a dry run what it would do, and changes and locks nothing', async () => {
    await query(OWN_TABLE);
    await adopt();
    const adopted = await picture();
    await admin.query('BEGIN; LOCK TABLE shop.orders IN ACCESS SHARE MODE');
    const { statements } = await release({ isDryRun: true });
    await query('COMMIT');
    assert.deepEqual(await picture(), adopted);
    const texts = statements.map(({ sql }) => sql);
    assert.ok(texts.includes('DROP SCHEMA scaler'), texts.join('\n'));
    assert.ok(texts.includes('DROP INDEX "shop"."orders_scaler_slot"'), texts.join('\n'));
    await release();
    assert.notDeepEqual(await picture(), adopted);
  });

  test('is refused while a session uses schema scaler, and names it', async () => {
    await query(OWN_TABLE);
    await adopt();
    const adopted = await picture();
    const url = new URL(database.url);
    const service = await connectPostgres(
      { connectionString: url.href, applicationName: 'coordinator-7' },
      { log: records.log },
    );
    try {
      await new Fence(service, NAMES, { slots: 16 }).newest();
      const error = await refusalOf(release());
      assert.equal(error.code, 'in-use');
      assert.match(error.message, /pid \d+ \(coordinator-7\); stop all workers and coordinators/);
      assert.match((await release({ isDryRun: true })).refusal ?? '', /coordinator-7/);
    } finally {
      await service.close();
    }
    assert.deepEqual(await picture(), adopted);
    await release();
  });

  test("drops nothing of others' in schema scaler or on top of it, and names it", async () => {
    await query(OWN_TABLE);
    await adopt();
    await query('CREATE VIEW shop.owners AS SELECT slot, worker FROM scaler.slot');
    const adopted = await picture();
    const onTop = await refusalOf(release());
    assert.equal(onTop.code, 'others-depend');
    assert.match(onTop.message, /view shop\.owners depends on table scaler\.slot/);
    await query('DROP VIEW shop.owners; CREATE TABLE scaler.notes (note text)');
    const inside = await refusalOf(release({ isDryRun: true }));
    assert.match(inside.message, /holds what is not ours: TABLE scaler\.notes/);
    await query('DROP TABLE scaler.notes; CREATE VIEW shop.owners AS SELECT slot, worker FROM scaler.slot');
    assert.deepEqual(await picture(), adopted);
  });

  test('waits for a transaction that has the table locked, and names it', async () => {
    await query(OWN_TABLE);
    await adopt();
    await admin.query("SET application_name = 'report'; BEGIN; LOCK TABLE shop.orders IN ACCESS SHARE MODE");
    const releasing = release();
    while (!records.lines.some(({ msg }) => /locked by another transaction/.test(msg)))
      await new Promise((done) => setTimeout(done, 20));
    const line = records.lines.find(({ msg }) => /locked by another transaction/.test(msg));
    assert.match((line as unknown as { reason: string }).reason, /pid \d+ \(report\), transaction open for \d+ s/);
    await query('COMMIT');
    await releasing;
    assert.equal(await readAdoption(link, NAMES), null);
  });
});

describe('storage settings', () => {
  test('every change is reported, as a warning where the owner had set something', async () => {
    await query(OWN_TABLE);
    await adopt();
    const lines = records.lines.filter(({ msg }) => /^storage settings changed/.test(msg));
    const [line] = lines as unknown as { level: number; changes: unknown }[];
    assert.equal(lines.length, 1);
    assert.equal(line?.level, 40);
    assert.deepEqual(line?.changes, [
      { setting: 'fillfactor', from: '90', to: '50' },
      { setting: 'autovacuum_vacuum_scale_factor', from: null, to: '0.05' },
      { setting: 'autovacuum_vacuum_threshold', from: null, to: '1000' },
      { setting: 'autovacuum_analyze_scale_factor', from: '0.02', to: '100' },
      { setting: 'vacuum_truncate', from: null, to: 'false' },
    ]);
  });

  test('stay as they are where that is asked for, also when the table is mended', async () => {
    await query(OWN_TABLE);
    const options = await readOptions();
    await adopt({ keepsStorageSettings: true });
    await query('DROP INDEX shop.orders_scaler_slot');
    await adopt({ keepsStorageSettings: true });
    assert.deepEqual(await readOptions(), options);
    await release();
    assert.deepEqual(await readOptions(), options);
  });
});

describe('a dry run of adoption', () => {
  test('lists what adoption runs, with its locks, and changes nothing', async () => {
    await query(OWN_TABLE);
    const before = await picture();
    const plan = await planAdoption(link, { ...request, log: records.log });
    assert.deepEqual(await picture(), before);
    const lockOf = (pattern: RegExp) => plan.statements.find(({ sql }) => pattern.test(sql))?.lock ?? 'none';
    assert.match(lockOf(/^CREATE OR REPLACE TRIGGER scaler_insert/), /^SHARE ROW EXCLUSIVE/);
    assert.match(lockOf(/^CREATE INDEX CONCURRENTLY/), /^SHARE UPDATE EXCLUSIVE.*older transactions/);
    assert.match(lockOf(/^ALTER TABLE "shop"."orders" SET/), /^SHARE UPDATE EXCLUSIVE/);
    assert.equal(lockOf(/^CREATE TABLE scaler.slot/), 'none');
    assert.deepEqual(plan.settings[0], { setting: 'fillfactor', from: '90', to: '50' });
    // Run by hand, it is the adoption itself.
    for (const { sql, lock } of plan.statements) {
      await admin.query(sql);
      // A statement outside a transaction has released its locks.
      if (lock !== null && (await readLocks()).length > 0) assert.ok((await readLocks()).includes(modeOf(lock)), sql);
    }
    await query('SELECT 1');
    const byHand = await picture();
    assert.deepEqual(await adopt(), { slots: 16 });
    assert.deepEqual(await picture(), byHand);
    assert.deepEqual((await planAdoption(link, { ...request, log: records.log })).statements, []);
    await release();
    assert.deepEqual(await picture(), before);
  });

  test('of a table that does not exist lists its creation', async () => {
    await query('CREATE SCHEMA shop');
    const plan = await planAdoption(link, { ...request, log: records.log });
    assert.equal(plan.isTableThere, false);
    assert.ok(plan.statements.some(({ sql }) => /^CREATE TABLE IF NOT EXISTS "shop"\."orders"/.test(sql)));
    for (const { sql } of plan.statements) await admin.query(sql);
    assert.deepEqual(await readAdoption(link, NAMES), { slots: 16 });
  });

  test('warns of triggers, constraints, indexes and a short worker column, as adoption does', async () => {
    await query(`CREATE SCHEMA shop;
      CREATE TABLE shop.orders (id uuid PRIMARY KEY, value integer CHECK (value < 1000), currentworker varchar(20));
      CREATE INDEX by_value ON shop.orders (value);
      CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
      CREATE TRIGGER touch BEFORE UPDATE ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.touch();
      CREATE TRIGGER other BEFORE UPDATE OF id ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.touch()`);
    const { warnings } = await planAdoption(link, { ...request, log: records.log });
    const named = warnings.map(({ fields }) => fields.index ?? fields.trigger ?? fields.constraint ?? fields.type);
    assert.deepEqual(named, ['by_value', 'touch', 'orders_value_check', 'character varying(20)']);
    await adopt();
    const logged = records.lines.map(({ msg }) => msg);
    for (const { message } of warnings) assert.ok(logged.includes(message), message);
  });
});
