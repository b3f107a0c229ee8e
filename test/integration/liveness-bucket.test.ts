import assert from 'node:assert/strict';
import { after, afterEach, describe, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { headers, nanos, StorageType, type StreamConfig } from 'nats';
import type { NatsLink } from '../../shared/nats/connection.ts';
import { encodeLiveness } from '../../shared/nats/liveness.ts';
import { LivenessBucket, type LivenessChange } from '../../shared/nats/liveness-bucket.ts';
import { assertTook, closeTestLinks, makeLiveness, openTestLink, recordLog, until } from '../support/nats-link.ts';
import { startNats, type TestNats } from '../support/nats-process.ts';
import { freshPrefix, sharedNats } from '../support/nats-server.ts';

const TTL_MS = 2_000;
const servers: TestNats[] = [];
after(async () => {
  await Promise.all(servers.map((server) => server.stop()));
});
afterEach(closeTestLinks);

interface Setting {
  readonly link: NatsLink;
  readonly bucket: LivenessBucket;
  readonly subject: (key: string) => string;
  /** Another connection's view of the same bucket. */
  another(): Promise<LivenessBucket>;
}

async function openFresh(options: { url?: string; ttlMs?: number } = {}): Promise<Setting> {
  const url = options.url ?? (await sharedNats()).url;
  const prefix = freshPrefix();
  const ttlMs = options.ttlMs ?? TTL_MS;
  const link = await openTestLink({ url, prefix });
  return {
    link,
    bucket: await LivenessBucket.open(link, { ttlMs }),
    subject: (key) => `$KV.${prefix}_workers.${key}`,
    another: async () => LivenessBucket.open(await openTestLink({ url, prefix }), { ttlMs }),
  };
}

async function streamConfig(link: NatsLink): Promise<StreamConfig> {
  const manager = await link.connection.jetstreamManager();
  return (await manager.streams.info(`KV_${link.names.livenessBucket}`)).config;
}

async function deleteStream(link: NatsLink): Promise<void> {
  const manager = await link.connection.jetstreamManager();
  await manager.streams.delete(`KV_${link.names.livenessBucket}`);
}

describe('its settings', () => {
  test('A new bucket is one that every KV client understands, on file, and read from its leader.', async () => {
    const { link } = await openFresh();
    const config = await streamConfig(link);
    const { subjects, max_msgs_per_subject, storage, discard, deny_delete, allow_rollup_hdrs } = config;
    assert.deepEqual(
      { subjects, max_msgs_per_subject, storage, discard, deny_delete, allow_rollup_hdrs },
      {
        subjects: [`$KV.${link.names.livenessBucket}.>`],
        max_msgs_per_subject: 1,
        storage: 'file',
        discard: 'new',
        deny_delete: true,
        allow_rollup_hdrs: true,
      },
    );
    assert.equal(config.max_age, nanos(TTL_MS));
    assert.equal(config.allow_direct ?? false, false);
    assert.equal(config.num_replicas, 1);
    const kv = await link.connection.jetstream().views.kv(link.names.livenessBucket, { bindOnly: true });
    assert.equal((await kv.status()).ttl, TTL_MS);
  });

  test('changed settings of our bucket are set back, and what is not ours to set stays', async () => {
    const { link } = await openFresh();
    const manager = await link.connection.jetstreamManager();
    const { description } = await streamConfig(link);
    const changes = { max_age: nanos(10_000), max_msgs_per_subject: 5, allow_direct: true };
    await manager.streams.update(`KV_${link.names.livenessBucket}`, {
      ...changes,
      description: `ask Anna ${description}`,
    });
    assert.equal((await streamConfig(link)).max_age, nanos(10_000));
    await LivenessBucket.open(link, { ttlMs: TTL_MS });
    const config = await streamConfig(link);
    assert.deepEqual([config.max_age, config.max_msgs_per_subject], [nanos(TTL_MS), 1]);
    assert.equal(config.duplicate_window, config.max_age);
    assert.equal(config.allow_direct ?? false, false);
    assert.equal(config.description, `ask Anna ${description}`);
    await LivenessBucket.open(link, { ttlMs: 30_000 });
    assert.equal((await streamConfig(link)).max_age, nanos(30_000));
  });

  test('Many open it at once.', async () => {
    const { url } = await sharedNats();
    const prefix = freshPrefix();
    const links = await Promise.all(Array.from({ length: 8 }, () => openTestLink({ url, prefix })));
    await Promise.all(links.map((link) => LivenessBucket.open(link, { ttlMs: TTL_MS })));
    assert.equal((await streamConfig(links[0]!)).max_age, nanos(TTL_MS));
  });

  test('our bucket is refused with what to do when a setting cannot be changed', async () => {
    const { link } = await openFresh();
    const { description = '' } = await streamConfig(link);
    await deleteStream(link);
    const views = link.connection.jetstream().views;
    await views.kv(link.names.livenessBucket, { storage: StorageType.Memory, description });
    await assert.rejects(LivenessBucket.open(link, { ttlMs: TTL_MS }), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'stream-unfit');
      assert.match(error.message, /can not change storage type .*Delete it \(nats stream rm KV_t\w+_workers\)/);
      return true;
    });
  });

  test('A client that may neither see nor make it opens it as it is, and renews.', async () => {
    const config = `authorization { users = [
      { user: admin, password: pw }
      { user: worker, password: pw, permissions: { publish: ["$KV.workers.w1"], subscribe: ["_INBOX.w1.>"] } }
    ] }`;
    const server = await startNats({ config });
    servers.push(server);
    const admin = await openTestLink({ url: server.url, user: 'admin', password: 'pw' });
    await LivenessBucket.open(admin, { ttlMs: TTL_MS });
    const { log, lines } = recordLog();
    const link = await openTestLink({ url: server.url, name: 'w1', user: 'worker', password: 'pw', log });
    const bucket = await LivenessBucket.open(link, { ttlMs: TTL_MS });
    assert.equal((await bucket.renew(makeLiveness('w1'))).kind, 'renewed');
    assert.equal((await bucket.renew(makeLiveness('w2'))).kind, 'failed');
    await until('a word on the denial', () =>
      lines.some(({ subject }) => subject === '$JS.API.STREAM.INFO.KV_workers'),
    );
  });
});

