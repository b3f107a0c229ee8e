import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import pg from 'pg';
import { adoptTable } from '../../shared/postgres/adoption.ts';
import { connectPostgres, type PostgresLink } from '../../shared/postgres/connection.ts';
import { Fence, type SlotHolder } from '../../shared/postgres/fence.ts';
import { addRows } from '../../shared/postgres/rows.ts';
import { FORMER_CLAIM_TEXT, FORMER_TICK_TEXT } from '../support/former-statements.ts';
import { freshDatabase, recordingLog, sharedPostgres, type TestDatabase } from '../support/postgres-server.ts';
import { ADOPTED_BY_769ECBC, WORK_ITEMS } from '../support/work-items.ts';

const ALL = Array.from({ length: 16 }, (_, slot) => slot);
const ROWS = 200;
const { log } = recordingLog();

/** Two processes of one worker, the later with the higher incarnation, and one of another. */
const ZOMBIE: SlotHolder = { worker: 'a', incarnation: 10 };
const SUCCESSOR: SlotHolder = { worker: 'a', incarnation: 11 };
const OTHER: SlotHolder = { worker: 'b', incarnation: 12 };

let database: TestDatabase;
let link: PostgresLink;
let admin: pg.Client;
let fence: Fence;

before(async () => {
  database = await freshDatabase((await sharedPostgres()).url);
  link = await connectPostgres({ connectionString: database.url, applicationName: 'test' }, { log });
  admin = new pg.Client({ connectionString: database.url });
  await admin.connect();
  // Adopted by the former version, so that what follows holds for a database that was upgraded.
  await admin.query(ADOPTED_BY_769ECBC);
  fence = new Fence(link, WORK_ITEMS, await adoptTable(link, { names: WORK_ITEMS, slots: 16, log }));
  await fence.drawEpoch(9);
});

after(async () => {
  await link?.close();
  await admin?.end();
  await database?.drop();
});

beforeEach(async () => {
  await admin.query(`TRUNCATE work_items;
    UPDATE scaler.slot SET epoch = 0, version = 0, worker = NULL, incarnation = NULL, last_tick = 0`);
  await addRows(link, WORK_ITEMS, ROWS);
});

const claim = (holder: SlotHolder, version: number, epoch = 5) =>
  fence.claim({ ...holder, epoch, version, slots: ALL });
const tick = (holder: SlotHolder, at: number) => fence.tick({ ...holder, tick: at, slots: ALL });
const formerClaim = async (worker: string, version: number) =>
  (await admin.query(FORMER_CLAIM_TEXT, [ALL, worker, 5, version])).rows.length;
const formerTick = async (worker: string, at: number) =>
  (await admin.query(FORMER_TICK_TEXT, [ALL, worker, at])).rows.length;

async function column<Value>(text: string): Promise<Value[]> {
  return (await admin.query({ text, rowMode: 'array' })).rows.map(([value]) => value as Value);
}

const orders = () => column<string>("SELECT DISTINCT epoch || '.' || version FROM scaler.slot");

