import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { AuditedSystem, assertSound } from '../support/audited-system.ts';
import { pausedClockEnvironment } from '../support/clock-environment.ts';
import { missedBy } from '../support/missed-counters.ts';
import { eventually } from '../support/service-process.ts';

const PAUSED = 'worker-paused';
const PAUSES = 2;
/** More than a lease, and more than the fence's tolerance beyond it. */
const PAUSE_TICKS = 8;
const SHORT_PAUSES = 10;
const SHORT_PAUSE_MS = 4_000;
/** The worker's own part of a tick's way to Postgres, on a busy machine. */
const LATE_MS = 1_000;

/** A suspended machine's monotonic clock does not count the suspension: the worker's estimate of the database's clock is behind. */
describe('a pause of a worker’s machine', { timeout: 240_000 }, () => {
  let system: AuditedSystem;
  let admin: pg.Client;

  before(async () => {
    system = await AuditedSystem.start({ rows: 30, workers: 1, coordinators: 1 });
    admin = new pg.Client({ connectionString: system.system.databaseUrl });
    await admin.connect();
    await admin.query(`CREATE TABLE history (slot int, tick bigint, worker text, at double precision);
      CREATE FUNCTION record_tick() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO history VALUES (NEW.slot, NEW.last_tick, NEW.worker, extract(epoch FROM clock_timestamp()));
        RETURN NULL; END $$;
      CREATE TRIGGER record_tick AFTER UPDATE ON scaler.slot FOR EACH ROW WHEN (NEW.last_tick > OLD.last_tick)
        EXECUTE FUNCTION record_tick()`);
  });

  after(async () => {
    await admin?.end();
    await system?.stop();
  });

  async function ask<Value>(text: string, values: unknown[] = []): Promise<Value> {
    return (await admin.query({ text, values, rowMode: 'array' })).rows[0]?.[0] as Value;
  }

  const lowestTick = () => ask<number>('SELECT min(last_tick)::int FROM scaler.slot WHERE last_tick > 0');

  /** A worker looks at the database's clock every five seconds: after a look just now, no other comes for five. */
  const hasJustMeasured = () =>
    ask<boolean>(
      `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()
        AND query LIKE '%clock_timestamp()) * 1000%' AND query_start > clock_timestamp() - interval '0.3 s')`,
      [PAUSED],
    );

  test('ticks no row twice for one second, and sets no slot back', async (t) => {
    const paused = system.addWorker(PAUSED, pausedClockEnvironment());
    await system.shared();
    const findings = await system.audit();
    for (let pause = 1; pause <= PAUSES; pause += 1) {
      await eventually('a look at the clock', hasJustMeasured);
      paused.signal('SIGSTOP');
      const until = (await lowestTick()) + PAUSE_TICKS;
      await system.takenOver(PAUSED);
      await eventually(`tick ${until}`, async () => (await lowestTick()) >= until);
      const from = paused.lines.length;
      paused.signal('SIGCONT');
      await paused.waitFor('its rows', ({ msg, count }) => msg === 'watching' && count === 15, from);
      const settled = (await ask<number>('SELECT extract(epoch FROM clock_timestamp())::int')) + PAUSE_TICKS;
      await eventually('ticks at the database’s second again', async () => (await lowestTick()) >= settled);
    }
    const doubled = await ask<number>(
      'SELECT count(*)::int FROM (SELECT FROM history GROUP BY slot, tick HAVING count(*) > 1) d',
    );
    const result = await findings();
    assert.equal(doubled, 0, 'no slot got one tick twice');
    assert.deepEqual(
      paused.lines.filter(({ msg }) => /stepped back/.test(msg ?? '')),
      [],
    );
    t.diagnostic(`${assertSound(result).missed} ticks missed, ${await ask('SELECT count(*)::int FROM history')} given`);
  });

  test('is noticed: not even the first tick after it carries a number of before', async (t) => {
    const paused = system.workers.get(PAUSED);
    const other = system.workers.get('worker-1');
    assert.ok(paused && other);
    // Alone it is not taken over from, and no slot that is ahead gives the pause away.
    other.signal('SIGTERM');
    assert.equal(await other.end(), 0);
    system.workers.delete('worker-1');
    await system.shared();
    const findings = await system.audit();
    const counted = await missedBy(paused);
    const from = await ask<number>('SELECT extract(epoch FROM clock_timestamp())::float8');
    for (let pause = 1; pause <= SHORT_PAUSES; pause += 1) {
      await eventually('a look at the clock', hasJustMeasured);
      paused.signal('SIGSTOP');
      await wait(SHORT_PAUSE_MS);
      const line = paused.lines.length;
      paused.signal('SIGCONT');
      await paused.waitFor('its rows', ({ msg, count }) => msg === 'watching' && count === 30, line);
    }
    await system.ticking();
    const { missed } = assertSound(await findings());
    const late = await ask<number>(
      `SELECT coalesce(max(at - tick), 0)::float8 FROM history WHERE worker = $1 AND at > $2`,
      [PAUSED, from],
    );
    const doubled = await ask<number>(
      'SELECT count(*)::int FROM (SELECT FROM history GROUP BY slot, tick HAVING count(*) > 1) d',
    );
    t.diagnostic(`${missed} ticks missed, ${(await missedBy(paused)) - counted} counted; the latest after ${late} s`);
    assert.equal(doubled, 0);
    assert.ok(late * 1000 < 1_000 + 800 + LATE_MS, `a tick came ${late} s after its second began`);
  });
});
