import assert from 'node:assert/strict';
import { after, afterEach, describe, test } from 'node:test';
import { connect, type JetStreamManager, type NatsConnection, type StreamConfig } from 'nats';
import pg from 'pg';
import { startNats, type TestNats } from '../support/nats-process.ts';
import { eventually, type ServiceProcess } from '../support/service-process.ts';
import { takePicture } from '../support/stream-picture.ts';
import { TestSystem } from '../support/test-system.ts';

/** Real processes on a NATS whose names another application uses already. */
const OURS = ['KV_workers', 'KV_coordinators', 'RING', 'TABLE', 'RECOVERY'];

let nats: TestNats | null = null;
let system: TestSystem | null = null;
let connection: NatsConnection | null = null;

afterEach(async () => {
  await connection?.close();
  await system?.stop();
  connection = null;
  system = null;
});
after(async () => {
  await nats?.stop();
});

interface Neighbour {
  readonly system: TestSystem;
  readonly connection: NatsConnection;
  readonly manager: JetStreamManager;
}

/** A NATS without streams; services use no prefix, so the neighbour's plain names are theirs too. */
async function meetNeighbour(): Promise<Neighbour> {
  nats ??= await startNats();
  const started = await TestSystem.start({ natsUrl: nats.url, environment: { NATS_PREFIX: '' } });
  system = started;
  connection = await connect({ servers: nats.url });
  const manager = await connection.jetstreamManager();
  for (const name of await listNames(manager)) await manager.streams.delete(name);
  return { system: started, connection, manager };
}

async function listNames(manager: JetStreamManager): Promise<string[]> {
  const names: string[] = [];
  for await (const name of manager.streams.names()) names.push(name);
  return names.sort();
}

async function fillBucket(neighbour: Neighbour): Promise<void> {
  const bucket = await neighbour.connection.jetstream().views.kv('workers', { history: 10 });
  for (const text of ['a', 'b', 'c']) await bucket.put('anna', text);
  for (const text of ['d', 'e', 'f']) await bucket.put('bela', text);
}

/** The process must give up with exit code 1, one plain message and no stack trace. */
async function reasonOfEnd(process: ServiceProcess): Promise<string> {
  assert.equal(await process.end(), 1, process.tail());
  const last = process.lines.at(-1);
  assert.equal(last?.msg, 'cannot go on', process.tail());
  assert.equal(
    process.lines.some(({ msg }) => msg === 'unexpected error'),
    false,
    process.tail(),
  );
  return String(last?.reason);
}

/** As docs/operations.md says. */
async function forgetPrefix({ databaseUrl }: TestSystem): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  await client.query("UPDATE scaler.adoption SET nats_prefix = ''");
  await client.end();
}

