import assert from 'node:assert/strict';
import { after, afterEach, describe, test } from 'node:test';
import {
  DiscardPolicy,
  type JetStreamManager,
  nanos,
  RetentionPolicy,
  StorageType,
  StoreCompression,
  type StreamConfig,
  type StreamUpdateConfig,
} from 'nats';
import type { NatsLink } from '../../shared/nats/connection.ts';
import { LeadershipBucket } from '../../shared/nats/leadership-bucket.ts';
import { encodeLiveness } from '../../shared/nats/liveness.ts';
import { LivenessBucket } from '../../shared/nats/liveness-bucket.ts';
import { RecoveryStream } from '../../shared/nats/recovery-stream.ts';
import { SnapshotStream } from '../../shared/nats/snapshot-stream.ts';
import { wantedStreams } from '../../shared/nats/stream-settings.ts';
import { refuseForeignStreams } from '../../shared/nats/stream-setup.ts';
import { TableStream } from '../../shared/nats/table-stream.ts';
import { closeTestLinks, makeLiveness, openTestLink, type RecordedLog, recordLog } from '../support/nats-link.ts';
import { startNats, type TestNats } from '../support/nats-process.ts';
import { freshPrefix, sharedNats } from '../support/nats-server.ts';
import { takePicture } from '../support/stream-picture.ts';

