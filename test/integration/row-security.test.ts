import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { afterEach, before, beforeEach, describe, test } from 'node:test';
import pg from 'pg';
import { adoptTable, readAdoption } from '../../shared/postgres/adoption.ts';
import { connectPostgres, type PostgresLink } from '../../shared/postgres/connection.ts';
import { Fence } from '../../shared/postgres/fence.ts';
import { workerNeeds } from '../../shared/postgres/privileges.ts';
import { explainRefusal } from '../../shared/postgres/refusal.ts';
import { addRows } from '../../shared/postgres/rows.ts';
import { TableError } from '../../shared/postgres/table.ts';
import { TableWatch } from '../../shared/postgres/table-watch.ts';
import { freshDatabase, recordingLog, sharedPostgres, type TestDatabase } from '../support/postgres-server.ts';
import { TestSystem } from '../support/test-system.ts';
import { WORK_ITEMS } from '../support/work-items.ts';

const SLOTS = Array.from({ length: 16 }, (_, slot) => slot);
const ENABLE = 'ALTER TABLE public.work_items ENABLE ROW LEVEL SECURITY';
const { log } = recordingLog();
/** The documented grants of a worker. */
const grantWorker = (
  role: string,
) => `GRANT USAGE ON SCHEMA scaler TO ${role}; GRANT SELECT ON scaler.adoption TO ${role};
  GRANT SELECT, UPDATE ON scaler.slot TO ${role}; GRANT SELECT, UPDATE ON public.work_items TO ${role}`;

let server: { url: string };

before(async () => {
  server = await sharedPostgres();
});

function as(url: string, role: string): string {
  const own = new URL(url);
  own.username = role;
  // Where the server lets everybody in by trust it is not asked for.
  own.password = role;
  return own.href;
}

const connect = (url: string) => connectPostgres({ connectionString: url, applicationName: 'test' }, { log });

async function errorOf(work: Promise<unknown>): Promise<TableError> {
  const error = await work.then(
    () => new Error('expected a TableError, got none'),
    (error) => error,
  );
  assert.ok(error instanceof TableError, String(error));
  assert.equal(error.code, 'missing-privilege');
  return error;
}

/** The two ways that the error offers. */
function remediesOf({ message }: TableError): { readonly bypass: string; readonly others: string } {
  const [, bypass, others] = /superuser run: (.*); or let an owner run: (.*)$/.exec(message) ?? [];
  assert.ok(bypass !== undefined && others !== undefined, message);
  return { bypass, others };
}