describe('a key', () => {
  test('It is created, renewed, read and removed.', async () => {
    const { bucket, another } = await openFresh();
    const first = await bucket.renew(makeLiveness('w1', { tick: 1 }));
    assert.deepEqual(first, { kind: 'renewed', revision: 1 });
    assert.deepEqual(await bucket.renew(makeLiveness('w1', { tick: 2 })), { kind: 'renewed', revision: 2 });
    const other = await another();
    const expected = { id: 'w1', revision: 2, value: makeLiveness('w1', { tick: 2 }) };
    assert.deepEqual(await other.read('w1'), expected);
    assert.deepEqual(await other.entries(), [expected]);
    assert.equal((await bucket.remove()).kind, 'removed');
    assert.equal(await other.read('w1'), null);
    assert.deepEqual(await other.entries(), []);
    assert.equal((await bucket.remove()).kind, 'removed');
  });

  test('It is put again over a deletion, an empty value and its own expiry.', async () => {
    const { link, bucket, another, subject } = await openFresh({ ttlMs: 500 });
    await bucket.renew(makeLiveness('w1'));
    assert.equal((await bucket.remove()).kind, 'removed');
    assert.equal((await bucket.renew(makeLiveness('w1'))).kind, 'renewed');
    await link.connection.jetstream().publish(subject('w1'), '');
    const other = await another();
    assert.equal(await other.read('w1'), null);
    assert.deepEqual(await other.entries(), []);
    assert.equal((await other.renew(makeLiveness('w1', { startedAt: '2026-11-23T11:00:00.000Z' }))).kind, 'renewed');
    await until('the expiry', async () => (await other.read('w1')) === null, { limitMs: 3_000 });
    assert.equal((await bucket.renew(makeLiveness('w1'))).kind, 'renewed');
  });

  test('It is put again over the marker that a newer server leaves of an expired key.', async (context) => {
    const { link, bucket, another, subject } = await openFresh();
    const manager = await link.connection.jetstreamManager();
    const stream = `KV_${link.names.livenessBucket}`;
    const [major = 0, minor = 0] = (link.connection.info?.version ?? '').split('.').map(Number);
    if (major < 3 && minor < 11) return context.skip('this server marks no expired keys');
    const markers = { allow_msg_ttl: true, subject_delete_marker_ttl: nanos(60_000) } as Partial<StreamConfig>;
    await manager.streams.update(stream, { ...markers, max_age: nanos(1_000), duplicate_window: nanos(1_000) });
    await bucket.renew(makeLiveness('w1'));
    const read = () => manager.streams.getMessage(stream, { last_by_subj: subject('w1') });
    await until('the marker', async () => (await read()).header.get('Nats-Marker-Reason') === 'MaxAge');
    const other = await another();
    assert.equal((await streamConfig(link)).max_age, nanos(TTL_MS));
    assert.equal(await bucket.read('w1'), null);
    assert.equal((await other.renew(makeLiveness('w1'))).kind, 'renewed');
  });

  test('Its revision unknown, a process adopts what it put itself; what another put is taken.', async () => {
    const { bucket, another } = await openFresh();
    await bucket.renew(makeLiveness('w1', { tick: 7 }));
    // As it is after a renewal whose acknowledgement was lost.
    const same = await another();
    assert.deepEqual(await same.renew(makeLiveness('w1', { tick: 8 })), { kind: 'renewed', revision: 2 });
    assert.deepEqual(await bucket.renew(makeLiveness('w1', { tick: 9 })), { kind: 'renewed', revision: 3 });
    const impostor = makeLiveness('w1', { startedAt: '2026-11-23T11:00:00.000Z' });
    const outcome = await (await another()).renew(impostor);
    assert.deepEqual(outcome, { kind: 'taken', by: makeLiveness('w1', { tick: 9 }) });
    assert.equal((await bucket.read('w1'))?.revision, 3);
  });

  test('A dead holder is replaced by its revision, a living one is not.', async () => {
    const { bucket, another } = await openFresh();
    await bucket.renew(makeLiveness('w1'));
    const next = makeLiveness('w1', { startedAt: '2026-11-23T11:00:00.000Z' });
    const other = await another();
    await bucket.renew(makeLiveness('w1', { tick: 1 }));
    assert.deepEqual(await other.takeOver(next, 1), { kind: 'taken', by: makeLiveness('w1', { tick: 1 }) });
    assert.deepEqual(await other.takeOver(next, 2), { kind: 'renewed', revision: 3 });
    assert.deepEqual(await other.renew(next), { kind: 'renewed', revision: 4 });
    assert.equal((await bucket.renew(makeLiveness('w1', { tick: 2 }))).kind, 'taken');
    // Not mine any more: nothing to remove, and the other's stays.
    assert.equal((await bucket.remove()).kind, 'removed');
    assert.equal((await bucket.read('w1'))?.revision, 4);
  });

  test('A coordinator deletes it at the revision it knows, unless it was renewed since; the worker puts it again.', async () => {
    const { bucket, another } = await openFresh();
    const coordinator = await another();
    await bucket.renew(makeLiveness('w1'));
    const known = await coordinator.read('w1');
    assert.equal(known?.revision, 1);
    await bucket.renew(makeLiveness('w1', { tick: 1 }));
    assert.equal(await coordinator.deleteAt('w1', 1), 'changed');
    assert.equal((await coordinator.read('w1'))?.revision, 2);
    assert.equal(await coordinator.deleteAt('w1', 2), 'deleted');
    assert.equal(await coordinator.read('w1'), null);
    assert.equal(await coordinator.deleteAt('w1', 2), 'changed');
    assert.deepEqual(await bucket.renew(makeLiveness('w1', { tick: 2 })), { kind: 'renewed', revision: 4 });
  });

  test('A removal waits for the renewal under way, so that it is not put back.', async () => {
    const { bucket } = await openFresh();
    await bucket.renew(makeLiveness('w1'));
    const [renewed, removed] = await Promise.all([bucket.renew(makeLiveness('w1', { tick: 1 })), bucket.remove()]);
    assert.deepEqual([renewed.kind, removed.kind], ['renewed', 'removed']);
    assert.equal(await bucket.read('w1'), null);
  });

  test('Garbage keys and values are listed with the reason, and never mistaken for a worker.', async () => {
    const { link, bucket, subject } = await openFresh();
    await bucket.renew(makeLiveness('w1'));
    const js = link.connection.jetstream();
    await js.publish(subject('w2'), 'garbage');
    await js.publish(subject('a.b'), encodeLiveness(makeLiveness('a.b')));
    await js.publish(subject('w3'), encodeLiveness(makeLiveness('w4')));
    const entries = (await bucket.entries()).sort((a, b) => a.revision - b.revision);
    assert.deepEqual(
      entries.map(({ id, value }) => [id, value?.id ?? null]),
      [
        ['w1', 'w1'],
        ['w2', null],
        ['a.b', null],
        ['w3', null],
      ],
    );
    assert.match(entries[1]!.reason ?? '', /expected JSON/);
    assert.match(entries[2]!.reason ?? '', /contains "\."/);
    assert.match(entries[3]!.reason ?? '', /expected the id of its key/);
    assert.equal((await bucket.renew(makeLiveness('w2'))).kind, 'renewed', 'no worker lives under an unreadable value');
  });

  test('Hundreds are read whole while they are being renewed.', async () => {
    const { link, bucket, subject } = await openFresh();
    const ids = Array.from({ length: 300 }, (_, index) => `w${index}`);
    const put = (id: string) => link.connection.publish(subject(id), encodeLiveness(makeLiveness(id)));
    ids.forEach(put);
    await link.connection.flush();
    const timer = setInterval(() => ids.forEach(put), 5);
    const entries = await bucket.entries();
    clearInterval(timer);
    assert.deepEqual(new Set(entries.map(({ id }) => id)), new Set(ids));
    assert.equal(entries.length, ids.length);
  });
});

