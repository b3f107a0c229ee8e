import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Order, Snapshot } from '../../shared/ring/snapshot.ts';
import { Forger } from '../support/forger.ts';
import { eventually, type LogLine, type ServiceProcess } from '../support/service-process.ts';
import { TestSystem } from '../support/test-system.ts';

const ROWS = 12;
const LARGEST = Number.MAX_SAFE_INTEGER;
/** No honest epoch or version of these tests comes near it. */
const SMALL = 200;

const FORGERIES: readonly { readonly name: string; readonly order: (now: Order) => Order }[] = [
  { name: 'the largest epoch', order: ({ version }) => ({ epoch: LARGEST, version: version + 1 }) },
  { name: 'the largest epoch and version', order: () => ({ epoch: LARGEST, version: LARGEST }) },
  { name: 'the largest version in the current epoch', order: ({ epoch }) => ({ epoch, version: LARGEST }) },
  {
    name: 'the next epoch, not issued yet',
    order: ({ epoch, version }) => ({ epoch: epoch + 1, version: version + 1 }),
  },
];

/** Nothing forged is in Postgres; as text, since a number may not hold it. */
async function assertPostgresIsClean(forger: Forger): Promise<void> {
  const found = await forger.ask<{ epoch: string; version: string; issued: string }>(
    `SELECT max(s.epoch)::text AS epoch, max(s.version)::text AS version,
      (SELECT greatest(a.epoch, q.last_value) FROM scaler.adoption a, scaler.epoch q)::text AS issued FROM scaler.slot s`,
  );
  for (const [column, value] of Object.entries(found)) {
    assert.ok(BigInt(value) < SMALL, `${column} in Postgres is ${value}`);
  }
  assert.ok(BigInt(found.epoch) <= BigInt(found.issued), `epoch ${found.epoch} was never issued`);
}

/** One coordinator, two workers, and somebody else on their NATS. */
async function startShared() {
  const system = await TestSystem.start();
  const coordinator = system.coordinator('coordinator-1');
  await coordinator.waitFor('leading', ({ msg }) => msg === 'leading');
  const workers = [system.worker('worker-1'), system.worker('worker-2')];
  await eventually(`${ROWS} rows`, async () => (await system.cli('rows', 'add', `${ROWS}`)).code === 0);
  await system.watching(workers, ROWS);
  return { system, coordinator, workers, forger: await Forger.start(system) };
}

/** Why it lost its term to somebody else; a busy machine may cost it an acknowledgement, which is another matter. */
function deposals({ lines }: ServiceProcess): string[] {
  const reasons = lines.flatMap(({ msg, reason }) => (msg === 'stepped down' ? [String(reason)] : []));
  return reasons.filter((reason) => reason.startsWith("the ring is not this term's"));
}

/** The stream's newest once it names these workers. */
function newestNaming(forger: Forger, ids: readonly string[]): Promise<Snapshot> {
  return eventually(`a ring of ${ids.join(', ')}`, async () => {
    const snapshot = await forger.newest();
    return snapshot.workers.map(({ id }) => id).join() === ids.join() ? snapshot : null;
  });
}