describe('a role that row-level security applies to', () => {
  let database: TestDatabase;
  let admin: pg.Client;
  let link: PostgresLink;
  let own: PostgresLink;
  let role: string;
  let owner: string;

  beforeEach(async () => {
    database = await freshDatabase(server.url);
    admin = new pg.Client({ connectionString: database.url });
    await admin.connect();
    role = `r${randomBytes(6).toString('hex')}`;
    owner = `${role}_owner`;
    await admin.query(`CREATE ROLE ${role} LOGIN PASSWORD '${role}'; CREATE ROLE ${owner} LOGIN PASSWORD '${owner}'`);
    link = await connect(database.url);
    own = await connect(as(database.url, role));
    await adoptTable(link, { names: WORK_ITEMS, slots: 16, log });
    await admin.query('SELECT scaler.draw_epoch(0)');
    await admin.query(`ALTER TABLE public.work_items OWNER TO ${owner}`);
    await addRows(link, WORK_ITEMS, 100);
  });

  afterEach(async () => {
    await link.close();
    await own.close();
    await admin.query(`REASSIGN OWNED BY ${role}, ${owner} TO CURRENT_USER; DROP OWNED BY ${role}, ${owner}`);
    await admin.query(`DROP ROLE ${role}, ${owner}`);
    await admin.end();
    await database.drop();
  });

  const open = () => readAdoption(own, WORK_ITEMS);

  async function requireTicking(): Promise<void> {
    const fence = new Fence(own, WORK_ITEMS, { slots: 16 });
    await fence.claim({ worker: 'a', incarnation: 1, epoch: 1, version: 1, slots: SLOTS });
    assert.equal((await fence.tick({ worker: 'a', incarnation: 1, tick: 1, slots: SLOTS })).rows, 100);
  }

  for (const way of ['bypass', 'others'] as const) {
    test(`is told what to run as a worker, and ticks every row after it: ${way}`, async () => {
      await admin.query(`${grantWorker(role)}; ${ENABLE}`);
      await admin.query(remediesOf(await errorOf(open()))[way]);
      assert.deepEqual(await open(), { slots: 16 });
      await requireTicking();
    });

    test(`is told what to run where the policies are forced on the owner, and ticks after it: ${way}`, async () => {
      await admin.query(`${grantWorker(role)}; ${ENABLE}; ALTER TABLE public.work_items FORCE ROW LEVEL SECURITY`);
      await admin.query(`GRANT ${owner} TO ${role}`);
      const remedies = remediesOf(await errorOf(open()));
      assert.equal(remedies.others, 'ALTER TABLE "public"."work_items" NO FORCE ROW LEVEL SECURITY');
      await admin.query(remedies[way]);
      assert.deepEqual(await open(), { slots: 16 });
      await requireTicking();
    });

    for (const table of ['slot', 'adoption']) {
      test(`is told what to run for scaler.${table}, and ticks after it: ${way}`, async () => {
        await admin.query(`${grantWorker(role)}; ALTER TABLE scaler.${table} ENABLE ROW LEVEL SECURITY`);
        await admin.query(remediesOf(await errorOf(open()))[way]);
        assert.deepEqual(await open(), { slots: 16 });
        await requireTicking();
      });
    }
  }

  test('is refused whatever a policy allows', async () => {
    await admin.query(`${grantWorker(role)}; ${ENABLE}; CREATE POLICY everything ON public.work_items USING (true)`);
    assert.match((await errorOf(open())).message, /a policy does not help/);
  });

  test('is not refused where it owns the table, or may bypass', async () => {
    await admin.query(`${grantWorker(role)}; ${ENABLE}; GRANT ${owner} TO ${role}`);
    assert.deepEqual(await open(), { slots: 16 });
    await admin.query(`REVOKE ${owner} FROM ${role}; ALTER ROLE ${role} BYPASSRLS`);
    assert.deepEqual(await open(), { slots: 16 });
    await requireTicking();
  });

  test('gets a refusal, and its remedy, from a running session as soon as the policies apply', async () => {
    await admin.query(grantWorker(role));
    const fence = new Fence(own, WORK_ITEMS, { slots: 16 });
    await fence.claim({ worker: 'a', incarnation: 1, epoch: 1, version: 1, slots: SLOTS });
    assert.equal((await fence.tick({ worker: 'a', incarnation: 1, tick: 1, slots: SLOTS })).rows, 100);
    await admin.query(ENABLE);
    const error = await fence.tick({ worker: 'a', incarnation: 1, tick: 2, slots: SLOTS }).catch((error) => error);
    assert.equal(error.code, '42501');
    const explained = await explainRefusal((statement) => own.query('test', statement), workerNeeds(WORK_ITEMS), error);
    assert.ok(explained instanceof TableError);
    await admin.query(remediesOf(explained).others);
    assert.equal((await fence.tick({ worker: 'a', incarnation: 1, tick: 2, slots: SLOTS })).rows, 100);
  });

  test('is told of a right that was taken away as of row-level security', async () => {
    await admin.query(`${grantWorker(role)}; REVOKE UPDATE ON scaler.slot FROM ${role}`);
    const error = await new Fence(own, WORK_ITEMS, { slots: 16 })
      .tick({ worker: 'a', incarnation: 1, tick: 2, slots: SLOTS })
      .catch((e) => e);
    const explained = await explainRefusal((statement) => own.query('test', statement), workerNeeds(WORK_ITEMS), error);
    assert.match(String(explained), /GRANT SELECT, UPDATE ON scaler.slot TO/);
  });

  for (const [what, table] of [
    ['the table', 'public.work_items'],
    ['the changes', 'scaler.table_change'],
    ['the migrations', 'scaler.migration'],
  ] as const) {
    test(`is told what to run as a coordinator, for ${what}, and counts every row after it`, async () => {
      await admin.query(`ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY; GRANT USAGE ON SCHEMA scaler TO ${role};
        GRANT SELECT, UPDATE, DELETE ON ALL TABLES IN SCHEMA scaler TO ${role}; GRANT SELECT ON public.work_items TO ${role};
        GRANT USAGE, UPDATE ON SEQUENCE scaler.epoch TO ${role}`);
      const adopt = () => adoptTable(own, { names: WORK_ITEMS, slots: 16, log });
      await assert.rejects(own.query('test', { text: `SELECT FROM ${table}` }), { code: '42501' });
      await admin.query(remediesOf(await errorOf(adopt())).bypass);
      await adopt();
      assert.equal((await new TableWatch(own, WORK_ITEMS, { slots: 16 }).count()).rows, 100);
    });
  }

  test('and owns the trigger functions has coordinators refuse: applications could write no row', async () => {
    await admin.query(`GRANT INSERT ON scaler.table_change TO ${role}; GRANT CREATE, USAGE ON SCHEMA scaler TO ${role};
      ALTER FUNCTION scaler.record_insert() OWNER TO ${role}; ALTER TABLE scaler.table_change ENABLE ROW LEVEL SECURITY`);
    await assert.rejects(addRows(link, WORK_ITEMS, 1), { code: '42501' });
    const error = await errorOf(adoptTable(link, { names: WORK_ITEMS, slots: 16, log }));
    await admin.query(/run: (.*)$/.exec(error.message)?.[1] ?? '');
    await adoptTable(link, { names: WORK_ITEMS, slots: 16, log });
    assert.equal(await addRows(link, WORK_ITEMS, 1), 1);
  });
});

