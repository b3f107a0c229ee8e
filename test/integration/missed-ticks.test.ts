import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { AuditedSystem, assertSound } from '../support/audited-system.ts';
import { missedBy, missedInRecoveries } from '../support/missed-counters.ts';
import { eventually, type ServiceProcess } from '../support/service-process.ts';

const ROWS = 30;
const GONE_MS = 5_000;
/** Longer than a lease and the takeover after it. */
const FROZEN_MS = 7_000;

/** The fence knows each slot's last tick and former owner: workers, leader and audit count the same ticks, whatever happened. */
describe('missed ticks', { timeout: 240_000 }, () => {
  let system: AuditedSystem;
  let leader: ServiceProcess;

  before(async () => {
    system = await AuditedSystem.start({ rows: ROWS, workers: 2, coordinators: 1 });
    const coordinator = system.coordinators.get('coordinator-1');
    assert.ok(coordinator);
    leader = coordinator;
  });

  beforeEach(() => system.shared());

  after(() => system?.stop());

  /** What the audit found while something happened, and what was counted of it. */
  async function counted(what: () => Promise<unknown>) {
    const before = new Map<ServiceProcess, number>();
    for (const service of [leader, ...system.workers.values()]) before.set(service, await missedBy(service));
    const line = leader.lines.length;
    const findings = await system.audit();
    await what();
    await system.ticking();
    await system.shared();
    const { missed: audit } = assertSound(await findings());
    const since = async (service: ServiceProcess) => (await missedBy(service)) - (before.get(service) ?? 0);
    const found = async () => {
      const counts = await Promise.all([...system.workers.values()].map(since));
      const workers = counts.reduce((sum, count) => sum + count, 0);
      return { audit, workers, leader: await since(leader), recoveries: missedInRecoveries(leader, line) };
    };
    // A record waits for all who gained, five seconds at most.
    await eventually('the counts', async () => {
      const { workers: theirs, leader: its } = await found();
      return Math.abs(theirs - audit) <= ROWS && Math.abs(its - audit) <= ROWS;
    }).catch(() => {});
    return found();
  }

  async function killAll(): Promise<string[]> {
    const ids = [...system.workers.keys()];
    await Promise.all([...system.workers.values()].map((worker) => worker.kill()));
    system.workers.clear();
    return ids;
  }

  function assertAgree(found: Awaited<ReturnType<typeof counted>>, least: number): void {
    const { audit } = found;
    assert.ok(audit >= least, JSON.stringify(found));
    for (const [who, count] of Object.entries(found)) {
      assert.ok(Math.abs(count - audit) <= ROWS, `${who}: ${JSON.stringify(found)}`);
    }
  }

  test('of all workers gone for some seconds are counted by their successors', async (t) => {
    const found = await counted(async () => {
      await killAll();
      await wait(GONE_MS);
      for (const id of ['worker-3', 'worker-4']) system.addWorker(id);
    });
    t.diagnostic(JSON.stringify(found));
    assertAgree(found, (GONE_MS / 1000 - 1) * ROWS);
  });

  test('of all workers restarted under their ids are counted by the new processes', async (t) => {
    const found = await counted(async () => {
      const ids = await killAll();
      await wait(GONE_MS);
      for (const id of ids) system.addWorker(id);
    });
    t.diagnostic(JSON.stringify(found));
    assertAgree(found, (GONE_MS / 1000 - 1) * ROWS);
  });

  test('of a frozen worker are counted by its successors, and not by itself', async (t) => {
    const frozen = system.workers.get('worker-3') ?? [...system.workers.values()][0];
    assert.ok(frozen);
    const before = await missedBy(frozen);
    const found = await counted(async () => {
      frozen.signal('SIGSTOP');
      await wait(FROZEN_MS);
      frozen.signal('SIGCONT');
    });
    t.diagnostic(JSON.stringify(found));
    // With late rounds the lease may cost no tick at all.
    assertAgree(found, 0);
    assert.ok((await missedBy(frozen)) - before <= ROWS / 2, 'what it missed was ticked by others');
  });

  test('of workers frozen for so short a time that they keep their rows are counted by themselves', async (t) => {
    const found = await counted(async () => {
      const workers = [...system.workers.values()];
      for (const worker of workers) worker.signal('SIGSTOP');
      await wait(1_500);
      for (const worker of workers) worker.signal('SIGCONT');
    });
    t.diagnostic(JSON.stringify(found));
    const { audit, workers } = found;
    assert.ok(Math.abs(workers - audit) <= ROWS, JSON.stringify(found));
  });
});
