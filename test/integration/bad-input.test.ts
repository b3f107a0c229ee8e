import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { connect, type NatsConnection } from 'nats';
import pg from 'pg';
import { sharedPostgres } from '../support/postgres-server.ts';
import { ServiceProcess } from '../support/service-process.ts';
import { TestSystem } from '../support/test-system.ts';

const WORKER = 'services/worker/main.ts';
const COORDINATOR = 'services/coordinator/main.ts';

describe('bad options', () => {
  test('all are reported at once, each with what to do, and the exit code is 2', async () => {
    const worker = new ServiceProcess(WORKER, ['--worker-id', 'a.b', '--heartbeat-ms', 'x', '--speling', '1'], {});
    assert.equal(await worker.end(), 2);
    assert.match(worker.tail(), /3 problems/);
    assert.match(worker.tail(), /--worker-id.*a\.b/);
    assert.match(worker.tail(), /--heartbeat-ms.*whole number/);
    assert.match(worker.tail(), /--speling: no such option/);
  });

  for (const id of ['worker.one', 'worker one', 'w'.repeat(300), '']) {
    test(`a worker id ${JSON.stringify(id.slice(0, 20))} of ${id.length} characters is refused`, async () => {
      const worker = new ServiceProcess(WORKER, ['--worker-id', id], {});
      assert.equal(await worker.end(), 2);
      assert.match(worker.tail(), /--worker-id/);
    });
  }

  test('a heartbeat of half the lease or more is refused with the reason', async () => {
    const worker = new ServiceProcess(WORKER, ['--heartbeat-ms', '1000', '--lease-ttl-ms', '2000'], {});
    assert.equal(await worker.end(), 2);
    assert.match(worker.tail(), /less than half of --lease-ttl-ms/);
  });

  test('--help shows every option with its variable, and exits with 0', async () => {
    const coordinator = new ServiceProcess(COORDINATOR, ['--help'], {});
    assert.equal(await coordinator.end(), 0);
    assert.match(coordinator.stray.join('\n'), /--slots.*\n?.*SLOTS/);
  });
});

describe('servers that do not fit', { timeout: 120_000 }, () => {
  test('an unreachable NATS is waited for, saying so; a request to leave ends the waiting with 0', async () => {
    const system = await TestSystem.start();
    try {
      const coordinator = new ServiceProcess(COORDINATOR, ['--coordinator-id', 'c'], {
        ...system.environment,
        NATS_URL: 'nats://127.0.0.1:1',
      });
      await coordinator.waitFor('the notice', ({ msg }) => /waiting for NATS/.test(msg ?? ''));
      coordinator.signal('SIGTERM');
      assert.equal(await coordinator.end(), 0, coordinator.tail());
    } finally {
      await system.stop();
    }
  });

  test('an unreachable Postgres is waited for, saying so', async () => {
    const worker = new ServiceProcess(WORKER, ['--worker-id', 'w'], {
      DATABASE_URL: 'postgres://postgres@127.0.0.1:1/postgres',
      HTTP_PORT: '0',
    });
    await worker.waitFor('the notice', ({ msg }) => /waiting for Postgres/.test(msg ?? ''));
    worker.signal('SIGTERM');
    assert.equal(await worker.end(), 0, worker.tail());
  });

  test('a database that does not exist ends it at once with 1, naming it', async () => {
    const url = new URL((await sharedPostgres()).url);
    url.pathname = '/no_such_database';
    const worker = new ServiceProcess(WORKER, ['--worker-id', 'w'], { DATABASE_URL: url.href, HTTP_PORT: '0' });
    assert.equal(await worker.end(), 1);
    assert.match(worker.tail(), /no_such_database/);
  });

  test('a port that is taken ends it with 1, naming the port', async () => {
    const first = new ServiceProcess(WORKER, ['--worker-id', 'w', '--http-port', '0'], {
      DATABASE_URL: 'postgres://postgres@127.0.0.1:1/postgres',
    });
    const { port } = await first.waitFor('its port', ({ msg }) => msg === 'serving health and metrics');
    const second = new ServiceProcess(WORKER, ['--worker-id', 'w', '--http-port', String(port)], {});
    assert.equal(await second.end(), 1);
    assert.match(second.tail(), new RegExp(`${port}`));
    await first.kill();
  });
});

