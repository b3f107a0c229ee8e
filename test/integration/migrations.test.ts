import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { adoptTable, readAdoption } from '../../shared/postgres/adoption.ts';
import { connectPostgres, type PostgresLink } from '../../shared/postgres/connection.ts';
import { Fence } from '../../shared/postgres/fence.ts';
import { MIGRATIONS, type Migration } from '../../shared/postgres/migrations.ts';
import { addRows, removeRows } from '../../shared/postgres/rows.ts';
import { TableError } from '../../shared/postgres/table.ts';
import { TableWatch } from '../../shared/postgres/table-watch.ts';
import { VERSION } from '../../shared/process/version.ts';
import { FORMER_CLAIM_TEXT, FORMER_TICK_TEXT } from '../support/former-statements.ts';
import { type OpenedDatabase, openClient, openDatabase } from '../support/opened-database.ts';
import type { recordingLog, TestDatabase } from '../support/postgres-server.ts';
import { ADOPTED_BY_769ECBC, WORK_ITEMS } from '../support/work-items.ts';

const NEWEST = MIGRATIONS.at(-1)!;
/** A migration of a version to come. */
const LATER: Migration = {
  number: 1001,
  name: 'of a later version',
  isTransactional: true,
  isOfTable: false,
  run: async ({ session }) => void (await session.query({ text: 'CREATE TABLE scaler.later (at timestamptz)' })),
};

let opened: OpenedDatabase;
let database: TestDatabase;
let link: PostgresLink;
let admin: pg.Client;
let records: ReturnType<typeof recordingLog>;

beforeEach(async () => {
  opened = await openDatabase();
  ({ database, link, admin, records } = opened);
});

afterEach(() => opened.close());

const adopt = (more: readonly Migration[] = [], by = link) =>
  adoptTable(by, { names: WORK_ITEMS, slots: 16, log: records.log, migrations: [...MIGRATIONS, ...more] });
const connect = (url: string) =>
  connectPostgres({ connectionString: url, applicationName: 'test' }, { log: records.log });
const said = (pattern: RegExp) => records.lines.filter(({ msg }) => pattern.test(msg));

async function adoptAsBefore(): Promise<void> {
  await admin.query(ADOPTED_BY_769ECBC);
}

async function column<Value>(text: string): Promise<Value[]> {
  const { rows } = await admin.query({ text, rowMode: 'array' });
  return rows.map(([value]) => value);
}

async function errorOf(work: Promise<unknown>): Promise<TableError> {
  const error = await work.then(
    () => new Error('expected a TableError, got none'),
    (error) => error,
  );
  assert.ok(error instanceof TableError, String(error));
  return error;
}

/** The triggers count what comes, moves and goes. */
async function requireCounting(): Promise<void> {
  const watch = new TableWatch(link, WORK_ITEMS, { slots: 16 });
  const { at } = await watch.count();
  await addRows(link, WORK_ITEMS, 50);
  await admin.query('UPDATE public.work_items SET id = gen_random_uuid()');
  await removeRows(link, WORK_ITEMS, 20);
  const { deltas, recount } = await watch.changesSince(at);
  const counted = await watch.count();
  assert.equal(recount, false);
  assert.equal(
    deltas.reduce((sum, { delta }) => sum + delta, 0),
    30,
  );
  for (const { slot, delta } of deltas) assert.equal(counted.weights[slot], delta);
  await admin.query('TRUNCATE public.work_items');
  assert.equal((await watch.changesSince(at)).recount, true);
}

