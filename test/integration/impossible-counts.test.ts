import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import pg from 'pg';
import { eventually, type ServiceProcess } from '../support/service-process.ts';
import { TestSystem } from '../support/test-system.ts';

/** What the triggers reported and the table itself contradict each other; there is one coordinator, and nobody to replace it. */
let system: TestSystem;
let leader: ServiceProcess;
let worker: ServiceProcess;
let admin: pg.Client;

before(async () => {
  system = await TestSystem.start();
  leader = system.coordinator('coordinator-1');
  await leader.waitFor('leading', ({ msg }) => msg === 'leading');
  worker = system.worker('worker-1');
  admin = new pg.Client({ connectionString: system.databaseUrl });
  await admin.connect();
  await admin.query('INSERT INTO work_items (id) SELECT gen_random_uuid() FROM generate_series(1, 20)');
  await countIs(20);
  await system.watching([worker], 20);
});

after(async () => {
  await admin?.end();
  await system?.stop();
});

test('rows inserted with triggers off and deleted with triggers on do not end the leader', async () => {
  await silently('INSERT INTO work_items (id) SELECT gen_random_uuid() FROM generate_series(1, 300)');
  await admin.query('DELETE FROM work_items');
  // A plan weighs every slot.
  const second = system.worker('worker-2');
  await leader.waitFor('a ring of two', ({ msg, workers }) => msg === 'ring published' && workers === 2);
  await countIs(0);
  await admin.query('INSERT INTO work_items (id) SELECT gen_random_uuid() FROM generate_series(1, 7)');
  await countIs(7);
  await system.watching([worker, second], 7);
});

test('deltas beyond the range of an integer are counted again', async () => {
  await admin.query('INSERT INTO scaler.table_change (slot, delta) SELECT 3, 2147483647 FROM generate_series(1, 5)');
  // The triggers' own report, so that it is read.
  await admin.query('INSERT INTO work_items DEFAULT VALUES');
  await countIs(8);
});

test('a slot that does not exist is counted again', async () => {
  await admin.query('INSERT INTO scaler.table_change (slot, delta) VALUES (4096, 500), (-7, 500)');
  await admin.query('INSERT INTO work_items DEFAULT VALUES');
  await countIs(9);
});

test('contradictions without end do not keep the table being counted', async () => {
  const before = await readRecounts();
  let contradictions = 0;
  await eventually('three more recounts', async () => {
    await silently('INSERT INTO work_items (id) SELECT gen_random_uuid() FROM generate_series(1, 50)');
    await admin.query('DELETE FROM work_items WHERE id IN (SELECT id FROM work_items ORDER BY value DESC OFFSET 9)');
    contradictions += 1;
    return (await readRecounts()) >= before + 3;
  });
  assert.ok(contradictions > 6, `three recounts for ${contradictions} contradictions`);
  await admin.query('INSERT INTO work_items DEFAULT VALUES');
  await countIs(10);
});

test('the leader has gone on all the while', async () => {
  assert.equal((await get('/healthz')).status, 200);
  assert.equal(leader.lines.filter(({ msg }) => msg === 'leading').length, 1);
  assert.ok(!leader.lines.some(({ msg }) => msg === 'stepped down'));
});

/** As a restore or a bulk load does it: no trigger fires. */
async function silently(text: string): Promise<void> {
  await admin.query(`SET session_replication_role = replica; ${text}; RESET session_replication_role`);
}

async function countIs(rows: number): Promise<void> {
  let seen: unknown;
  const isCounted = async () => {
    seen = await askRows();
    return seen === rows;
  };
  await eventually(`${rows} rows counted`, isCounted, () => `the leader has ${seen}; its log: ${leader.tail()}`);
}

async function askRows(): Promise<unknown> {
  return ((await (await get('/api/desired-workers')).json()) as { rows?: number }).rows;
}

async function readRecounts(): Promise<number> {
  const text = await (await get('/metrics')).text();
  const found = /^notifi_scaler_coordinator_recounts_total\{reason="contradicted"\} (\d+)$/m.exec(text);
  return Number(found?.[1] ?? 0);
}

async function get(path: string): Promise<Response> {
  const { port } = await leader.waitFor('its port', ({ msg }) => msg === 'serving the API, health and metrics');
  return fetch(`http://127.0.0.1:${port}${path}`);
}
