import assert from 'node:assert/strict';
import { after, before, describe, type TestContext, test } from 'node:test';
import pg from 'pg';
import { AuditedSystem, assertSound, type Ways } from '../support/audited-system.ts';
import { eventually, type ServiceProcess } from '../support/service-process.ts';
import { TestSystem } from '../support/test-system.ts';
import { ADOPTED_BY_769ECBC } from '../support/work-items.ts';

const ROWS = 30;
const TWIN = 'twin';
/** Ticks of a successor to look at: a former process beside it would come to tick within one or two. */
const TICKS = 5;

/** A process of the twins' id, known to Postgres by a name of its own, whose ways to the servers can be cut. */
interface Twin {
  readonly name: string;
  readonly process: ServiceProcess;
  readonly ways: Ways;
}

describe('processes of one worker id', { timeout: 240_000 }, () => {
  let system: AuditedSystem;
  let admin: pg.Client;

  before(async () => {
    system = await AuditedSystem.start({ rows: 0, workers: 0, coordinators: 1 });
    await system.auditor.addRows(ROWS);
    admin = new pg.Client({ connectionString: system.system.databaseUrl });
    await admin.connect();
    await admin.query(`CREATE TABLE stamp (at serial, process text DEFAULT current_setting('application_name'), tick bigint);
      CREATE FUNCTION record_stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO stamp (tick) VALUES (NEW.last_tick); RETURN NULL; END $$;
      CREATE TRIGGER record_stamp AFTER UPDATE ON scaler.slot FOR EACH ROW WHEN (NEW.last_tick > OLD.last_tick)
        EXECUTE FUNCTION record_stamp()`);
  });

  after(async () => {
    await admin?.end();
    await system?.stop();
  });

  async function startTwin(t: TestContext, name: string): Promise<Twin> {
    const { ways, environment } = await system.makeWays();
    const url = new URL(environment.DATABASE_URL ?? '');
    url.searchParams.set('application_name', name);
    const process = system.system.worker(TWIN, [], { ...environment, DATABASE_URL: url.href });
    t.after(() => process.kill());
    return { name, process, ways };
  }

  async function column<Value>(text: string, values: unknown[] = []): Promise<Value[]> {
    return (await admin.query({ text, values, rowMode: 'array' })).rows.map(([value]) => value as Value);
  }

  /** Waits until that process has made so many ticks; resolves to the first. */
  async function ticking({ name }: Twin, ticks: number): Promise<number> {
    const text = 'SELECT DISTINCT tick::int FROM stamp WHERE process = $1 ORDER BY 1';
    const made = await eventually(`${ticks} ticks of ${name}`, async () => {
      const found = await column<number>(text, [name]);
      return found.length >= ticks && found;
    });
    return made[0]!;
  }

  /** Whose stamps came after the first of that process, whatever their tick. */
  const afterFirstOf = ({ name }: Twin) =>
    column<string>(
      'SELECT DISTINCT process FROM stamp WHERE at > (SELECT min(at) FROM stamp WHERE process = $1) ORDER BY 1',
      [name],
    );

  test('three of them that live on, cut off from NATS one after the other: the latest alone ticks', async (t) => {
    const first = await startTwin(t, 'process-1');
    await ticking(first, 2);
    const findings = await system.audit();
    first.ways.nats.cut();
    const second = await startTwin(t, 'process-2');
    await ticking(second, TICKS);
    second.ways.nats.cut();
    const third = await startTwin(t, 'process-3');
    await ticking(third, TICKS);
    assertSound(await findings());
    assert.deepEqual(await afterFirstOf(third), [third.name]);
    for (const { process } of [first, second]) {
      assert.equal(await process.end(), 1);
      assert.match(process.tail(), /another process lives under the worker id twin/);
    }
  });

  test('one that was frozen wakes beside its successor and ticks nothing', async (t) => {
    const frozen = await startTwin(t, 'process-4');
    await ticking(frozen, 2);
    const findings = await system.audit();
    frozen.process.signal('SIGSTOP');
    const successor = await startTwin(t, 'process-5');
    await ticking(successor, 2);
    frozen.process.signal('SIGCONT');
    assert.equal(await frozen.process.end(), 1);
    assert.deepEqual(await afterFirstOf(successor), [successor.name]);
    assertSound(await findings());
  });

  test('one that is started again at once ticks on with what its former process had', async (t) => {
    const killed = await startTwin(t, 'process-6');
    await ticking(killed, 2);
    const findings = await system.audit();
    await killed.process.kill();
    const restarted = await startTwin(t, 'process-7');
    await ticking(restarted, 2);
    assertSound(await findings());
    await restarted.process.waitFor('its rows', ({ msg, count }) => msg === 'watching' && count === ROWS);
  });
});

test('a worker whose database is not upgraded yet says so, and begins once a coordinator has upgraded it', async (t) => {
  const system = await TestSystem.start();
  t.after(() => system.stop());
  const admin = new pg.Client({ connectionString: system.databaseUrl });
  await admin.connect();
  await admin.query(ADOPTED_BY_769ECBC);
  await admin.end();
  const worker = system.worker('worker-1');
  const line = await worker.waitFor('the wait', ({ msg }) => /waiting for a coordinator/.test(msg ?? ''));
  assert.deepEqual(
    [line.msg, line.migration, line.name],
    ['waiting for a coordinator of this version to upgrade schema scaler', 8, 'incarnations'],
  );
  system.coordinator('coordinator-1');
  await worker.waitFor('its registration', ({ msg }) => /^registered/.test(msg ?? ''));
});