describe('a database that is adopted already', () => {
  test('of commit 769ecbc is upgraded with its rows and owners, and the second start changes nothing', async () => {
    await adoptAsBefore();
    const slots = Array.from({ length: 16 }, (_, slot) => slot);
    const fence = new Fence(link, WORK_ITEMS, { slots: 16 });
    const epoch = await fence.drawEpoch(0);
    await addRows(link, WORK_ITEMS, 100);
    await admin.query(FORMER_CLAIM_TEXT, [slots, 'a', epoch, 1]);
    assert.equal((await admin.query(FORMER_TICK_TEXT, [slots, 'a', 7])).rows.length, 100);
    assert.deepEqual(await adopt(), { slots: 16 });
    assert.equal((await fence.claim({ worker: 'a', incarnation: 1, epoch, version: 1, slots })).claimed.length, 16);
    assert.deepEqual(
      await column('SELECT number FROM scaler.migration ORDER BY 1'),
      MIGRATIONS.map(({ number }) => number),
    );
    assert.deepEqual(await readAdoption(link, WORK_ITEMS), { slots: 16 });
    assert.deepEqual(
      await column("SELECT proname FROM pg_proc WHERE prosrc ILIKE '%notify%' AND proname ~ '^record_'"),
      [],
    );
    assert.equal((await fence.tick({ worker: 'a', incarnation: 1, tick: 7, slots })).rows, 0);
    assert.equal((await fence.tick({ worker: 'a', incarnation: 1, tick: 8, slots })).rows, 100);
    assert.equal(await fence.lastEpoch(), epoch);
    const before = await column("SELECT number || ' ' || applied_at || ' ' || xmin FROM scaler.migration ORDER BY 1");
    await adopt();
    assert.deepEqual(
      await column("SELECT number || ' ' || applied_at || ' ' || xmin FROM scaler.migration ORDER BY 1"),
      before,
    );
    assert.deepEqual(said(/recreating|replaced/), []);
    await removeRows(link, WORK_ITEMS, 100);
    await requireCounting();
  });

  for (const [what, prepare] of [
    ['of commit 769ecbc', adoptAsBefore],
    ['of this version', async () => void (await adopt())],
  ] as const) {
    test(`${what} gets a later migration, once, recorded with the version that applied it`, async () => {
      await prepare();
      await Promise.all([adopt([LATER]), adopt([LATER]), adopt([LATER])]);
      assert.deepEqual(await column("SELECT to_regclass('scaler.later')::text"), ['scaler.later']);
      assert.deepEqual(await column('SELECT program_version FROM scaler.migration WHERE number = 1001'), [VERSION]);
    });
  }

  test('is migrated once when coordinators of two versions start at once; the former works or is refused', async () => {
    await adoptAsBefore();
    const former = adopt().then(
      ({ slots }) => slots,
      ({ code }) => code,
    );
    await Promise.all([adopt([LATER]), former, adopt([LATER])]);
    assert.ok([16, 'newer-schema'].includes(await former), String(await former));
    assert.deepEqual(await column('SELECT number FROM scaler.migration ORDER BY 1 DESC LIMIT 1'), [1001]);
    await requireCounting();
  });

  test('by a later version is refused, naming both versions', async () => {
    await adopt([LATER]);
    await admin.query("UPDATE scaler.migration SET program_version = '9.8.7' WHERE number = 1001");
    const error = await errorOf(adopt());
    assert.equal(error.code, 'newer-schema');
    for (const part of ['1001 (of a later version)', 'version 9.8.7', `${NEWEST.number} (${NEWEST.name})`, VERSION])
      assert.ok(error.message.includes(part), error.message);
    assert.match(error.message, /upgrade this coordinator/);
  });

  test('by a later version that recorded no version of its program is refused too', async () => {
    await adoptAsBefore();
    await admin.query("INSERT INTO scaler.migration (number, name) VALUES (900, 'odd')");
    assert.match((await errorOf(adopt())).message, /another version applied migration 900 \(odd\)/);
  });

  test('lets workers of the former version go on after a later migration, unless it says that they cannot', async () => {
    await adopt([LATER]);
    assert.deepEqual(await readAdoption(link, WORK_ITEMS), { slots: 16 });
    const breaking = { ...LATER, number: 1002, name: 'breaking', breaksWorkers: true, run: async () => {} };
    await adopt([LATER, breaking]);
    const error = await errorOf(readAdoption(link, WORK_ITEMS));
    assert.equal(error.code, 'newer-schema');
    assert.match(error.message, /workers that know migration 1002; upgrade this program/);
  });

  test('keeps nothing of a migration that fails', async () => {
    await adopt();
    const run: Migration['run'] = async (context) => {
      await LATER.run(context);
      await context.session.query({ text: 'SELECT 1 / 0' });
    };
    await assert.rejects(adopt([{ ...LATER, run }]), /division by zero/);
    assert.deepEqual(await column("SELECT to_regclass('scaler.later')::text"), [null]);
    await adopt([LATER]);
  });
});