describe("another application's names", { timeout: 120_000 }, () => {
  test('a foreign bucket "workers" stays as it is, and the coordinator exits with 1 and says what to do', async () => {
    const neighbour = await meetNeighbour();
    await fillBucket(neighbour);
    const before = await takePicture(neighbour.manager, 'KV_workers');
    const reason = await reasonOfEnd(neighbour.system.coordinator('c'));
    assert.deepEqual(await takePicture(neighbour.manager, 'KV_workers'), before);
    assert.equal(before.messages.length, 6);
    assert.match(reason, /bucket "workers" \(stream KV_workers\)/);
    assert.match(reason, /history 10/);
    assert.match(reason, /6 messages/);
    assert.match(reason, /--nats-prefix/);
    assert.doesNotMatch(reason, /nats stream rm/);
    // Refused before anything of ours was made.
    assert.deepEqual(await listNames(neighbour.manager), ['KV_workers']);
  });

  test('a foreign stream TABLE is left alone, and its publisher keeps working', async () => {
    const neighbour = await meetNeighbour();
    await neighbour.manager.streams.add({ name: 'TABLE', subjects: ['orders.>'], max_msgs: 7 });
    const jetStream = neighbour.connection.jetstream();
    await jetStream.publish('orders.new', 'one');
    const before = await takePicture(neighbour.manager, 'TABLE');
    const reason = await reasonOfEnd(neighbour.system.coordinator('c'));
    assert.match(reason, /stream TABLE.*orders\.>.*--nats-prefix/);
    assert.deepEqual(await takePicture(neighbour.manager, 'TABLE'), before);
    assert.equal((await jetStream.publish('orders.new', 'two')).seq, 2);
  });

  test('an overlapping subject is named with its stream', async () => {
    const neighbour = await meetNeighbour();
    await neighbour.manager.streams.add({ name: 'SHOP', subjects: ['shop.>', 'table.*'] });
    await neighbour.connection.jetstream().publish('table.size', 'of a dining table');
    const before = await takePicture(neighbour.manager, 'SHOP');
    const reason = await reasonOfEnd(neighbour.system.coordinator('c'));
    assert.match(reason, /stream TABLE.*table\.size.*stream SHOP.*shop\.>, table\.\*.*--nats-prefix/);
    assert.doesNotMatch(reason, /nats stream rm/);
    assert.deepEqual(await takePicture(neighbour.manager, 'SHOP'), before);
    assert.deepEqual(await listNames(neighbour.manager), ['SHOP']);
  });

  test('all names that are taken are reported at once', async () => {
    const neighbour = await meetNeighbour();
    await fillBucket(neighbour);
    await neighbour.manager.streams.add({ name: 'RECOVERY', subjects: ['backup.>'] });
    await neighbour.manager.streams.add({ name: 'SHOP', subjects: ['ring.>'] });
    const names = await listNames(neighbour.manager);
    const reason = await reasonOfEnd(neighbour.system.coordinator('c'));
    for (const name of ['KV_workers', 'RECOVERY', 'RING', 'SHOP']) assert.match(reason, new RegExp(`stream ${name}`));
    assert.deepEqual(await listNames(neighbour.manager), names);
  });

  for (const name of ['KV_workers', 'RING']) {
    test(`a worker, too, refuses a foreign stream ${name}`, async () => {
      const neighbour = await meetNeighbour();
      // Under a prefix, so that the table is adopted: workers wait for that first.
      const coordinator = neighbour.system.coordinator('c', ['--nats-prefix', 'blue']);
      await coordinator.waitFor('leading', ({ msg }) => msg === 'leading');
      await coordinator.kill();
      await forgetPrefix(neighbour.system);
      await neighbour.manager.streams.add({ name, subjects: ['orders.>'] });
      const before = await takePicture(neighbour.manager, name);
      const reason = await reasonOfEnd(neighbour.system.worker('w'));
      assert.match(reason, new RegExp(`stream ${name}.*--nats-prefix`));
      assert.deepEqual(await takePicture(neighbour.manager, name), before);
    });
  }

  test('the command line reports foreign streams, and creates and changes nothing', async () => {
    const neighbour = await meetNeighbour();
    const commands = [['ring', 'show'], ['ring', 'history'], ['recoveries'], ['workers']] as const;
    for (const command of commands) await neighbour.system.cli(...command);
    assert.deepEqual(await listNames(neighbour.manager), []);
    await fillBucket(neighbour);
    for (const name of ['RING', 'RECOVERY']) await neighbour.manager.streams.add({ name, subjects: [`${name}.>`] });
    const names = await listNames(neighbour.manager);
    const before = await Promise.all(names.map((name) => takePicture(neighbour.manager, name)));
    for (const command of commands) {
      const { code, text } = await neighbour.system.cli(...command);
      assert.equal(code, 1, text);
      assert.match(text, /is not Notifi-Scaler's.*--nats-prefix/, command.join(' '));
    }
    assert.deepEqual(await Promise.all(names.map((name) => takePicture(neighbour.manager, name))), before);
  });

  test('with the prefix that the error asks for, both work side by side', async () => {
    const neighbour = await meetNeighbour();
    await fillBucket(neighbour);
    const before = await takePicture(neighbour.manager, 'KV_workers');
    const coordinator = neighbour.system.coordinator('c', ['--nats-prefix', 'blue']);
    await coordinator.waitFor('leading', ({ msg }) => msg === 'leading');
    assert.deepEqual(await takePicture(neighbour.manager, 'KV_workers'), before);
    await coordinator.kill();
  });
});

describe('our own streams', { timeout: 120_000 }, () => {
  test('two coordinators that start at once on an empty NATS both run, and every stream carries the mark', async () => {
    const neighbour = await meetNeighbour();
    const coordinators = ['c1', 'c2'].map((id) => neighbour.system.coordinator(id));
    for (const coordinator of coordinators) {
      const { port } = await coordinator.waitFor('its port', ({ port: found }) => found !== undefined);
      const isReady = async () => (await fetch(`http://127.0.0.1:${port}/readyz`)).ok;
      await eventually('it to be ready', isReady, () => coordinator.tail());
    }
    assert.deepEqual(await listNames(neighbour.manager), [...OURS].sort());
    for (const name of OURS) {
      const { description } = (await neighbour.manager.streams.info(name)).config;
      assert.match(description ?? '', /^Notifi-Scaler: .*\[notifi-scaler format=2 kind=\w+\]$/, name);
    }
  });

  test('a stream whose settings are changed at the start is logged with what changed', async () => {
    const neighbour = await meetNeighbour();
    const first = neighbour.system.coordinator('c1');
    await first.waitFor('leading', ({ msg }) => msg === 'leading');
    await first.kill();
    const second = neighbour.system.coordinator('c2', ['--lease-ttl-ms', '5000']);
    const line = await second.waitFor(
      'the change',
      ({ msg, stream }) => msg === 'stream settings changed' && stream === 'KV_workers',
    );
    const changes = line.changes as Record<keyof StreamConfig, { from: unknown; to: unknown }>;
    assert.deepEqual(changes.max_age, { from: 2_000_000_000, to: 5_000_000_000 });
    await second.waitFor('leading', ({ msg }) => msg === 'leading');
  });
});
