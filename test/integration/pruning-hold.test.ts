import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { adoptTable } from '../../shared/postgres/adoption.ts';
import { connectPostgres, type PostgresLink } from '../../shared/postgres/connection.ts';
import { Fence } from '../../shared/postgres/fence.ts';
import { addRows } from '../../shared/postgres/rows.ts';
import { freshDatabase, recordingLog, sharedPostgres, type TestDatabase } from '../support/postgres-server.ts';
import { WORK_ITEMS } from '../support/work-items.ts';

const ALL = Array.from({ length: 64 }, (_, slot) => slot);
const ROUNDS_APART_MS = 1_000;
const { log } = recordingLog();

let database: TestDatabase;
let link: PostgresLink;
let fence: Fence;
let admin: pg.Client;
let at = 1;

before(async () => {
  database = await freshDatabase((await sharedPostgres()).url);
  link = await connectPostgres({ connectionString: database.url, applicationName: 'holder' }, { log });
  admin = new pg.Client({ connectionString: database.url });
  await admin.connect();
  fence = new Fence(link, WORK_ITEMS, await adoptTable(link, { names: WORK_ITEMS, slots: 64, log }));
  await addRows(link, WORK_ITEMS, 500);
  await fence.claim({ worker: 'a', incarnation: 1, epoch: await fence.drawEpoch(0), version: 1, slots: ALL });
});

after(async () => {
  await link.close();
  await admin.end();
  await database.drop();
});

/** The processes that hold a snapshot between two statements. */
async function holders(): Promise<number[]> {
  const { rows } = await admin.query(`SELECT pid FROM pg_stat_activity
    WHERE application_name = 'holder' AND state = 'idle in transaction' AND backend_xmin IS NOT NULL`);
  return rows.map(({ pid }) => pid);
}

async function until(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 500; attempt += 1) {
    if (await isTrue()) return;
    await delay(10);
  }
  throw new Error(`waited in vain for ${what}`);
}

/** Statements of one round, one slot each, one after the other without a pause, until a snapshot is seen to be held. */
async function tickUntilHeld(): Promise<void> {
  at += 1;
  const seen = { isAsking: false, isHeld: false };
  for (let turn = 0; turn < 5_000; turn += 1) {
    await fence.tick({ worker: 'a', incarnation: 1, tick: at, slots: [turn % ALL.length] });
    if (seen.isHeld) return;
    if (seen.isAsking) continue;
    seen.isAsking = true;
    void holders().then((pids) => Object.assign(seen, { isAsking: false, isHeld: pids.length === 1 }));
  }
  throw new Error('ticked in vain: no snapshot was held');
}

test('a round of several statements holds a snapshot, and lets go of it when it is over', async () => {
  await delay(ROUNDS_APART_MS);
  await tickUntilHeld();
  await until('the snapshot to be let go', async () => (await holders()).length === 0);
});

test('rounds of one or two statements, and rounds that follow each other at once, hold none', async () => {
  // What was given away and is not taken yet, and what is the worker's own: no connection is opened for that.
  const holding = `SELECT pid FROM pg_stat_activity WHERE application_name = 'holder' AND query ~ 'REPEATABLE READ|COMMIT'`;
  const { rows: before } = await admin.query(holding);
  fence = new Fence(link, WORK_ITEMS, { slots: 64 });
  for (let round = 0; round < 2; round += 1) {
    await delay(ROUNDS_APART_MS);
    at += 1;
    for (const slots of [ALL.slice(0, 8), ALL.slice(8)])
      await fence.tick({ worker: 'a', incarnation: 1, tick: at, slots });
  }
  await delay(50);
  assert.deepEqual((await admin.query(holding)).rows, before);
  let startedMs = performance.now();
  let longestMs = 0;
  for (let round = 0; round < 3; round += 1) {
    at += 1;
    for (const slot of ALL.slice(0, 8)) await fence.tick({ worker: 'a', incarnation: 1, tick: at, slots: [slot] });
    longestMs = Math.max(longestMs, performance.now() - startedMs);
    startedMs = performance.now();
  }
  await delay(50);
  // On a machine that stood still amidst them they lay apart after all.
  if (longestMs < 800) assert.deepEqual((await admin.query(holding)).rows, before);
});

test('ticks go on when the connection that holds it is lost', async () => {
  await delay(ROUNDS_APART_MS);
  await tickUntilHeld();
  const [pid] = await holders();
  if (pid !== undefined) await admin.query('SELECT pg_terminate_backend($1)', [pid]);
  at += 1;
  const rows: number[] = [];
  for (const slot of ALL) rows.push((await fence.tick({ worker: 'a', incarnation: 1, tick: at, slots: [slot] })).rows);
  assert.equal(
    rows.reduce((sum, count) => sum + count, 0),
    500,
  );
  await delay(ROUNDS_APART_MS);
  at += 1;
  assert.equal((await fence.tick({ worker: 'a', incarnation: 1, tick: at, slots: ALL })).rows, 500);
});

test('the server drops it when this process stands still: no frozen worker holds pruning back for long', async () => {
  // One that has lost no connection just now: after a loss nothing is held for a while. Those before it left theirs open.
  fence = new Fence(link, WORK_ITEMS, { slots: 64 });
  const text = `SELECT pid FROM pg_stat_activity
    WHERE application_name = 'holder' AND query ~ 'COMMIT|REPEATABLE READ' AND pid <> ALL ($1::int[])`;
  const before = (await admin.query(text, [[]])).rows.map(({ pid }) => pid);
  await delay(ROUNDS_APART_MS);
  await tickUntilHeld();
  // Nothing of this process runs meanwhile, as when it is frozen.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_500);
  // One that was let go in order would have left its connection open, and its last word.
  assert.deepEqual((await admin.query(text, [before])).rows, []);
});