describe('a bucket that is gone', () => {
  for (const isHeard of [false, true]) {
    test(`It is made anew by the next renewal${isHeard ? ', also where a subscriber hides its lack' : ''}.`, async () => {
      const { link, bucket, subject } = await openFresh();
      const subscription = isHeard ? link.connection.subscribe(subject('>'), { callback: () => {} }) : null;
      await bucket.renew(makeLiveness('w1'));
      await bucket.renew(makeLiveness('w1', { tick: 1 }));
      await deleteStream(link);
      await assert.rejects(bucket.read('w1'));
      await assert.rejects(bucket.entries());
      const startMs = performance.now();
      assert.deepEqual(await bucket.renew(makeLiveness('w1', { tick: 2 })), { kind: 'renewed', revision: 1 });
      assertTook(startMs, 1_000);
      assert.equal((await bucket.read('w1'))?.value?.tick, 2);
      assert.equal((await streamConfig(link)).max_age, nanos(TTL_MS));
      subscription?.unsubscribe();
    });
  }

  test('While the server is away a renewal fails within a second, and works again after.', async () => {
    const server = await startNats();
    servers.push(server);
    const { link, bucket } = await openFresh({ url: server.url });
    await bucket.renew(makeLiveness('w1'));
    await server.kill();
    const startMs = performance.now();
    assert.equal((await bucket.renew(makeLiveness('w1', { tick: 1 }))).kind, 'failed');
    assert.equal((await bucket.renew(makeLiveness('w1', { tick: 2 }))).kind, 'failed');
    assert.deepEqual(await bucket.remove(), { kind: 'failed', reason: 'not connected to NATS' });
    assertTook(startMs, 3_000);
    await server.restart();
    await until('the reconnect', () => link.isConnected());
    assert.equal((await bucket.renew(makeLiveness('w1', { tick: 3 }))).kind, 'renewed');
    assert.equal((await bucket.remove()).kind, 'removed');
  });

  test('A server without JetStream is waited for, saying so.', async () => {
    const without = await startNats({ hasJetStream: false });
    const { log, lines } = recordLog();
    const link = await openTestLink({ url: without.url, log });
    const opening = LivenessBucket.open(link, { ttlMs: TTL_MS });
    await until('a word on the waiting', () =>
      lines.some(({ msg }) => msg.startsWith('waiting for JetStream to open')),
    );
    await without.stop();
    servers.push(await startNats({ port: without.port }));
    const bucket = await opening;
    assert.equal((await bucket.renew(makeLiveness('w1'))).kind, 'renewed');
  });
});

