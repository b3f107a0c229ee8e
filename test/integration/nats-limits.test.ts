import assert from 'node:assert/strict';
import { afterEach, describe, test } from 'node:test';
import { DiscardPolicy, type NatsError } from 'nats';
import type { NatsLink } from '../../shared/nats/connection.ts';
import { useJetStream } from '../../shared/nats/jetstream.ts';
import { LivenessBucket } from '../../shared/nats/liveness-bucket.ts';
import { wantedStreams } from '../../shared/nats/stream-settings.ts';
import { openStream } from '../../shared/nats/stream-setup.ts';
import { closeTestLinks, makeLiveness, openTestLink, recordLog } from '../support/nats-link.ts';
import { startNats, type TestNats, type TestNatsOptions } from '../support/nats-process.ts';
import { freshDatabase, sharedPostgres } from '../support/postgres-server.ts';
import { eventually, ServiceProcess } from '../support/service-process.ts';

const MIB = 2 ** 20;
const TTL_MS = 2_000;
const servers: TestNats[] = [];

/** A server with one account, as managed services have them. `jetStream` null: the account has none. */
async function startAccount(jetStream: string | null, options: TestNatsOptions = {}): Promise<TestNats> {
  const enabled = jetStream === null ? '' : `jetstream: ${jetStream},`;
  const config = `accounts { A { ${enabled} users: [{ user: app, password: app }] } }`;
  const nats = await startNats({ ...options, config });
  servers.push(nats);
  return nats;
}

async function login(nats: TestNats, log = recordLog().log): Promise<NatsLink> {
  return openTestLink({ url: nats.url, user: 'app', password: 'app', log });
}

async function openAll(link: NatsLink, options: { readonly storageMib?: number; readonly replicas?: number } = {}) {
  const jetStream = await useJetStream(link);
  for (const wanted of wantedStreams(link.names, { ttlMs: TTL_MS, ...options }))
    await openStream(link, jetStream, wanted);
}

async function sizesOf(link: NatsLink): Promise<number[]> {
  const manager = await link.connection.jetstreamManager();
  const streams = await manager.streams.list().next();
  return streams.map(({ config }) => config.max_bytes);
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);

afterEach(async () => {
  await closeTestLinks();
  await Promise.all(servers.splice(0).map((server) => server.stop()));
});