const TTL_MS = 2_000;
/** The client's types leave it out. */
const SEALED = { sealed: true } as Partial<StreamUpdateConfig>;
const FOREIGN = { code: 'stream-foreign', message: /is not Notifi-Scaler's.*--nats-prefix/ };

const servers: TestNats[] = [];
after(async () => {
  await Promise.all(servers.map((server) => server.stop()));
});
afterEach(closeTestLinks);

interface Place {
  readonly url: string;
  readonly prefix: string;
  readonly link: NatsLink;
  readonly lines: RecordedLog['lines'];
  readonly manager: JetStreamManager;
}

async function visit(): Promise<Place> {
  const { url } = await sharedNats();
  const prefix = freshPrefix();
  const { log, lines } = recordLog();
  const link = await openTestLink({ url, prefix, log });
  return { url, prefix, link, lines, manager: await link.connection.jetstreamManager() };
}

type Settings = Partial<StreamConfig> & { readonly name: string };

/** All that version 0.1.0 of commit 769ecbc asked of the server, word for word. */
function formerStreams(prefix: string, ttlMs: number): Settings[] {
  const common = {
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
    max_bytes: -1,
    max_msg_size: -1,
    allow_direct: false,
  };
  const bucket = (name: string) => ({
    ...common,
    name: `KV_${prefix}_${name}`,
    subjects: [`$KV.${prefix}_${name}.>`],
    max_msgs: -1,
    max_msgs_per_subject: 1,
    max_age: nanos(ttlMs),
    duplicate_window: nanos(Math.min(ttlMs, 120_000)),
    discard: DiscardPolicy.New,
    deny_delete: true,
    allow_rollup_hdrs: true,
  });
  const history = (name: string, subject: string, keep: number) => ({
    ...common,
    name: `${prefix}_${name}`,
    subjects: [`${prefix}.${subject}`],
    max_msgs: keep,
    max_msgs_per_subject: -1,
    max_age: 0,
    discard: DiscardPolicy.Old,
  });
  return [
    bucket('workers'),
    bucket('coordinators'),
    history('RING', 'ring.snapshot', 256),
    history('TABLE', 'table.size', 1024),
    history('RECOVERY', 'ring.recovery', 256),
  ];
}

async function openAll(link: NatsLink, ttlMs = TTL_MS): Promise<void> {
  await refuseForeignStreams(link, wantedStreams(link.names, { ttlMs }));
  await LeadershipBucket.open(link, { ttlMs });
  await LivenessBucket.open(link, { ttlMs });
  await SnapshotStream.open(link);
  await TableStream.open(link);
  await RecoveryStream.open(link);
}

function changesOf({ lines }: Place): { readonly stream: unknown; readonly msg: string; readonly keys: string[] }[] {
  return lines.flatMap(({ msg, stream, changes }) =>
    changes === undefined ? [] : [{ stream, msg, keys: Object.keys(changes as object).sort() }],
  );
}

describe('streams of a version without the mark', () => {
  for (const ttlMs of [100, TTL_MS, 3_600_000]) {
    test(`are recognised at a TTL of ${ttlMs} ms, marked, and keep what they hold`, async () => {
      const place = await visit();
      const { prefix, link, manager } = place;
      for (const settings of formerStreams(prefix, ttlMs)) await manager.streams.add({ ...settings, num_replicas: 1 });
      await link.connection.jetstream().publish(link.names.snapshotSubject, 'kept');
      const before = await takePicture(manager, link.names.snapshotStream);
      await openAll(link, ttlMs);
      const { config, ...held } = await takePicture(manager, link.names.snapshotStream);
      const { config: former, ...formerlyHeld } = before;
      assert.deepEqual(held, formerlyHeld);
      assert.match(config.description ?? '', /^Notifi-Scaler: .*\[notifi-scaler format=2 kind=snapshots\]$/);
      const changed = { description: undefined, metadata: undefined, max_bytes: undefined, max_msg_size: undefined };
      assert.deepEqual({ ...config, ...changed }, { ...former, ...changed });
      assert.ok(config.max_bytes > 0 && config.max_msg_size > 0);
      const changes = changesOf(place);
      assert.equal(changes.length, 5);
      for (const { msg, keys } of changes) {
        assert.equal(msg, 'stream of an earlier version adopted');
        assert.deepEqual(
          keys.filter((key) => key !== 'metadata'),
          ['description', 'max_bytes', 'max_msg_size'],
        );
      }
    });
  }

  test('are adopted by many processes at once, and then left alone', async () => {
    const place = await visit();
    const { url, prefix, manager } = place;
    for (const settings of formerStreams(prefix, TTL_MS)) await manager.streams.add(settings);
    const links = await Promise.all(Array.from({ length: 6 }, () => openTestLink({ url, prefix })));
    await Promise.all(links.map((link) => openAll(link)));
    await openAll(place.link);
    assert.deepEqual(changesOf(place), []);
  });

  test('are used as they are by a login that may not change them', async () => {
    const permissions = `{ publish: { deny: ["$JS.API.STREAM.UPDATE.>", "$JS.API.STREAM.CREATE.>"] } }`;
    const config = `authorization { users = [{ user: admin, password: pw }, { user: worker, password: pw, permissions: ${permissions} }] }`;
    const server = await startNats({ config });
    servers.push(server);
    const prefix = freshPrefix();
    const admin = await openTestLink({ url: server.url, prefix, user: 'admin', password: 'pw' });
    const manager = await admin.connection.jetstreamManager();
    for (const settings of formerStreams(prefix, TTL_MS)) await manager.streams.add(settings);
    const link = await openTestLink({ url: server.url, prefix, user: 'worker', password: 'pw' });
    const bucket = await LivenessBucket.open(link, { ttlMs: TTL_MS });
    assert.equal((await bucket.renew(makeLiveness('w1'))).kind, 'renewed');
    await openAll(admin);
    assert.equal((await bucket.renew(makeLiveness('w1', { tick: 1 }))).kind, 'renewed');
  });

  test('are adopted with the living values they hold', async () => {
    const { prefix, link, manager } = await visit();
    for (const settings of formerStreams(prefix, 60_000)) await manager.streams.add(settings);
    const subject = `$KV.${prefix}_workers`;
    const jetStream = link.connection.jetstream();
    await jetStream.publish(`${subject}.w1`, encodeLiveness(makeLiveness('w1')));
    await jetStream.publish(`${subject}.w2`, 'garbage');
    await jetStream.publish(`${subject}.w3`, '');
    const bucket = await LivenessBucket.open(link, { ttlMs: 60_000 });
    assert.equal((await bucket.read('w1'))?.value?.id, 'w1');
  });
});

describe('streams of other applications', () => {
  const oddities: readonly { readonly what: string; readonly change: Partial<StreamConfig> }[] = [
    { what: 'a description', change: { description: 'orders' } },
    { what: 'another limit', change: { max_msgs: 255 } },
    { what: 'a limit in bytes', change: { max_bytes: 1_000_000 } },
    { what: 'a maximum age', change: { max_age: nanos(600_000) } },
    { what: 'another subject beside ours', change: {} },
    { what: 'direct reads', change: { allow_direct: true } },
    { what: 'compression', change: { compression: StoreCompression.S2 } },
    { what: 'metadata', change: { metadata: { team: 'orders' } } },
    { what: 'work-queue retention', change: { retention: RetentionPolicy.Workqueue } },
    { what: 'no acknowledgements', change: { no_ack: true } },
    { what: 'memory storage', change: { storage: StorageType.Memory } },
  ];
  for (const { what, change } of oddities) {
    test(`are told from ours of earlier versions by ${what}, and stay as they are`, async (context) => {
      const { prefix, link, manager } = await visit();
      const ring = formerStreams(prefix, TTL_MS)[2]!;
      const subjects = what.startsWith('another subject')
        ? [...(ring.subjects ?? []), `${prefix}.more`]
        : ring.subjects;
      try {
        await manager.streams.add({ ...ring, ...change, ...(subjects && { subjects }) });
      } catch (error) {
        if (/requires server/.test(String(error))) return context.skip('this server has no such setting');
        throw error;
      }
      const before = await takePicture(manager, link.names.snapshotStream);
      await assert.rejects(openAll(link), FOREIGN);
      await assert.rejects(SnapshotStream.open(link), FOREIGN);
      await assert.rejects(SnapshotStream.attach(link), FOREIGN);
      assert.deepEqual(await takePicture(manager, link.names.snapshotStream), before);
      // Nothing of ours was created beside it.
      await assert.rejects(manager.streams.info(`KV_${prefix}_workers`));
    });
  }

  test('a bucket with our very settings and values of its own is not ours', async () => {
    const { prefix, link, manager } = await visit();
    const workers = formerStreams(prefix, 60_000)[0]!;
    await manager.streams.add(workers);
    await link.connection.jetstream().publish(`$KV.${prefix}_workers.anna`, 'on holiday');
    const before = await takePicture(manager, workers.name);
    await assert.rejects(openAll(link), FOREIGN);
    await assert.rejects(LivenessBucket.attach(link), FOREIGN);
    assert.deepEqual(await takePicture(manager, workers.name), before);
  });

  test('a mirror, a stream with sources and a sealed stream are described as such', async () => {
    const { prefix, link, manager } = await visit();
    await manager.streams.add({ name: `${prefix}_ORDERS`, subjects: [`${prefix}.orders`] });
    const origin = { name: `${prefix}_ORDERS` };
    const { snapshotStream, tableStream, recoveryStream } = link.names;
    await manager.streams.add({ name: snapshotStream, mirror: origin });
    await manager.streams.add({ name: tableStream, sources: [origin] });
    await manager.streams.add({ name: recoveryStream, subjects: [`${prefix}.old`] });
    await manager.streams.update(recoveryStream, SEALED);
    const names = [snapshotStream, tableStream, recoveryStream];
    const before = await Promise.all(names.map((name) => takePicture(manager, name)));
    await assert.rejects(openAll(link), (error: Error) => {
      assert.match(error.message, /_RING is not .* a mirror of stream t\w+_ORDERS/);
      assert.match(error.message, /_TABLE is not .* fed from stream t\w+_ORDERS/);
      assert.match(error.message, /_RECOVERY is not .* sealed/);
      assert.match(error.message, /another --nats-prefix \(NATS_PREFIX\) than "t\w+"/);
      return true;
    });
    assert.deepEqual(await Promise.all(names.map((name) => takePicture(manager, name))), before);
  });

  test('a stream of ours of another kind under the name is not taken for this one', async () => {
    const { prefix, link, manager } = await visit();
    await openAll(link);
    const { description = '' } = (await manager.streams.info(`${prefix}_TABLE`)).config;
    await manager.streams.delete(`${prefix}_RING`);
    await manager.streams.add({ name: `${prefix}_RING`, subjects: [`${prefix}.ring.snapshot`], description });
    await assert.rejects(SnapshotStream.open(link), FOREIGN);
  });

  test('an overlap is reported, too, by a login that may not see the other stream', async () => {
    const permissions = `{ publish: { deny: ["$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST"] } }`;
    const config = `authorization { users = [{ user: admin, password: pw }, { user: narrow, password: pw, permissions: ${permissions} }] }`;
    const server = await startNats({ config });
    servers.push(server);
    const admin = await openTestLink({ url: server.url, user: 'admin', password: 'pw' });
    await (await admin.connection.jetstreamManager()).streams.add({ name: 'SHOP', subjects: ['table.*'] });
    const link = await openTestLink({ url: server.url, user: 'narrow', password: 'pw' });
    await assert.rejects(openAll(link), {
      code: 'stream-foreign',
      message: /stream TABLE cannot be used: its subjects table\.size overlap.*nats stream ls.*--nats-prefix/,
    });
  });
});

describe('streams with our mark', () => {
  test('are left alone when nothing differs, whatever the server adds', async () => {
    const place = await visit();
    await openAll(place.link);
    const names = formerStreams(place.prefix, TTL_MS).map(({ name }) => name);
    const before = await Promise.all(names.map((name) => takePicture(place.manager, name)));
    await openAll(place.link);
    assert.deepEqual(await Promise.all(names.map((name) => takePicture(place.manager, name))), before);
    assert.deepEqual(changesOf(place), []);
  });

  test('take a new TTL, and the change is logged', async () => {
    const place = await visit();
    await openAll(place.link);
    await LivenessBucket.open(place.link, { ttlMs: 5_000 });
    const stream = `KV_${place.prefix}_workers`;
    const keys = ['duplicate_window', 'max_age'];
    assert.deepEqual(changesOf(place), [{ stream, msg: 'stream settings changed', keys }]);
    assert.equal((await place.manager.streams.info(stream)).config.max_age, nanos(5_000));
  });

  test('are still ours when somebody rewrote the description, where the server keeps metadata', async (context) => {
    const place = await visit();
    await openAll(place.link);
    const name = place.link.names.snapshotStream;
    if ((await place.manager.streams.info(name)).config.metadata === undefined) return context.skip('no metadata here');
    await place.manager.streams.update(name, { description: 'our ring, ask Anna' });
    await SnapshotStream.open(place.link);
    const { description } = (await place.manager.streams.info(name)).config;
    assert.equal(description, 'our ring, ask Anna [notifi-scaler format=2 kind=snapshots]');
    assert.deepEqual(
      changesOf(place).map(({ keys }) => keys),
      [['description']],
    );
  });

  test('of a later version keep its settings; only TTL and replicas follow our options', async () => {
    const place = await visit();
    const { prefix, link, manager } = place;
    await openAll(link);
    const later = (kind: string) => ({
      description: `Notifi-Scaler [notifi-scaler format=3 kind=${kind} installation=x]`,
    });
    await manager.streams.update(`${prefix}_RING`, { ...later('snapshots'), max_msgs: 512, max_bytes: 9_000_000 });
    await manager.streams.update(`KV_${prefix}_workers`, { ...later('liveness'), max_bytes: 9_000_000 });
    const before = await takePicture(manager, `${prefix}_RING`);
    await openAll(link, 5_000);
    assert.deepEqual(await takePicture(manager, `${prefix}_RING`), before);
    const { config } = await manager.streams.info(`KV_${prefix}_workers`);
    assert.deepEqual([config.max_age, config.max_bytes], [nanos(5_000), 9_000_000]);
    assert.match(config.description ?? '', /format=3/);
    const told = place.lines.filter(({ msg }) => /of a later version opened/.test(msg)).map(({ stream }) => stream);
    assert.deepEqual(told, [`KV_${prefix}_workers`, `${prefix}_RING`]);
  });

  test('of a later version with other subjects are refused, naming the versions’ subjects', async () => {
    const { prefix, link, manager } = await visit();
    await openAll(link);
    const description = 'Notifi-Scaler [notifi-scaler format=3 kind=snapshots]';
    await manager.streams.update(`${prefix}_RING`, { description, subjects: [`${prefix}.ring.v2`] });
    await assert.rejects(SnapshotStream.open(link), {
      code: 'stream-unfit',
      message: /later version.*expected subjects t\w+\.ring\.snapshot, got t\w+\.ring\.v2/,
    });
  });

  test('that were sealed are refused with the advice to delete them', async () => {
    const { link, manager } = await visit();
    await openAll(link);
    await manager.streams.update(link.names.snapshotStream, SEALED);
    await assert.rejects(SnapshotStream.open(link), {
      code: 'stream-unfit',
      message: /carries our mark, but is sealed.*nats stream rm t\w+_RING/,
    });
    await manager.streams.delete(link.names.snapshotStream);
    await SnapshotStream.open(link);
  });
});

describe('a reader', () => {
  test('creates and changes nothing', async () => {
    const { link, manager } = await visit();
    assert.equal(await (await SnapshotStream.attach(link)).newest(null), null);
    assert.deepEqual(await (await RecoveryStream.attach(link)).history(5), []);
    await assert.rejects(manager.streams.info(link.names.snapshotStream));
    await assert.rejects(manager.streams.info(link.names.recoveryStream));
  });
});
