import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import type { NatsLink } from '../../shared/nats/connection.ts';
import { chartAccounts, passwordOf } from '../support/chart-accounts.ts';
import { closeTestLinks, openTestLink } from '../support/nats-link.ts';
import { startNats, type TestNats } from '../support/nats-process.ts';
import { freshDatabase, sharedPostgres } from '../support/postgres-server.ts';
import { eventually, ServiceProcess } from '../support/service-process.ts';

/** The chart's users in NATS, and real processes that live with the rights they have there. */
const PREFIX = 'blue';
const REFUSED = /permissions? violation/i;

describe("the chart's users", { timeout: 120_000 }, () => {
  let nats: TestNats;
  let database: Awaited<ReturnType<typeof freshDatabase>>;
  const processes: ServiceProcess[] = [];
  const workers: ServiceProcess[] = [];

  before(async () => {
    nats = await startNats({ config: chartAccounts(PREFIX) });
    database = await freshDatabase((await sharedPostgres()).url);
    const coordinator = start('coordinator', 'coordinator-1');
    workers.push(start('worker', 'worker-1'), start('worker', 'worker-2'));
    await coordinator.waitFor('leading', ({ msg }) => msg === 'leading');
    await cli('coordinator', 'rows', 'add', '10');
  });

  afterEach(closeTestLinks);

  after(async () => {
    await Promise.all(processes.map((process) => process.kill()));
    await database?.drop();
    await nats?.stop();
  });

  test('coordinator and workers share the rows, and miss no right', async () => {
    await watching();
    assert.deepEqual(processes.flatMap(denials), []);
  });

  test('a worker can publish no snapshot, lead, or change a stream or bucket, and the ring stands', async () => {
    const worker = await login('worker');
    const observer = await login('observer');
    const before = await newestSnapshot(observer);
    for (const subject of [
      'blue.ring.snapshot',
      'blue.table.size',
      '$KV.blue_coordinators.leader',
      '$JS.API.STREAM.DELETE.blue_RING',
      '$JS.API.STREAM.PURGE.KV_blue_workers',
      '$JS.API.STREAM.UPDATE.blue_RING',
      '$JS.API.STREAM.CREATE.other',
      '$JS.API.STREAM.MSG.DELETE.blue_RING',
      '$JS.API.CONSUMER.CREATE.blue_RING',
    ]) {
      await assert.rejects(worker.connection.request(subject, '{}', { timeout: 1_000 }), REFUSED, subject);
    }
    assert.deepEqual(await newestSnapshot(observer), before);
  });

  test('an observer reads the ring, the bucket and the services, and changes nothing', async () => {
    const observer = await login('observer');
    const manager = await observer.connection.jetstreamManager();
    assert.ok((await manager.streams.info('blue_RING')).state.messages > 0);
    const bucket = await observer.connection.jetstream().views.kv('blue_workers', { bindOnly: true });
    const keys: string[] = [];
    for await (const key of await bucket.keys()) keys.push(key);
    assert.deepEqual(keys.sort(), ['worker-1', 'worker-2']);
    const found: string[] = [];
    for await (const { name } of await observer.connection.services.client().ping()) found.push(name);
    assert.deepEqual(found.sort(), ['blue_coordinator', 'blue_worker', 'blue_worker']);
    for (const subject of ['blue.ring.snapshot', '$KV.blue_workers.worker-1', '$JS.API.STREAM.DELETE.blue_RING']) {
      await assert.rejects(observer.connection.request(subject, '{}', { timeout: 1_000 }), REFUSED, subject);
    }
  });

  test('the system login hears of lost connections, and of nothing else', async () => {
    const [coordinator] = processes;
    await coordinator?.waitFor('the system account', ({ msg }) => /system account tells of lost/.test(msg ?? ''));
    const system = await login('system');
    await assert.rejects(system.connection.request('$SYS.REQ.SERVER.PING.CONNZ', '{}', { timeout: 1_000 }), REFUSED);
  });

  test('a worker is drained and undrained by the coordinators’ login', async () => {
    await cli('coordinator', 'drain', 'worker-1');
    await cli('coordinator', 'undrain', 'worker-1');
    await watching();
  });

  test('when NATS comes back without its streams, the coordinator makes them anew and workers go on', async () => {
    const manager = await (await login('coordinator')).connection.jetstreamManager();
    for (const stream of ['KV_blue_workers', 'KV_blue_coordinators', 'blue_RING', 'blue_TABLE']) {
      await manager.streams.delete(stream);
    }
    const keys = async () => (await manager.streams.info('KV_blue_workers').catch(() => null))?.state.messages;
    await eventually('both liveness keys in a new bucket', async () => (await keys()) === 2);
    await eventually(
      'the snapshot put back',
      async () => (await manager.streams.info('blue_RING').catch(() => null)) !== null,
    );
    workers.push(start('worker', 'worker-3'));
    await watching();
  });

  function start(role: 'worker' | 'coordinator', id: string): ServiceProcess {
    const system = {
      NATS_SYSTEM_URL: nats.url,
      NATS_SYSTEM_USER: 'system',
      NATS_SYSTEM_PASSWORD: passwordOf('system'),
    };
    const all = { ...environment(role), ...(role === 'coordinator' && system) };
    const process = new ServiceProcess(`services/${role}/main.ts`, [`--${role}-id`, id], all);
    processes.push(process);
    return process;
  }

  async function cli(user: string, ...args: string[]): Promise<void> {
    const command = new ServiceProcess('services/cli/main.ts', args, environment(user));
    processes.push(command);
    assert.equal(await command.end(), 0, command.tail());
  }

  function environment(user: string): Record<string, string> {
    return {
      NATS_URL: nats.url,
      NATS_USER: user,
      NATS_PASSWORD: passwordOf(user),
      NATS_PREFIX: PREFIX,
      DATABASE_URL: database.url,
      HTTP_PORT: '0',
    };
  }

  function login(user: string): Promise<NatsLink> {
    return openTestLink({ url: nats.url, prefix: PREFIX, user, password: passwordOf(user), name: `test-${user}` });
  }

  async function watching(): Promise<void> {
    const counts = () =>
      workers.map(({ lines }) => Number(lines.findLast(({ msg }) => msg === 'watching')?.count ?? 0)).sort();
    const fair = workers.length === 2 ? [5, 5] : [3, 3, 4];
    await eventually(
      `shares of ${fair.join(', ')}`,
      () => JSON.stringify(counts()) === JSON.stringify(fair),
      () => `they have ${counts().join(', ')}\n${workers.map((worker) => worker.tail()).join('\n')}`,
    );
  }
});

function denials(process: ServiceProcess): unknown[] {
  return process.lines.filter(({ msg }) => msg === 'NATS denies a permission');
}

async function newestSnapshot(link: NatsLink): Promise<unknown> {
  const manager = await link.connection.jetstreamManager();
  const message = await manager.streams.getMessage('blue_RING', { last_by_subj: 'blue.ring.snapshot' });
  return message.json();
}