describe('the watch', () => {
  async function watchFresh(options: { url?: string } = {}) {
    const setting = await openFresh(options);
    const changes: LivenessChange[] = [];
    const stop = await setting.bucket.watch((change) => changes.push(change));
    const has = (kind: LivenessChange['kind'], test: (change: LivenessChange) => boolean = () => true) =>
      changes.some((change) => change.kind === kind && test(change));
    const told = (what: string, isTrue: () => boolean) => until(what, isTrue, { found: () => changes });
    return { ...setting, changes, stop, has, told };
  }

  test('What is there already is told as stored; a put is heard and stored, a deletion removed, by both.', async () => {
    const { bucket, another } = await openFresh();
    await bucket.renew(makeLiveness('w1'));
    const observer = await another();
    const changes: LivenessChange[] = [];
    const stop = await observer.watch((change) => changes.push(change));
    await until('what is there', () => changes.length === 1);
    assert.deepEqual(changes.splice(0), [{ kind: 'stored', value: makeLiveness('w1'), revision: 1 }]);
    const value = makeLiveness('w1', { tick: 1 });
    await bucket.renew(value);
    await until('the put, twice', () => changes.length === 2);
    assert.deepEqual(
      changes.splice(0).sort((a, b) => a.kind.localeCompare(b.kind)),
      [
        { kind: 'heard', value },
        { kind: 'stored', value, revision: 2 },
      ],
    );
    await bucket.remove();
    await until('the removal, twice', () => changes.length === 2);
    const removed = { kind: 'removed', id: 'w1', revision: 3 };
    assert.deepEqual(changes, [removed, removed]);
    await stop();
    await bucket.renew(value);
    await wait(50);
    assert.equal(changes.length, 2);
  });

  test('A deletion that nothing could refuse is told at once, an operator’s too.', async () => {
    const { link, bucket, subject, told, has, stop } = await watchFresh();
    await bucket.renew(makeLiveness('w1'));
    const marks = headers();
    marks.set('KV-Operation', 'PURGE');
    marks.set('Nats-Rollup', 'sub');
    await link.connection.jetstream().publish(subject('w1'), '', { headers: marks });
    await told('the purge as heard', () => has('removed', (c) => c.kind === 'removed' && c.revision === null));
    await told('the purge as stored', () => has('removed', (c) => c.kind === 'removed' && c.revision === 2));
    await stop();
  });

  test('A deletion that the bucket refused is not told, although it was heard.', async () => {
    const { bucket, another, told, has, changes, stop } = await watchFresh();
    await bucket.renew(makeLiveness('w1'));
    await bucket.renew(makeLiveness('w1', { tick: 1 }));
    assert.equal(await (await another()).deleteAt('w1', 1), 'changed');
    await bucket.renew(makeLiveness('w2'));
    await told('what came after', () => has('stored', (c) => c.kind === 'stored' && c.value.id === 'w2'));
    await wait(50);
    assert.equal(has('removed'), false, JSON.stringify(changes));
    await stop();
  });

  test('Garbage is told as rejected, once, and what is put after it is told all the same.', async () => {
    const { link, bucket, subject, told, has, changes, stop } = await watchFresh();
    const js = link.connection.jetstream();
    await js.publish(subject('w2'), '{"id":');
    await js.publish(subject('a.b'), 'x');
    await bucket.renew(makeLiveness('w1'));
    await told('what came after', () => has('stored'));
    const rejected = changes.filter((change) => change.kind === 'rejected');
    assert.deepEqual(
      rejected.map(({ id }) => id),
      ['w2', 'a.b'],
    );
    assert.match(rejected[0]!.reason, /expected JSON/);
    await stop();
  });

  test('It survives the kill and restart of the server on the same store, within moments of the reconnect.', async () => {
    const server = await startNats();
    servers.push(server);
    const { link, bucket, told, has, changes, stop } = await watchFresh({ url: server.url });
    await bucket.renew(makeLiveness('w1', { tick: 1 }));
    await told('the first put', () => has('stored'));
    const statuses: string[] = [];
    link.onStatus((status) => statuses.push(status));
    await server.restart();
    await until('the reconnect', () => statuses.includes('reconnected'));
    changes.length = 0;
    await until('a renewal', async () => (await bucket.renew(makeLiveness('w1', { tick: 2 }))).kind === 'renewed');
    await until(
      'the put, heard and stored',
      () => has('heard') && has('stored', (c) => c.kind === 'stored' && c.value.tick === 2),
      {
        limitMs: 3_000,
        found: () => changes,
      },
    );
    await stop();
  });

  test('It survives the loss of the bucket: the bucket is made anew, and told of.', async () => {
    const { link, bucket, told, has, changes, stop } = await watchFresh();
    await bucket.renew(makeLiveness('w1', { tick: 1 }));
    await told('the first put', () => has('stored'));
    await deleteStream(link);
    changes.length = 0;
    await until('a bucket again', async () => (await streamConfig(link).catch(() => null)) !== null);
    assert.deepEqual(await bucket.renew(makeLiveness('w1', { tick: 2 })), { kind: 'renewed', revision: 1 });
    await told('the put in the new bucket', () => has('stored', (c) => c.kind === 'stored' && c.value.tick === 2));
    await stop();
  });

  test('It notices that the bucket is another one under the same name.', async () => {
    const { link, bucket, another, told, has, changes, stop } = await watchFresh();
    await bucket.renew(makeLiveness('w1', { tick: 1 }));
    await told('the first put', () => has('stored'));
    await deleteStream(link);
    await another();
    changes.length = 0;
    assert.equal((await bucket.renew(makeLiveness('w1', { tick: 2 }))).kind, 'renewed');
    await told('the put in the new bucket', () => has('stored', (c) => c.kind === 'stored' && c.value.tick === 2));
    await stop();
  });

  test('It is opened anew when it is blind: its consumer gone without a word.', async () => {
    const { link, bucket, told, has, changes, stop } = await watchFresh();
    await bucket.renew(makeLiveness('w1', { tick: 1 }));
    await told('the first put', () => has('stored'));
    const manager = await link.connection.jetstreamManager();
    const stream = `KV_${link.names.livenessBucket}`;
    for await (const { name } of manager.consumers.list(stream)) await manager.consumers.delete(stream, name);
    changes.length = 0;
    const timer = setInterval(() => void bucket.renew(makeLiveness('w1', { tick: 2 })), 200);
    await until('the puts again', () => has('stored'), { limitMs: 5_000, found: () => changes });
    clearInterval(timer);
    await stop();
  });

  test('A quiet bucket is left alone.', async () => {
    const { log, lines } = recordLog();
    const link = await openTestLink({ url: (await sharedNats()).url, prefix: freshPrefix(), log });
    const bucket = await LivenessBucket.open(link, { ttlMs: 300 });
    await bucket.renew(makeLiveness('w1'));
    const stop = await bucket.watch(() => {});
    await wait(3_500);
    assert.deepEqual(
      lines.filter(({ msg }) => msg === 'reopening the watch on the bucket'),
      [],
    );
    await stop();
  });
});