describe('a worker process', () => {
  let system: TestSystem;
  let admin: pg.Client;
  let role: string;

  beforeEach(async () => {
    system = await TestSystem.start();
    admin = new pg.Client({ connectionString: system.databaseUrl });
    await admin.connect();
    role = `r${randomBytes(6).toString('hex')}`;
    await admin.query(`CREATE ROLE ${role} LOGIN PASSWORD '${role}'`);
    const coordinator = system.coordinator('coordinator-1', ['--slots', '256']);
    await coordinator.waitFor('it leads', ({ msg }) => msg === 'leading');
    await admin.query(grantWorker(role));
  });

  afterEach(async () => {
    await admin.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
    await admin.end();
    await system.stop();
  });

  const start = (id: string) => system.worker(id, [], { DATABASE_URL: as(system.databaseUrl, role) });

  test('that runs while row-level security is enabled logs the remedy, lives on, and ticks after it', async () => {
    await system.cli('rows', 'add', '10');
    const worker = start('worker-1');
    await system.watching([worker], 10);
    await admin.query(ENABLE);
    const line = await worker.waitFor('a failed tick', ({ msg }) => /^Postgres requests fail/.test(msg ?? ''));
    assert.match(String(line.reason), new RegExp(`ALTER ROLE "${role}" BYPASSRLS`));
    const seen = worker.lines.length;
    await admin.query(`ALTER ROLE ${role} BYPASSRLS`);
    await worker.waitFor('the next round', ({ msg }) => msg === 'watching', seen);
    await system.watching([worker], 10);
  });

  test('that starts under row-level security ends with the remedy', async () => {
    await admin.query(ENABLE);
    const worker = start('worker-1');
    assert.equal(await worker.end(), 1);
    const last = worker.lines.findLast(({ msg }) => msg === 'cannot go on');
    assert.match(String(last?.reason), new RegExp(`ALTER ROLE "${role}" BYPASSRLS`));
  });
});