describe('a table that does not fit', { timeout: 120_000 }, () => {
  const cases = [
    { name: 'a view', sql: 'CREATE VIEW public.work_items AS SELECT 1 AS id', says: /view/ },
    {
      name: 'a value of another type',
      sql: 'CREATE TABLE public.work_items (id uuid PRIMARY KEY, value bigint, currentworker text)',
      says: /value.*integer.*bigint/,
    },
    {
      name: 'no key on the id',
      sql: 'CREATE TABLE public.work_items (id uuid, value integer, currentworker text)',
      says: /primary key/i,
    },
  ];
  for (const { name, sql, says } of cases) {
    test(`${name} ends the coordinator with 1, saying what was expected`, async () => {
      const system = await TestSystem.start();
      try {
        await execute(system.databaseUrl, sql);
        const coordinator = system.coordinator('c');
        assert.equal(await coordinator.end(), 1);
        assert.match(coordinator.tail(), says);
      } finally {
        await system.stop();
      }
    });
  }
});

describe('bad messages', { timeout: 120_000 }, () => {
  let system: TestSystem;
  let nats: NatsConnection;
  let coordinator: ServiceProcess;
  let worker: ServiceProcess;

  before(async () => {
    system = await TestSystem.start();
    nats = await connect({ servers: system.natsUrl });
    coordinator = system.coordinator('c');
    await coordinator.waitFor('leading', ({ msg }) => msg === 'leading');
    worker = system.worker('w');
    await worker.waitFor('its slots', ({ msg, gained }) => msg === 'ring applied' && Number(gained) > 0);
  });

  after(async () => {
    await nats?.close();
    await system?.stop();
  });

  const snapshots = [
    { name: 'that is no JSON', bytes: 'hello', says: /JSON/i },
    { name: 'of another number of slots', bytes: snapshotText({ slots: 8, text: '0-7' }), says: /slots/ },
    { name: 'that leaves out slots', bytes: snapshotText({ slots: 4096, text: '0-7' }), says: /slot/ },
    { name: 'that is oversized', bytes: ' '.repeat(1_040_000), says: /./ },
  ];
  for (const { name, bytes, says } of snapshots) {
    test(`a snapshot ${name} is rejected, logged with its reason, and the worker goes on`, async () => {
      const from = worker.lines.length;
      nats.publish(`${system.prefix}.ring.snapshot`, bytes);
      const line = await worker.waitFor('the report', ({ msg }) => msg === 'snapshot rejected', from);
      assert.match(String(line.reason), says);
      await worker.waitFor('the next round', ({ msg }) => msg === 'watching', worker.lines.length);
    });
  }

  test('an old snapshot changes nothing', async () => {
    nats.publish(`${system.prefix}.ring.snapshot`, snapshotText({ slots: 4096, text: '0-4095' }));
    const from = worker.lines.length;
    const line = await worker.waitFor('the next round', ({ msg }) => msg === 'watching', from);
    assert.notEqual(line.ring, 0);
    assert.equal(
      worker.lines.slice(from).some(({ msg }) => msg === 'ring applied'),
      false,
    );
  });

  test('garbage in the liveness bucket is kept out and logged, and nobody joins or leaves for it', async () => {
    const from = coordinator.lines.length;
    nats.publish(`$KV.${system.prefix}_workers.garbage`, 'not a liveness value');
    nats.publish(`$KV.${system.prefix}_workers.w`, '{"id":"someone-else"}');
    await coordinator.waitFor('the report', ({ msg, key }) => /kept out/.test(msg ?? '') && key === 'garbage', from);
    const changes = coordinator.lines.slice(from).filter(({ msg }) => /^worker (joined|left)$/.test(msg ?? ''));
    assert.deepEqual(changes, []);
  });

  test('garbage on ring.applied is kept out and logged, and the coordinator goes on', async () => {
    const from = coordinator.lines.length;
    nats.publish(`${system.prefix}.ring.applied`, '{"worker":"w"}');
    await coordinator.waitFor('the report', ({ msg }) => msg === "a worker's word was kept out", from);
  });
});

function snapshotText(args: { readonly slots: number; readonly text: string }): string {
  return JSON.stringify({
    version: 1,
    epoch: 1,
    at: '2026-11-23T10:00:00.000Z',
    cause: { kind: 'bootstrap' },
    slots: args.slots,
    rows: 0,
    moved: { slots: 0, rows: 0, minimumRows: 0 },
    workers: [{ id: 'other', rows: 0, slots: args.text }],
  });
}

async function execute(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