describe('an account that demands a size for every stream', { timeout: 120_000 }, () => {
  const limits = (mib: number) => `{ max_mem: 0, max_file: ${mib}MB, max_streams: 5, max_bytes_required: true }`;

  test('serves a whole installation', async () => {
    const nats = await startAccount(limits(64));
    const database = await freshDatabase((await sharedPostgres()).url);
    const environment = {
      NATS_URL: nats.url,
      NATS_USER: 'app',
      NATS_PASSWORD: 'app',
      DATABASE_URL: database.url,
      HTTP_PORT: '0',
    };
    const start = (service: string, ...args: string[]) =>
      new ServiceProcess(`services/${service}/main.ts`, args, environment);
    const coordinator = start('coordinator', '--coordinator-id', 'coordinator-1');
    const worker = start('worker', '--worker-id', 'worker-1');
    try {
      await coordinator.waitFor('leading', ({ msg }) => msg === 'leading');
      await eventually('rows', async () => (await start('cli', 'rows', 'add', '5').end()) === 0);
      await worker.waitFor('its rows', ({ msg, count }) => msg === 'watching' && count === 5);
    } finally {
      await Promise.all([coordinator.kill(), worker.kill()]);
      await database.drop();
    }
  });

  test('reserves exactly the storage that was asked for, 64 MiB by default', async () => {
    const link = await login(await startAccount(limits(64)));
    await openAll(link);
    assert.equal(sum(await sizesOf(link)), 64 * MIB);
    await openAll(link, { storageMib: 8 });
    assert.equal(sum(await sizesOf(link)), 8 * MIB);
    // A service without the option leaves what another one was told.
    await openAll(link);
    assert.equal(sum(await sizesOf(link)), 8 * MIB);
  });

  test('with too little storage is named, with what it has and what to ask for', async () => {
    const link = await login(await startAccount(limits(20)));
    await assert.rejects(openAll(link), (error: Error & { code: string }) => {
      assert.equal(error.code, 'stream-unfit');
      assert.match(error.message, /insufficient storage resources available \(10047\)/);
      assert.match(error.message, /The account has 20 MiB of file storage, [\d.]+ MiB of it free/);
      assert.match(error.message, /smaller --nats-storage-mib \(NATS_STORAGE_MIB/);
      assert.doesNotMatch(error.message, /stream rm|Delete/);
      return true;
    });
    await openAll(link, { storageMib: 16 });
    assert.equal(sum(await sizesOf(link)), 16 * MIB);
  });
});

describe('space that is reserved', { timeout: 120_000 }, () => {
  test('keeps renewals going while a neighbour fills what is left of an account in which every stream has a size', async () => {
    const nats = await startAccount('{ max_file: 12MB, max_bytes_required: true }');
    const link = await login(nats);
    await openAll(link, { storageMib: 8 });
    const neighbour = await link.connection.jetstreamManager();
    const settings = { name: 'OTHER', subjects: ['other'], discard: DiscardPolicy.New };
    await assert.rejects(neighbour.streams.add({ ...settings, max_bytes: 5 * MIB }), /insufficient storage/);
    await neighbour.streams.add({ ...settings, max_bytes: 4 * MIB });
    const client = link.connection.jetstream();
    const isFull = (error: NatsError) => /maximum bytes exceeded/.test(error.api_error?.description ?? '');
    const fill = async (bytes: number) => {
      for (;;) await client.publish('other', new Uint8Array(bytes));
    };
    // Small ones last: no room must be left for a worker's key either.
    for (const bytes of [256 * 1_024, 4_096, 16]) await assert.rejects(fill(bytes), isFull);
    const bucket = await LivenessBucket.open(link, { ttlMs: TTL_MS });
    for (let time = 0; time < 3; time += 1) {
      assert.equal((await bucket.renew(makeLiveness('worker-1', { tick: time }))).kind, 'renewed');
    }
  });

  test('of a stream that had none and cannot have it costs a warning, and the stream stays in use', async () => {
    const nats = await startAccount('{ max_file: 20MB }');
    const { log, lines } = recordLog();
    const link = await login(nats, log);
    const manager = await link.connection.jetstreamManager();
    const description = '[notifi-scaler format=1 kind=snapshots]';
    await manager.streams.add({ name: 'RING', subjects: ['ring.snapshot'], max_msgs: 256, description });
    const ring = wantedStreams(link.names, { ttlMs: TTL_MS }).filter(({ kind }) => kind === 'snapshots');
    for (const wanted of ring) await openStream(link, await useJetStream(link), wanted);
    const warning = lines.find(({ msg }) => /^no space reserved/.test(msg));
    assert.match(String(warning?.advice), /--nats-storage-mib/);
    assert.equal((await manager.streams.info('RING')).config.max_bytes, -1);
  });
});

describe('advice that fits', { timeout: 120_000 }, () => {
  const refusals = [
    {
      what: 'too few streams',
      jetStream: '{ max_file: 128MB, max_streams: 1 }',
      advice: /an installation needs 5 \(max_streams\)/,
    },
    { what: 'no file storage', jetStream: '{ max_mem: 64MB, max_file: 0 }', advice: /The account has no file storage/ },
    {
      what: 'a limit for one stream',
      jetStream: '{ max_file: 128MB, disk_max_stream_bytes: 1MB }',
      advice: /limits the size of one stream .* smaller --nats-storage-mib/,
    },
    {
      what: 'replicas on a lone server',
      jetStream: 'enabled',
      replicas: 3,
      advice: /A lone server keeps each stream once: give --nats-replicas 1/,
    },
  ] as const;
  for (const { what, jetStream, advice, ...options } of refusals) {
    test(`is given for ${what}, and deleting a stream is no cure`, async () => {
      const link = await login(await startAccount(jetStream));
      await assert.rejects(openAll(link, options), (error: Error) => {
        assert.match(error.message, advice);
        assert.doesNotMatch(error.message, /stream rm|Delete/);
        return true;
      });
    });
  }

  const waits = [
    { what: 'an account without JetStream', hasJetStream: true, advice: /not enabled for this login's account/ },
    { what: 'a server without JetStream', hasJetStream: false, advice: /with JetStream \(-js\)\?.*domain/ },
  ] as const;
  for (const { what, hasJetStream, advice } of waits) {
    test(`is given while ${what} is waited for`, async () => {
      const nats = await startAccount(null, { hasJetStream });
      const { log, lines } = recordLog();
      const link = await login(nats, log);
      const opened = openAll(link).catch(() => {});
      await eventually('the notice', () =>
        lines.some(({ msg }) => /^waiting for JetStream/.test(msg) && advice.test(msg)),
      );
      await closeTestLinks();
      await nats.stop();
      await Promise.race([opened, null]);
    });
  }

  test('is given when a watch may have no consumer', async () => {
    const nats = await startAccount('{ max_file: 128MB, max_consumers: 1 }');
    const { log, lines } = recordLog();
    const link = await login(nats, log);
    const bucket = await LivenessBucket.open(link, { ttlMs: TTL_MS });
    const ends = [await bucket.watch(() => {})];
    void bucket.watch(() => {}).then((end) => ends.push(end));
    await eventually('the advice', () =>
      lines.some(({ reason }) => /each coordinator needs up to 4 \(max_consumers\)/.test(String(reason))),
    );
    await Promise.all(ends.map((end) => end()));
  });
});
