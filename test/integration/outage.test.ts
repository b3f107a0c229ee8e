import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { AuditedSystem, assertSound } from '../support/audited-system.ts';
import { startNats, type TestNats } from '../support/nats-process.ts';
import { type LocalPostgres, startAgain, startServer } from '../support/postgres-server.ts';

/** Set it higher to see that nothing depends on how long it lasts. */
const NATS_OUTAGE_MS = Number(process.env.NATS_OUTAGE_MS ?? 10_000);
/** Longer than the five seconds after which a worker that does not tick is put out while others do. */
const POSTGRES_OUTAGE_MS = 8_000;

/** Whole servers go, real ones, and half the workers. Times are printed, never asserted. */
describe('an outage', { timeout: 240_000 }, () => {
  let nats: TestNats;
  let postgres: LocalPostgres;
  let system: AuditedSystem;

  before(async () => {
    [nats, postgres] = await Promise.all([startNats(), startServer()]);
    const servers = { natsUrl: nats.url, postgresUrl: postgres.url };
    system = await AuditedSystem.start({ rows: 60, workers: 4, coordinators: 2, ...servers });
  });

  beforeEach(() => system.shared());

  after(async () => {
    await system?.stop();
    await nats?.stop();
  });

  test(`NATS killed for ${NATS_OUTAGE_MS / 1000} s changes nothing: no worker is put out, no row moves`, async (t) => {
    const findings = await system.audit();
    const rings = system.published().length;
    await nats.kill();
    await wait(NATS_OUTAGE_MS);
    await nats.restart();
    await leading(system);
    // Time for two leases: whoever was to be put out would be by then.
    await wait(4_000);
    const published = system.published().slice(rings);
    for (const { cause, moved } of published) assert.deepEqual([cause, moved.rows], ['leader-changed', 0]);
    const { missed } = assertSound(await findings());
    t.diagnostic(`${missed} ticks missed, ${published.length} rings published`);
  });

  test('a worker killed while NATS is away is taken over from once it is back', async (t) => {
    const findings = await system.audit();
    const killed = system.workers.get('worker-4');
    assert.ok(killed);
    await nats.kill();
    await wait(2_000);
    await killed.kill();
    await wait(2_000);
    await nats.restart();
    const tookMs = await system.takenOver('worker-4');
    await system.shared(['worker-4']);
    const { missed } = assertSound(await findings());
    t.diagnostic(`taken over from ${seconds(tookMs)} after NATS is back; ${missed} ticks missed`);
    system.addWorker('worker-4');
  });

  test('Postgres away for all puts nobody out, and rows are ticked again once it is back', async (t) => {
    const findings = await system.audit();
    const rings = system.published().length;
    await postgres.stop();
    await wait(POSTGRES_OUTAGE_MS);
    postgres = await startAgain(postgres);
    const tookMs = await system.ticking();
    await system.shared();
    assert.deepEqual(system.published().slice(rings), []);
    const { missed } = assertSound(await findings());
    t.diagnostic(`ticked again ${seconds(tookMs)} after Postgres is back; ${missed} ticks missed`);
  });

  test('half of the workers killed at one instant become one ring or two, and the fewest rows move', async (t) => {
    const findings = await system.audit();
    const rings = system.published().length;
    const killed = ['worker-3', 'worker-4'].map((id) => system.workers.get(id));
    for (const worker of killed) worker?.signal('SIGKILL');
    const tookMs = await system.takenOver('worker-3', 'worker-4');
    await system.shared(['worker-3', 'worker-4']);
    const published = system.published().slice(rings);
    assert.ok(published.length >= 1 && published.length <= 2, JSON.stringify(published));
    for (const { moved } of published) assert.equal(moved.rows, moved.minimumRows);
    const { missed } = assertSound(await findings());
    t.diagnostic(`taken over from after ${seconds(tookMs)}, ${published.length} rings; ${missed} ticks missed`);
  });
});

/** Somebody leads, after whatever happened until now. */
async function leading(system: AuditedSystem): Promise<void> {
  const ways = [...system.coordinators.values()].map((coordinator) => {
    const from = coordinator.lines.length;
    return coordinator.waitFor('a leader', ({ msg }) => /^leading/.test(msg ?? ''), from);
  });
  await Promise.any(ways);
  for (const way of ways) way.catch(() => {});
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
