import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { AuditedSystem, assertSound } from '../support/audited-system.ts';
import { eventually, type LogLine, type ServiceProcess } from '../support/service-process.ts';

const ROWS = 14_000;
const WATCHED_SECONDS = 6;

/** One worker has all rows: what stops it would stop every row. */
describe('a worker with rows that cannot be ticked', { timeout: 300_000 }, () => {
  let system: AuditedSystem;
  let worker: ServiceProcess;
  let client: pg.Client;
  let port = 0;
  let id = '';

  before(async () => {
    system = await AuditedSystem.start({ rows: ROWS, workers: 1, coordinators: 1 });
    worker = system.workers.get('worker-1')!;
    port = Number((await worker.waitFor('its port', ({ msg }) => msg === 'serving health and metrics')).port);
    client = new pg.Client({ connectionString: system.system.databaseUrl });
    await client.connect();
    id = (await client.query('SELECT id::text FROM work_items ORDER BY random() LIMIT 1')).rows[0].id;
  });

  after(async () => {
    await client?.end();
    await system?.stop();
  });

  /** A line of the worker from now on. */
  function nextLine(fits: (line: LogLine) => boolean): Promise<LogLine> {
    const line = worker.waitFor('its line', fits, worker.lines.length);
    line.catch(() => {});
    return line;
  }

  const isEnd = (line: LogLine) => line.msg === 'row no longer blocked' && line.id === id;

  const blockedMetric = async (reason: string) => {
    const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    return Number(new RegExp(`blocked_rows\\{reason="${reason}"\\} (\\d+)`).exec(metrics)?.[1] ?? 0);
  };

  /** Audits for some seconds of the database. What is missed at their edges is the test's own doing. */
  async function auditSeconds(seconds: number) {
    const findings = await system.audit();
    const until = Math.floor((await system.auditor.look())?.atSeconds ?? 0) + seconds;
    await eventually(`second ${until}`, async () => ((await system.auditor.look())?.atSeconds ?? 0) >= until);
    return assertSound(await findings());
  }

  test('one row that violates a constraint: all others are ticked each second, it is named, nobody is evicted', async (t) => {
    const rings = system.published().length;
    await client.query('UPDATE work_items SET value = 1000000 WHERE id = $1', [id]);
    await client.query('ALTER TABLE work_items ADD CONSTRAINT small CHECK (value <= 1000000) NOT VALID');
    const line = await worker.waitFor(
      'its line',
      (one) => one.msg?.startsWith('row blocked') === true && one.id === id,
    );
    assert.deepEqual([line.reason, /small/.test(String(line.message))], ['constraint', true]);
    const before = worker.lines.length;
    const result = await auditSeconds(WATCHED_SECONDS);
    const missed = result.worst.find((finding) => finding.id === id)?.missed ?? 0;
    t.diagnostic(`the bad row missed ${missed} ticks in ${result.seconds} s, the others ${result.missed - missed}`);
    assert.ok(missed >= WATCHED_SECONDS - 2, `it missed ${missed}`);
    // Two seconds of all rows is what a busy machine may cost.
    assert.ok(result.missed - missed <= 2 * ROWS, `the others missed ${result.missed - missed}`);
    assert.equal(await blockedMetric('constraint'), 1);
    assert.equal((await fetch(`http://127.0.0.1:${port}/readyz`)).status, 200);
    assert.deepEqual(system.published().slice(rings), [], 'no ring is published: the worker is healthy');
    const counts = worker.lines
      .slice(before)
      .filter(({ msg }) => msg === 'watching')
      .map(({ count }) => count);
    assert.deepEqual([...new Set(counts)], [ROWS], 'the list of ids does not flap');
    const listed = await system.system.cli('workers', '--json');
    assert.equal((listed.json[0] as unknown as { blocked: number }[])[0]?.blocked, 1);
  });

  test('the constraint dropped, it is tried again in time, and says so', async () => {
    const line = nextLine(isEnd);
    await client.query('ALTER TABLE work_items DROP CONSTRAINT small');
    await line;
    assert.equal(
      await eventually('no blocked row', async () => (await blockedMetric('constraint')) === 0 || null),
      true,
    );
  });

  test('a row that a trigger withholds is found and named', async () => {
    await client.query(`CREATE FUNCTION withhold() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
      CREATE TRIGGER withhold BEFORE UPDATE ON work_items FOR EACH ROW WHEN (OLD.id = '${id}') EXECUTE FUNCTION withhold()`);
    const line = await worker.waitFor('its line', (one) => one.reason === 'withheld');
    assert.equal(line.id, id);
    const end = nextLine(isEnd);
    await client.query('DROP TRIGGER withhold ON work_items');
    await end;
  });

  test('a locked row is named, and its owner says who holds the lock', async () => {
    const holder = new pg.Client({ connectionString: system.system.databaseUrl, application_name: 'night batch' });
    await holder.connect();
    let end: Promise<LogLine>;
    try {
      await holder.query('BEGIN');
      await holder.query('SELECT FROM work_items WHERE id = $1 FOR UPDATE', [id]);
      await worker.waitFor('its line', (one) => one.reason === 'locked' && one.id === id);
      const { json, text } = await system.system.cli('owner', id, '--json');
      const found = json[0] as unknown as { lockedBy: { application: string }[]; ownersBlockedRows: number };
      assert.equal(found.lockedBy[0]?.application, 'night batch', text);
      await holder.query('COMMIT; BEGIN');
      await holder.query('SELECT FROM work_items WHERE id = $1 FOR SHARE', [id]);
      const shared = await system.system.cli('owner', id);
      assert.match(shared.text, /locked by a transaction .*night batch/);
      end = nextLine(isEnd);
    } finally {
      await holder.end();
    }
    await end;
  });

  for (const lock of ['ACCESS EXCLUSIVE', 'SHARE'] as const) {
    test(`a table locked in ${lock} mode: claims do not wait for ticks, and ticks go on when it is released`, async () => {
      const rings = system.published().length;
      await client.query(`BEGIN; LOCK TABLE work_items IN ${lock} MODE`);
      await nextLine((one) => one.what === 'tick' && /lock/.test(String(one.reason)));
      const other = new pg.Client({ connectionString: system.system.databaseUrl });
      await other.connect();
      try {
        // Slots that a tick holds while it waits would make this fail.
        for (let attempt = 0; attempt < 20; attempt += 1) {
          await other.query("BEGIN; SET LOCAL lock_timeout = '2s'; SELECT FROM scaler.slot FOR UPDATE; ROLLBACK");
        }
      } finally {
        await other.end();
      }
      const end = nextLine(({ msg }) => msg === 'Postgres requests succeed again');
      await client.query('ROLLBACK');
      await system.ticking();
      await end;
      assert.deepEqual(system.published().slice(rings), [], 'nobody was evicted');
    });
  }
});