describe('a later migration of a table in use', () => {
  const locking: Migration = {
    ...LATER,
    run: async ({ session }) => void (await session.query({ text: 'ALTER TABLE public.work_items ADD extra int' })),
  };

  test('waits for a transaction of others without holding writers up, and reports it', async () => {
    await adopt();
    const reader = await openClient(database.url);
    const writer = await openClient(database.url);
    await reader.query('BEGIN; SELECT FROM public.work_items');
    // Whoever queues behind a lock request of 3 s would fail.
    await writer.query("SET lock_timeout = '1500ms'");
    const adopting = adopt([locking]);
    for (let done = 0; done < 20 || said(/locked by another transaction/).length === 0; done += 1) {
      await writer.query('INSERT INTO public.work_items DEFAULT VALUES');
      await delay(50);
    }
    assert.deepEqual(await column('SELECT 1 FROM scaler.migration WHERE number = 1001'), []);
    await reader.query('COMMIT');
    await adopting;
    assert.deepEqual(await column('SELECT 1 FROM scaler.migration WHERE number = 1001'), [1]);
    await reader.end();
    await writer.end();
  });

  test('waits for a lock a tenth of a second at most', async () => {
    const limits: unknown[] = [];
    const run: Migration['run'] = async ({ session }) => {
      limits.push(...(await session.query({ text: 'SHOW lock_timeout' })).rows);
    };
    await adopt([{ ...LATER, run }]);
    assert.deepEqual(limits, [{ lock_timeout: '100ms' }]);
  });
});

