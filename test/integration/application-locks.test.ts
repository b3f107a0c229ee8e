import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import type { AuditResult } from '../../services/cli/audit-log.ts';
import { AuditedSystem, assertSound } from '../support/audited-system.ts';
import { eventually } from '../support/service-process.ts';

const ROWS = 60;
const LOAD_MS = 8_000;

/** The table is an application's: it locks rows as it likes. That costs the locked rows, and no others. */
describe('an application that locks rows', { timeout: 240_000 }, () => {
  let system: AuditedSystem;

  before(async () => {
    system = await AuditedSystem.start({ rows: ROWS, workers: 3, coordinators: 1 });
  });

  after(() => system?.stop());

  async function connect(): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: system.system.databaseUrl });
    await client.connect();
    return client;
  }

  /** Audits while the load runs: what was missed, and that no worker was evicted. */
  async function auditDuring(load: () => Promise<unknown>): Promise<AuditResult> {
    await system.shared();
    const rings = system.published().length;
    const findings = await system.audit();
    await load();
    const result = assertSound(await findings());
    assert.deepEqual(system.published().slice(rings), [], 'no ring is published: nobody was evicted');
    return result;
  }

  /** So many clients at once, each doing it again and again; resolves to how often, and to the states of the errors. */
  async function repeat(clients: number, work: (client: pg.Client) => Promise<unknown>) {
    const endMs = performance.now() + LOAD_MS;
    const errors: string[] = [];
    let done = 0;
    const run = async () => {
      const client = await connect();
      while (performance.now() < endMs) {
        try {
          await client.query('BEGIN');
          await work(client);
          await client.query('COMMIT');
          done += 1;
        } catch (error) {
          errors.push(String((error as { code?: string }).code ?? error));
          await client.query('ROLLBACK');
        }
      }
      await client.end();
    };
    await Promise.all(Array.from({ length: clients }, run));
    return { done, errors };
  }

  const lockedLines = () =>
    [...system.workers.values()].flatMap(({ lines }) => lines.filter(({ reason }) => reason === 'locked'));

  test('a row that stays locked misses its ticks; no other row does, no worker is evicted, and the row is named', async (t) => {
    const holder = await connect();
    const seconds = LOAD_MS / 1_000;
    const listed = [...system.workers.values()].map(({ lines }) => lines.length);
    let id = '';
    const result = await auditDuring(async () => {
      const sample = await system.auditor.look();
      const until = Math.floor(sample?.atSeconds ?? 0) + seconds;
      await holder.query('BEGIN');
      const { rows } = await holder.query(
        'UPDATE work_items SET value = value WHERE id = (SELECT id FROM work_items ORDER BY id LIMIT 1) RETURNING id::text',
      );
      id = rows[0].id;
      await eventually(`second ${until}`, async () => ((await system.auditor.look())?.atSeconds ?? 0) >= until);
      await holder.query('ROLLBACK');
    });
    await holder.end();
    const missed = result.worst.find((finding) => finding.id === id)?.missed ?? 0;
    t.diagnostic(`the locked row missed ${missed} ticks, the others ${result.missed - missed}`);
    assert.ok(missed >= seconds - 3, `the locked row missed ${missed} ticks`);
    // One second of all rows is what a busy machine may cost.
    assert.ok(result.missed - missed <= ROWS, `other rows missed ${result.missed - missed} ticks`);
    assert.ok(lockedLines().some((line) => line.id === id));
    const counts = [...system.workers.values()].map(({ lines }, index) => {
      const watching = lines.slice(listed[index]).filter(({ msg }) => msg === 'watching');
      return [...new Set(watching.map(({ count }) => count))];
    });
    assert.deepEqual(counts, [[20], [20], [20]], 'the locked row stays listed');
  });

  test('a job queue of SKIP LOCKED consumers: rows are ticked, and nobody is evicted', async (t) => {
    let load = { done: 0, errors: [] as string[] };
    const result = await auditDuring(async () => {
      load = await repeat(6, async (client) => {
        const { rows } = await client.query(
          'SELECT id FROM work_items ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED',
        );
        await client.query('SELECT pg_sleep(0.3)');
        await client.query('UPDATE work_items SET value = value WHERE id = $1', [rows[0]?.id]);
      });
    });
    const ticks = ROWS * result.seconds;
    t.diagnostic(`${load.done} jobs done; ${result.missed} of ${ticks} ticks missed`);
    assert.ok(load.done > 50, `${load.done} jobs were done`);
    assert.deepEqual(load.errors, []);
    assert.ok(result.missed < ticks / 20, `${result.missed} of ${ticks} ticks missed`);
  });

  test('transactions of two rows in id order: none is killed by a deadlock with a tick', async (t) => {
    let load = { done: 0, errors: [] as string[] };
    const result = await auditDuring(async () => {
      load = await repeat(4, async (client) => {
        const { rows } = await client.query<{ id: string }>(
          'SELECT id::text FROM work_items ORDER BY random() LIMIT 2',
        );
        for (const id of rows.map((row) => row.id).sort()) {
          await client.query('UPDATE work_items SET value = value WHERE id = $1', [id]);
          await client.query('SELECT pg_sleep(0.03)');
        }
      });
    });
    const ticks = ROWS * result.seconds;
    t.diagnostic(`${load.done} transactions; ${result.missed} of ${ticks} ticks missed`);
    assert.deepEqual(load.errors, [], 'no transaction failed');
    assert.ok(load.done > 50, `${load.done} transactions were done`);
    assert.ok(result.missed < ticks / 20, `${result.missed} of ${ticks} ticks missed`);
  });
});
