import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { eventually, type ServiceProcess } from '../support/service-process.ts';
import { TestSystem } from '../support/test-system.ts';

/** Rows that come and go without a word of the triggers. The workers tick them, so the leader can know. */
describe('rows that no trigger reports', { timeout: 120_000 }, () => {
  let system: TestSystem;
  let leader: ServiceProcess;
  let workers: readonly ServiceProcess[];
  let admin: pg.Client;

  before(async () => {
    system = await TestSystem.start();
    leader = system.coordinator('coordinator-1');
    await leader.waitFor('leading', ({ msg }) => msg === 'leading');
    workers = [system.worker('worker-1'), system.worker('worker-2')];
    admin = new pg.Client({ connectionString: system.databaseUrl });
    await admin.connect();
    await admin.query(insertSome(20));
    await countIs(20);
    await system.watching(workers, 20);
  });

  after(async () => {
    await admin?.end();
    await system?.stop();
  });

  const insertSome = (count: number) =>
    `INSERT INTO work_items (id) SELECT gen_random_uuid() FROM generate_series(1, ${count})`;

  async function countIs(rows: number): Promise<void> {
    let seen: unknown;
    const isCounted = async () => {
      seen = ((await (await get('/api/desired-workers')).json()) as { rows?: number }).rows;
      return seen === rows;
    };
    await eventually(`${rows} rows counted`, isCounted, () => `the leader has ${seen}; its log: ${leader.tail()}`);
  }

  async function get(path: string): Promise<Response> {
    const { port } = await leader.waitFor('its port', ({ msg }) => msg === 'serving the API, health and metrics');
    return fetch(`http://127.0.0.1:${port}${path}`);
  }

  test('rows of logical replication, as session_replication_role writes them, are counted', async () => {
    await admin.query(`SET session_replication_role = replica; ${insertSome(400)}; RESET session_replication_role`);
    await countIs(420);
    await system.watching(workers, 420);
  });

  test('rows that are removed while the triggers are disabled are counted', async () => {
    await admin.query('ALTER TABLE work_items DISABLE TRIGGER USER');
    await admin.query('DELETE FROM work_items WHERE id IN (SELECT id FROM work_items LIMIT 300)');
    await admin.query('ALTER TABLE work_items ENABLE TRIGGER USER');
    await countIs(120);
  });

  test('a trigger that changes the ids of new rows leaves the count right', async () => {
    await admin.query(`CREATE FUNCTION other_id() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.id = gen_random_uuid(); RETURN NEW; END';
      CREATE TRIGGER other_id BEFORE INSERT ON work_items FOR EACH ROW EXECUTE FUNCTION other_id()`);
    await admin.query(insertSome(30));
    await countIs(150);
    await system.watching(workers, 150);
  });

  test('each of them was found by what the workers see', async () => {
    const text = await (await get('/metrics')).text();
    const found = /recounts_total\{reason="workers-differ"\} (\d+)/.exec(text);
    assert.ok(Number(found?.[1] ?? 0) >= 1, text.match(/.*recounts_total.*/g)?.join('\n'));
  });
});
