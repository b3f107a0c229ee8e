import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import pg from 'pg';
import { adoptTable } from '../../shared/postgres/adoption.ts';
import { checkAdoption } from '../../shared/postgres/adoption-check.ts';
import { connectPostgres, type PostgresLink } from '../../shared/postgres/connection.ts';
import { Fence } from '../../shared/postgres/fence.ts';
import { addRows } from '../../shared/postgres/rows.ts';
import { freshDatabase, recordingLog, sharedPostgres, type TestDatabase } from '../support/postgres-server.ts';
import { WORK_ITEMS } from '../support/work-items.ts';

const SLOTS = 16;
const ALL = Array.from({ length: SLOTS }, (_, slot) => slot);
const HOLDER = { worker: 'a', incarnation: 1 };
const ROWS = 20;
const { log } = recordingLog();

let database: TestDatabase;
let link: PostgresLink;
let admin: pg.Client;

before(async () => {
  database = await freshDatabase((await sharedPostgres()).url);
  link = await connectPostgres({ connectionString: database.url, applicationName: 'test' }, { log });
  admin = new pg.Client({ connectionString: database.url });
  await admin.connect();
});

after(async () => {
  await link.close();
  await admin.end();
  await database.drop();
});

async function adopt(): Promise<Fence> {
  const fence = new Fence(link, WORK_ITEMS, await adoptTable(link, { names: WORK_ITEMS, slots: SLOTS, log }));
  const epoch = await fence.drawEpoch(0);
  await fence.claim({ ...HOLDER, epoch, version: 1, slots: ALL });
  return fence;
}

async function values(): Promise<number[]> {
  const { rows } = await admin.query<{ value: number }>('SELECT DISTINCT value FROM work_items ORDER BY 1');
  return rows.map(({ value }) => value);
}

test('a schema scaler that was dropped and created again repeats no tick of its workers', async () => {
  const fence = await adopt();
  await addRows(link, WORK_ITEMS, ROWS);
  const tick = Math.floor((await fence.measureClock()).serverMs / 1000);
  assert.equal((await fence.tick({ ...HOLDER, tick, slots: ALL })).rows, ROWS);
  await admin.query('DROP SCHEMA scaler CASCADE');
  assert.equal((await checkAdoption(link, WORK_ITEMS)).kind, 'mendable');
  const again = await adopt();
  assert.deepEqual(await checkAdoption(link, WORK_ITEMS), { kind: 'sound' });
  assert.equal((await again.tick({ ...HOLDER, tick, slots: ALL })).rows, 0, 'its worker lived, and had this tick');
  assert.deepEqual(await values(), [1]);
});

test('slots of a table that was never adopted before have had no tick', async () => {
  await admin.query('DROP SCHEMA scaler CASCADE; DROP TABLE work_items');
  await adopt();
  const { rows } = await admin.query('SELECT DISTINCT last_tick::int AS tick FROM scaler.slot');
  assert.deepEqual(rows, [{ tick: 0 }]);
});