describe('a forged snapshot', { timeout: 200_000 }, () => {
  let system: TestSystem;
  let forger: Forger;
  let coordinator: ServiceProcess;
  let workers: ServiceProcess[] = [];

  before(async () => {
    ({ system, coordinator, workers, forger } = await startShared());
  });

  after(async () => {
    await forger?.stop();
    await system?.stop();
  });

  for (const { name, order } of FORGERIES) {
    test(`with ${name} is rejected by all, logged once, counted, and replaced; nobody steps down`, async () => {
      const forged = order(await forger.newest());
      const sequence = await forger.publish(forged);
      const isIt = ({ msg, epoch, version }: LogLine) =>
        msg === 'snapshot rejected' && epoch === forged.epoch && version === forged.version;
      for (const worker of workers) {
        const { subject } = await worker.waitFor('the rejection', isIt);
        assert.equal(subject, forger.subject);
        const { port } = await worker.waitFor('its port', ({ msg }) => msg === 'serving health and metrics');
        const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
        assert.match(metrics, /^notifi_scaler_worker_rejected_snapshots_total [1-9]/m);
      }
      assert.equal((await coordinator.waitFor('its rejection', isIt)).sequence, sequence);
      await newestNaming(forger, ['worker-1', 'worker-2']);
      const logged = workers.map(({ lines }) => lines.filter(isIt).length);
      assert.deepEqual(logged, [1, 1]);
      assert.deepEqual(deposals(coordinator), []);
    });
  }

  test('does not keep a worker that joins afterwards from its share', async () => {
    workers.push(system.worker('worker-3'));
    await system.watching(workers, ROWS);
    await assertPostgresIsClean(forger);
  });

  for (const { name, order } of FORGERIES) {
    test(`with ${name} does not keep a coordinator that finds it as the newest from leading`, async () => {
      await coordinator.kill();
      await forger.publish(order(await forger.newest()));
      coordinator = system.coordinator('coordinator-2');
      await coordinator.waitFor('its rejection', ({ msg }) => msg === 'snapshot rejected');
      await coordinator.waitFor('leading', ({ msg }) => msg === 'leading');
      await newestNaming(forger, ['worker-1', 'worker-2', 'worker-3']);
      await assertPostgresIsClean(forger);
    });
  }

  test('is not used by the command line while no coordinator replaces it', async () => {
    await coordinator.kill();
    const { epoch } = await forger.newest();
    await forger.publish({ epoch, version: LARGEST });
    const plan = await system.cli('plan', '--join', '1');
    assert.deepEqual([plan.code, /no leader published/.test(plan.text)], [1, true], plan.text);
  });

  test('does not stop the ring: with a coordinator again, one more worker has its share', async () => {
    coordinator = system.coordinator('coordinator-3');
    workers.push(system.worker('worker-4'));
    await system.watching(workers, ROWS);
    const audit = await system.cli('audit', '--seconds', '3', '--json');
    assert.deepEqual([audit.json[0]?.unowned, audit.json[0]?.double], [0, 0], audit.text);
    await assertPostgresIsClean(forger);
  });
});

describe('a foreign snapshot of the next version in the current epoch', { timeout: 120_000 }, () => {
  test('is overruled at once: the leader publishes the ring in force above it, and goes on', async () => {
    const { system, coordinator, workers, forger } = await startShared();
    try {
      const { epoch, version } = await forger.newest();
      const sequence = await forger.publish({ epoch, version: version + 3 });
      const line = await coordinator.waitFor('its report', ({ msg }) => /^foreign snapshot overruled/.test(msg ?? ''));
      assert.deepEqual([line.epoch, line.version, line.sequence], [epoch, version + 3, sequence]);
      const newest = await newestNaming(forger, ['worker-1', 'worker-2']);
      assert.deepEqual([newest.epoch, newest.version], [epoch, version + 4]);
      workers.push(system.worker('worker-3'));
      await system.watching(workers, ROWS);
      assert.deepEqual(deposals(coordinator), []);
    } finally {
      await forger.stop();
      await system.stop();
    }
  });
});

describe('a database restored from a backup', { timeout: 120_000 }, () => {
  test('has forgotten epochs that workers have seen: the next term is above them, and the ring goes on', async () => {
    const { system, coordinator, workers, forger } = await startShared();
    try {
      // As if many terms had passed since the backup; every service keeps running.
      await forger.run('SELECT scaler.draw_epoch(40)');
      await coordinator.waitFor('the end of its term', ({ msg }) => msg === 'stepped down');
      const { epoch: before } = await coordinator.waitFor(
        'a new term',
        ({ msg, epoch }) => msg === 'leading' && Number(epoch) > 41,
      );
      await system.watching(workers, ROWS);
      const from = coordinator.lines.length;
      await forger.run(`
        UPDATE scaler.adoption SET epoch = 3; SELECT setval('scaler.epoch', 3);
        UPDATE scaler.slot SET epoch = 1, version = 1, worker = 'dead-since'`);
      const line = await coordinator.waitFor('a raised epoch', ({ msg }) => /^epoch raised/.test(msg ?? ''), from);
      assert.deepEqual([line.from, line.to], [3, Number(before) + 1]);
      await eventually('the fence to follow', async () => {
        const { owners } = await forger.ask<{ owners: string }>(
          "SELECT string_agg(DISTINCT worker, ',' ORDER BY worker) AS owners FROM scaler.slot",
        );
        return owners === 'worker-1,worker-2';
      });
      workers.push(system.worker('worker-3'));
      await system.watching(workers, ROWS);
      await assertPostgresIsClean(forger);
    } finally {
      await forger.stop();
      await system.stop();
    }
  });
});
