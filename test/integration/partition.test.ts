import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, type TestContext, test } from 'node:test';
import type { AuditResult } from '../../services/cli/audit-log.ts';
import { LivenessBucket } from '../../shared/nats/liveness-bucket.ts';
import { AuditedSystem, assertSound, type Ways } from '../support/audited-system.ts';
import { closeTestLinks, openTestLink } from '../support/nats-link.ts';
import { eventually } from '../support/service-process.ts';

/** Parts of the network vanish, real ones between real processes. Times are printed, never asserted. */
describe('a worker cut off', { timeout: 240_000 }, () => {
  let system: AuditedSystem;
  let ways: Ways;

  before(async () => {
    system = await AuditedSystem.start({ rows: 30, workers: 2, coordinators: 1 });
    const made = await system.makeWays();
    ways = made.ways;
    system.addWorker('worker-3', made.environment);
  });

  beforeEach(() => system.shared());

  after(async () => {
    await closeTestLinks();
    await system?.stop();
  });

  for (const { from, how } of [
    { from: ['nats'], how: 'cut' },
    { from: ['nats'], how: 'refuse' },
    { from: ['postgres'], how: 'cut' },
    { from: ['postgres'], how: 'refuse' },
    { from: ['nats', 'postgres'], how: 'cut' },
    { from: ['nats', 'postgres'], how: 'refuse' },
  ] as const) {
    const what = `from ${from.join(' and ')} (${how === 'cut' ? 'silently' : 'by refusal'})`;
    test(`${what} loses its slots to the others, ticks nothing twice, and shares again once it is back`, async (t) => {
      const findings = await system.audit();
      for (const server of from) ways[server][how]();
      const tookMs = await system.takenOver('worker-3');
      await system.shared(['worker-3']);
      for (const server of from) ways[server].heal();
      const healedMs = performance.now();
      await system.shared();
      const backMs = performance.now() - healedMs;
      tell(t, { what, tookMs, backMs, result: assertSound(await findings()) });
    });
  }

  test('a worker cut off from Postgres gives itself away: it renews its key, and its tick stands still', async () => {
    const { natsUrl, prefix } = system.system;
    const bucket = await LivenessBucket.open(await openTestLink({ url: natsUrl, prefix }), { ttlMs: 2_000 });
    const findings = await system.audit();
    ways.postgres.cut();
    let before = await bucket.read('worker-3');
    await eventually('two renewals with one tick', async () => {
      const now = await bucket.read('worker-3');
      const isRenewed = now !== null && before !== null && now.revision > before.revision;
      const standsStill = isRenewed && now.value?.tick === before?.value?.tick;
      before = now;
      return standsStill;
    });
    await system.takenOver('worker-3');
    ways.postgres.heal();
    await system.shared();
    assertSound(await findings());
  });

  test('cut off from NATS for less than a lease, it ticks on, and its slots stay its own', async (t) => {
    const findings = await system.audit();
    const rings = system.published().length;
    const worker = system.workers.get('worker-3');
    assert.ok(worker);
    ways.nats.cut();
    await worker.waitFor('a tick while cut off', ({ msg }) => msg === 'watching', worker.lines.length);
    ways.nats.heal();
    await system.shared();
    const { missed } = assertSound(await findings());
    t.diagnostic(`${missed} ticks missed, ${system.published().length - rings} rings published`);
  });
});

describe('a process that stands still', { timeout: 240_000 }, () => {
  let system: AuditedSystem;

  before(async () => {
    system = await AuditedSystem.start({ rows: 30, workers: 3, coordinators: 2 });
  });

  beforeEach(() => system.shared());

  after(() => system?.stop());

  test('a worker whose event loop stalls for 3 s loses its slots, ticks nothing twice, and shares again', async (t) => {
    const findings = await system.audit();
    const worker = system.workers.get('worker-2');
    assert.ok(worker);
    worker.signal('SIGSTOP');
    const stalled = new Promise((done) => setTimeout(done, 3_000));
    const tookMs = await system.takenOver('worker-2');
    await stalled;
    worker.signal('SIGCONT');
    const resumedMs = performance.now();
    await system.shared();
    const backMs = performance.now() - resumedMs;
    tell(t, { what: 'by a stall of 3 s', tookMs, backMs, result: assertSound(await findings()) });
  });

  test('a leader frozen for 10 s is succeeded, comes back as a standby, and does no harm', async (t) => {
    const findings = await system.audit();
    const leader = leaderOf(system);
    const successor = [...system.coordinators.values()].find((coordinator) => coordinator !== leader);
    assert.ok(successor);
    const from = successor.lines.length;
    leader.signal('SIGSTOP');
    const startedMs = performance.now();
    const thaw = new Promise((done) => setTimeout(done, 10_000));
    await successor.waitFor('a successor', ({ msg }) => /^leading/.test(msg ?? ''), from);
    t.diagnostic(`succeeded after ${Math.round(performance.now() - startedMs)} ms`);
    await thaw;
    const frozenLines = leader.lines.length;
    leader.signal('SIGCONT');
    await leader.waitFor('the step down', ({ msg }) => msg === 'stepped down', frozenLines);
    // The one who leads now still does, and plans the next change.
    const worker = system.workers.get('worker-3');
    assert.ok(worker);
    const rings = successor.lines.length;
    worker.signal('SIGTERM');
    assert.equal(await worker.end(), 0);
    await successor.waitFor('its next ring', ({ msg }) => msg === 'ring published', rings);
    await system.shared(['worker-3']);
    t.diagnostic(`${assertSound(await findings()).missed} ticks missed`);
    assert.equal(leader.lines.slice(frozenLines).filter(({ msg }) => msg === 'ring published').length, 0);
  });
});

function leaderOf({ coordinators }: AuditedSystem) {
  const leading = [...coordinators.values()].find((coordinator) => {
    const last = coordinator.lines.findLast(({ msg }) => /^leading|^stepped down/.test(msg ?? ''));
    return /^leading/.test(last?.msg ?? '');
  });
  assert.ok(leading);
  return leading;
}

function tell(
  t: TestContext,
  found: { readonly what: string; readonly tookMs: number; readonly backMs: number; readonly result: AuditResult },
): void {
  const { what, tookMs, backMs, result } = found;
  const [took, back] = [tookMs, backMs].map((ms) => `${(ms / 1000).toFixed(1)} s`);
  t.diagnostic(
    `${what}: taken over from after ${took}, even again ${back} after its return, ${result.missed} ticks missed`,
  );
}