describe('two processes of one worker', () => {
  beforeEach(async () => {
    assert.equal((await claim(ZOMBIE, 3)).claimed.length, ALL.length);
    assert.equal((await tick(ZOMBIE, 100)).rows, ROWS);
  });

  for (const [what, version, epoch] of [
    ['the same ring', 3, 5],
    ['a newer ring', 4, 5],
    ['an older ring, as after a loss of the stream', 2, 5],
    ['an older ring of an earlier term', 9, 4],
  ] as const) {
    test(`the later gets the slots back at once with ${what}, and the order of the slots never falls`, async () => {
      const { claimed, refused } = await claim(SUCCESSOR, version, epoch);
      assert.deepEqual([claimed.length, refused], [ALL.length, []]);
      assert.ok(claimed.every(({ lastTick }) => lastTick === 100));
      assert.deepEqual(await orders(), [epoch === 5 && version > 3 ? '5.4' : '5.3']);
      assert.equal((await tick(SUCCESSOR, 100)).rows, 0);
      assert.equal((await tick(SUCCESSOR, 101)).rows, ROWS);
    });
  }

  test('the former ticks, claims, sets back and owns nothing any more, and learns why', async () => {
    await claim(SUCCESSOR, 3);
    const refused = await tick(ZOMBIE, 101);
    assert.deepEqual([refused.stamped, refused.lost, refused.isSuperseded], [0, ALL, true]);
    // Not even where it hears a newer snapshot.
    for (const version of [3, 4]) {
      assert.deepEqual(await claim(ZOMBIE, version), { claimed: [], refused: ALL, isSuperseded: true });
    }
    await admin.query('UPDATE scaler.slot SET last_tick = extract(epoch FROM now())::bigint + 60');
    assert.equal(await fence.rebase({ ...ZOMBIE, slots: ALL }), 0);
    assert.deepEqual([await fence.owned(ZOMBIE), await fence.owned(SUCCESSOR)], [[], ALL]);
    assert.deepEqual(await fence.ownedBy('a'), ALL);
    assert.equal(await fence.rebase({ ...SUCCESSOR, slots: ALL }), ALL.length);
  });

  test('another worker takes the slots of either by a newer order only', async () => {
    assert.deepEqual((await claim(OTHER, 3)).refused, ALL);
    assert.equal((await claim(OTHER, 4)).claimed.length, ALL.length);
    const lost = await tick(ZOMBIE, 101);
    assert.deepEqual([lost.lost, lost.isSuperseded], [ALL, false]);
    assert.deepEqual(await claim(ZOMBIE, 4), { claimed: [], refused: ALL });
    assert.equal((await claim(ZOMBIE, 5)).claimed.length, ALL.length);
  });

  test('a process draws a higher incarnation than all that a slot names for its worker, whatever the clock shows', async () => {
    const clockUs = () => column<string>('SELECT extract(epoch FROM clock_timestamp()) * 1000000');
    const [before] = await clockUs();
    const drawn = await fence.drawIncarnation('a');
    const [later] = await clockUs();
    assert.ok(Number(before) - 1 <= drawn && drawn <= Number(later), `${before} <= ${drawn} <= ${later}`);
    const ahead = 4e15;
    await admin.query('UPDATE scaler.slot SET incarnation = $1 WHERE slot = 7', [ahead]);
    assert.equal(await fence.drawIncarnation('a'), ahead + 1);
    assert.ok((await fence.drawIncarnation('b')) < ahead);
  });
});

describe('beside workers of the former version, which know no incarnation', () => {
  test('slots pass on in both directions by newer orders, and each tick is made once', async () => {
    assert.equal(await formerClaim('old', 1), ALL.length);
    assert.equal(await formerTick('old', 100), ROWS);
    assert.equal((await claim(ZOMBIE, 2)).claimed.length, ALL.length);
    assert.equal(await formerTick('old', 101), 0);
    assert.equal((await tick(ZOMBIE, 101)).rows, ROWS);
    assert.equal(await formerClaim('old', 3), ALL.length);
    // The slots still name the incarnation of the process before: it means nothing to anybody.
    const lost = await tick(ZOMBIE, 102);
    assert.deepEqual([lost.rows, lost.lost, lost.isSuperseded], [0, ALL, false]);
    assert.equal(await formerTick('old', 102), ROWS);
    assert.equal((await claim(OTHER, 4)).claimed.length, ALL.length);
    assert.equal((await tick(OTHER, 103)).rows, ROWS);
    assert.equal((await claim(ZOMBIE, 5)).claimed.length, ALL.length);
    assert.deepEqual(await column('SELECT DISTINCT value FROM work_items'), [4]);
  });

  test('a worker that is upgraded under its id takes over what its former process had, at the same order', async () => {
    assert.equal(await formerClaim('a', 1), ALL.length);
    assert.equal((await claim(ZOMBIE, 1)).claimed.length, ALL.length);
    assert.equal((await tick(ZOMBIE, 100)).rows, ROWS);
    // Also where the slots name an incarnation of another worker.
    await claim(OTHER, 2);
    await formerClaim('a', 3);
    const next = { worker: 'a', incarnation: await fence.drawIncarnation('a') };
    assert.equal((await claim(next, 3)).claimed.length, ALL.length);
  });

  test('a worker that goes back to the former version under its id has its slots at once', async () => {
    await claim(ZOMBIE, 1);
    assert.equal(await formerTick('a', 100), ROWS);
  });
});
