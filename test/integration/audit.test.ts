import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import type { AuditResult } from '../../services/cli/audit-log.ts';
import { AuditedSystem } from '../support/audited-system.ts';
import { type LocalPostgres, startAgain, startServer } from '../support/postgres-server.ts';
import { eventually } from '../support/service-process.ts';

const ROWS = 20;
const CANCELLED = 4;
const OUTAGE_MS = 3_000;

/** The command line's own audit, on a real system that is made to break its promises. */
describe('audit', { timeout: 240_000 }, () => {
  let postgres: LocalPostgres;
  let system: AuditedSystem;
  let admin: pg.Client;

  before(async () => {
    postgres = await startServer();
    system = await AuditedSystem.start({ rows: ROWS, workers: 2, coordinators: 1, postgresUrl: postgres.url });
  });

  beforeEach(async () => {
    admin = new pg.Client({ connectionString: system.system.databaseUrl });
    // The server's end ends it, too.
    admin.on('error', () => {});
    await admin.connect();
    await system.shared();
    await system.ticking();
  });

  after(() => system?.stop());

  async function ask<Value>(text: string, values: unknown[] = []): Promise<Value> {
    return (await admin.query({ text, values, rowMode: 'array' })).rows[0]?.[0] as Value;
  }

  /** Audits from before something happens until after it. */
  async function audit(what: () => Promise<unknown>) {
    const audited = system.system.command('audit', '--seconds', '600', '--json');
    // The sample before the one that is seen here is over.
    const samples = `SELECT count(DISTINCT query_start)::int FROM pg_stat_activity
      WHERE application_name = 'notifi-scaler' AND datname = current_database() AND query LIKE '%"atSeconds"%'
        AND query_start > $1::timestamptz`;
    let since = await ask<string>('SELECT clock_timestamp()::text');
    for (let seen = 1; seen <= 2; seen += 1) {
      await eventually('a sample', async () => (await ask<number>(samples, [since])) > 0);
      since = await ask<string>('SELECT clock_timestamp()::text');
    }
    await what();
    audited.signal('SIGTERM');
    const code = await audited.end();
    const text = audited.stray.join('\n');
    const [result] = audited.lines as unknown as AuditResult[];
    assert.ok(result, text);
    return { code, result, text };
  }

  const slotOf = (id: string) =>
    ask<{ worker: string; tick: number }>(
      `SELECT json_build_object('worker', s.worker, 'tick', s.last_tick) FROM scaler.slot s
       WHERE s.slot = (uuid_hash_extended($1::uuid, 0) & (SELECT count(*) - 1 FROM scaler.slot))`,
      [id],
    );

  const afterTick = async (id: string): Promise<number> => {
    const { tick } = await slotOf(id);
    return eventually('the next tick', async () => {
      const now = (await slotOf(id)).tick;
      return now > tick ? now : null;
    });
  };

  test('of an undisturbed system is clean', async () => {
    const { code, result, text } = await audit(() => wait(3_000));
    assert.deepEqual([code, result.isClean], [0, true], JSON.stringify(result) + text);
  });

  test('sees a double and a missed tick of one row that cancel within a second', async (t) => {
    const id = await ask<string>('SELECT id::text FROM work_items ORDER BY id LIMIT 1');
    const { code, result } = await audit(async () => {
      for (let round = 1; round <= CANCELLED; round += 1) {
        const tick = await afterTick(id);
        await admin.query('UPDATE work_items SET value = value + 1 WHERE id = $1', [id]);
        await wait(500);
        await admin.query('BEGIN');
        await admin.query('SELECT FROM work_items WHERE id = $1 FOR UPDATE', [id]);
        await eventually('a tick without the row', async () => (await slotOf(id)).tick > tick);
        await admin.query('COMMIT');
        // This missed tick and the next double must not cancel either.
        await wait(500);
      }
    });
    t.diagnostic(`${result.double} doubles, ${result.missed} missed; samples ${result.longestGapSeconds} s apart`);
    const finding = result.worst.find((row) => row.id === id);
    assert.equal(code, 1);
    // On a machine that is busy elsewhere samples may come too late for one of them.
    const isTimely = result.longestGapSeconds < 0.5;
    assert.ok((finding?.double ?? 0) >= (isTimely ? CANCELLED : 1), JSON.stringify(result));
    assert.ok((finding?.missed ?? 0) >= (isTimely ? CANCELLED : 1), JSON.stringify(result));
  });

  test('sees a row that names another than its owner', async () => {
    const id = await ask<string>('SELECT id::text FROM work_items ORDER BY id LIMIT 1');
    await admin.query(`CREATE FUNCTION rename_row() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN NEW.currentworker := 'somebody'; RETURN NEW; END $$`);
    await admin.query(`CREATE TRIGGER rename_row BEFORE UPDATE ON work_items FOR EACH ROW WHEN (OLD.id = '${id}')
      EXECUTE FUNCTION rename_row()`);
    const { code, result } = await audit(() => afterTick(id));
    await admin.query('DROP TRIGGER rename_row ON work_items');
    assert.deepEqual([code, result.isClean, result.misnamed], [1, false, 1], JSON.stringify(result));
    assert.deepEqual(
      result.worst.map((row) => [row.id, row.isMisnamed]),
      [[id, true]],
    );
  });

  test('sees shares that were uneven for some seconds, though they are even at the end', async () => {
    const leader = system.coordinators.get('coordinator-1');
    assert.ok(leader);
    const { code, result } = await audit(async () => {
      leader.signal('SIGSTOP');
      try {
        // All of them in slots of one worker: nobody is there to share them out.
        await admin.query(`INSERT INTO work_items (id) SELECT id FROM (
          SELECT gen_random_uuid() AS id FROM generate_series(1, 400)) made
          JOIN scaler.slot s ON s.slot = (uuid_hash_extended(id, 0) & (SELECT count(*) - 1 FROM scaler.slot))
          WHERE s.worker = 'worker-1' LIMIT 10`);
        await wait(2_500);
        await admin.query('DELETE FROM work_items WHERE id IN (SELECT id FROM work_items ORDER BY value LIMIT 10)');
      } finally {
        leader.signal('SIGCONT');
      }
    });
    const { isClean, isUneven, unevenSeconds, shares } = result;
    assert.deepEqual([code, isClean, isUneven], [1, false, true], JSON.stringify(result));
    assert.ok(unevenSeconds >= 1, JSON.stringify(result));
    assert.deepEqual(Object.values(shares), [ROWS / 2, ROWS / 2]);
  });

  test('waits for a Postgres that restarts, says so, and counts what was missed during the outage', async (t) => {
    const { code, result, text } = await audit(async () => {
      await postgres.stop();
      await wait(OUTAGE_MS);
      postgres = await startAgain(postgres);
      await system.ticking();
    });
    t.diagnostic(JSON.stringify(result));
    assert.match(text, /waiting for Postgres/);
    assert.match(text, /Postgres answers again after/);
    assert.equal(code, 1);
    assert.ok(result.blindSeconds >= OUTAGE_MS / 1000 - 1, JSON.stringify(result));
    assert.ok(result.missed >= ROWS, JSON.stringify(result));
    assert.deepEqual([result.double, result.unowned, result.misnamed], [0, 0, 0]);
  });
});