describe('functions and triggers', () => {
  const edits = {
    'a changed body': `CREATE OR REPLACE FUNCTION scaler.record_insert() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
      SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN NULL; END'`,
    'the rights of the caller': 'ALTER FUNCTION scaler.record_delete() SECURITY INVOKER',
    'an open search path': 'ALTER FUNCTION scaler.record_move() RESET search_path',
    'a right for all': 'GRANT EXECUTE ON FUNCTION scaler.record_truncate() TO PUBLIC',
    'another way to draw epochs': `CREATE OR REPLACE FUNCTION scaler.draw_epoch(above bigint) RETURNS bigint LANGUAGE plpgsql
      AS 'BEGIN RETURN 1; END'`,
  };
  for (const [what, edit] of Object.entries(edits)) {
    test(`that were edited are replaced without any lock on the table: ${what}`, async () => {
      await adopt();
      await admin.query(edit);
      // Only readers get by.
      await admin.query('BEGIN; LOCK TABLE public.work_items, scaler.table_change, scaler.slot IN EXCLUSIVE MODE');
      const adopting = adopt();
      await Promise.race([adopting, delay(20_000, undefined, { ref: false })]);
      await admin.query('COMMIT');
      await adopting;
      assert.deepEqual(said(/locked by another transaction/), []);
      assert.equal(said(/trigger functions were not as this version defines them/).length, 1);
      await adopt();
      assert.equal(said(/trigger functions were not as this version defines them/).length, 1);
      await requireCounting();
      assert.ok((await new Fence(link, WORK_ITEMS, { slots: 16 }).drawEpoch(40)) > 40);
    });
  }

  const table = 'public.work_items';
  const changes = {
    'a disabled trigger': `ALTER TABLE ${table} DISABLE TRIGGER scaler_insert`,
    'a trigger for replicas only': `ALTER TABLE ${table} ENABLE REPLICA TRIGGER scaler_delete`,
    'a dropped trigger': `DROP TRIGGER scaler_truncate ON ${table}`,
    'a trigger of another function': `DROP TRIGGER scaler_delete ON ${table}; CREATE TRIGGER scaler_delete AFTER DELETE
      ON ${table} REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION scaler.record_truncate()`,
    'another condition': `DROP TRIGGER scaler_move ON ${table}; CREATE TRIGGER scaler_move AFTER UPDATE OF id ON ${table}
      FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id AND OLD.value > 5) EXECUTE FUNCTION scaler.record_move()`,
    'another column': `DROP TRIGGER scaler_move ON ${table}; CREATE TRIGGER scaler_move AFTER UPDATE OF value ON ${table}
      FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id) EXECUTE FUNCTION scaler.record_move()`,
    'a trigger for another event': `DROP TRIGGER scaler_truncate ON ${table}; CREATE TRIGGER scaler_truncate
      AFTER INSERT ON ${table} FOR EACH STATEMENT EXECUTE FUNCTION scaler.record_truncate()`,
  };
  for (const [what, change] of Object.entries(changes)) {
    test(`that were changed are recreated: ${what}`, async () => {
      await adopt();
      await admin.query(change);
      const index = await column("SELECT 'public.work_items_scaler_slot'::regclass::oid");
      await adopt();
      assert.equal(said(/missing or was changed; recreating it/).length, 1);
      await adopt();
      assert.equal(said(/missing or was changed; recreating it/).length, 1);
      // Only what was changed: the index of a large table takes minutes.
      assert.deepEqual(await column("SELECT 'public.work_items_scaler_slot'::regclass::oid"), index);
      await requireCounting();
    });
  }
});

test('a coordinator that owns nothing learns which role it must belong to, and can then migrate', async () => {
  const role = `m${database.url.slice(-12)}`;
  await adopt();
  await admin.query(`CREATE ROLE ${role} LOGIN PASSWORD '${role}'; CREATE ROLE ${role}_owner;
    GRANT CREATE ON DATABASE ${new URL(database.url).pathname.slice(1)} TO ${role}_owner; GRANT ALL ON SCHEMA public TO ${role}_owner;
    ALTER SCHEMA scaler OWNER TO ${role}_owner; ALTER TABLE scaler.migration OWNER TO ${role}_owner;
    GRANT SELECT, UPDATE, DELETE ON ALL TABLES IN SCHEMA scaler TO ${role}; GRANT USAGE, UPDATE ON SEQUENCE scaler.epoch TO ${role};
    GRANT USAGE ON SCHEMA scaler TO ${role}; GRANT SELECT ON public.work_items TO ${role}`);
  const url = new URL(database.url);
  url.username = role;
  url.password = role;
  const own = await connect(url.href);
  try {
    assert.deepEqual(await adopt([], own), { slots: 16 });
    const error = await errorOf(adopt([LATER], own));
    assert.equal(error.code, 'missing-privilege');
    const statements = /run: (.*);$/.exec(error.message)?.[1]?.split('; ') ?? [];
    assert.ok(statements.includes(`GRANT "${role}_owner" TO "${role}"`), error.message);
    for (const statement of statements) await admin.query(statement);
    assert.deepEqual(await adopt([LATER], own), { slots: 16 });
  } finally {
    await own.close();
    await admin.query(`REASSIGN OWNED BY ${role}_owner TO CURRENT_USER; REASSIGN OWNED BY ${role} TO CURRENT_USER;
      DROP OWNED BY ${role}, ${role}_owner; DROP ROLE ${role}, ${role}_owner`);
  }
});
