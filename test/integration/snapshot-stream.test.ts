import assert from 'node:assert/strict';
import { after, afterEach, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import type { NatsLink } from '../../shared/nats/connection.ts';
import { SnapshotStream } from '../../shared/nats/snapshot-stream.ts';
import { TableStream } from '../../shared/nats/table-stream.ts';
import type { Decoded, Snapshot } from '../../shared/ring/snapshot.ts';
import { closeTestLinks, openTestLink, until } from '../support/nats-link.ts';
import { startNats, type TestNats } from '../support/nats-process.ts';
import { freshPrefix, sharedNats } from '../support/nats-server.ts';

const SLOTS = 8;
const servers: TestNats[] = [];
after(async () => {
  await Promise.all(servers.map((server) => server.stop()));
});
afterEach(closeTestLinks);

function makeSnapshot(version: number, change: Partial<Snapshot> = {}): Snapshot {
  return {
    version,
    epoch: 1,
    at: '2026-11-23T10:00:00.000Z',
    cause: { kind: 'bootstrap' },
    slots: SLOTS,
    rows: 3,
    moved: { slots: 0, rows: 0, minimumRows: 0 },
    workers: [
      { id: 'a', rows: 2, slots: '0-3' },
      { id: 'b', rows: 1, slots: '4-7' },
    ],
    ...change,
  };
}

async function openFresh(
  url?: string,
): Promise<{ link: NatsLink; stream: SnapshotStream; another(): Promise<SnapshotStream> }> {
  const server = url ?? (await sharedNats()).url;
  const prefix = freshPrefix();
  const link = await openTestLink({ url: server, prefix });
  const another = async () => SnapshotStream.open(await openTestLink({ url: server, prefix }));
  return { link, stream: await SnapshotStream.open(link), another };
}

async function deleteStream(link: NatsLink): Promise<void> {
  await (await link.connection.jetstreamManager()).streams.delete(link.names.snapshotStream);
}

test('keeps the last 256 messages of its one subject, and sets back what somebody changed', async () => {
  const { link } = await openFresh();
  const { snapshotStream: name, snapshotSubject } = link.names;
  const manager = await link.connection.jetstreamManager();
  await manager.streams.update(name, { max_msgs: 5, max_age: 600_000_000_000 });
  await SnapshotStream.open(link);
  const { config } = await manager.streams.info(name);
  assert.deepEqual([config.subjects, config.max_msgs, config.max_age], [[snapshotSubject], 256, 0]);
  assert.equal(config.allow_direct ?? false, false);
});

test('refuses a subject that another stream captures, and says what to do', async () => {
  const prefix = freshPrefix();
  const link = await openTestLink({ url: (await sharedNats()).url, prefix });
  await (await link.connection.jetstreamManager()).streams.add({ name: `${prefix}_ALL`, subjects: [`${prefix}.>`] });
  await assert.rejects(SnapshotStream.open(link), {
    code: 'stream-foreign',
    message:
      /stream t\w+_RING cannot be created: its subject t\w+\.ring\.snapshot overlaps stream t\w+_ALL .*--nats-prefix/,
  });
});

test('What is published is heard, is the newest, and stands in the history.', async () => {
  const { stream, another } = await openFresh();
  const reader = await another();
  const heard: Decoded[] = [];
  const stop = reader.subscribe(SLOTS, (received) => heard.push(received));
  assert.equal(await reader.newest(SLOTS), null);
  assert.deepEqual(await reader.history(10), []);
  for (const version of [1, 2, 3]) {
    const outcome = await stream.publish(makeSnapshot(version), version - 1);
    assert.deepEqual(outcome, { kind: 'published', sequence: version });
  }
  await until('all three', () => heard.length === 3);
  assert.deepEqual(
    heard,
    [1, 2, 3].map((version) => ({ ok: true, snapshot: makeSnapshot(version) })),
  );
  assert.deepEqual(await reader.newest(null), { sequence: 3, snapshot: makeSnapshot(3) });
  const history = await reader.history(2);
  assert.deepEqual(
    history.map(({ sequence, snapshot }) => [sequence, snapshot?.version]),
    [
      [2, 2],
      [3, 3],
    ],
  );
  stop();
  await stream.publish(makeSnapshot(4), 3);
  await wait(30);
  assert.equal(heard.length, 3);
});

test('Of two leaders only one publishes: a stale sequence is refused, though subscribers hear it.', async () => {
  const { stream, another } = await openFresh();
  const former = await another();
  const heard: Decoded[] = [];
  former.subscribe(SLOTS, (received) => heard.push(received));
  // Once this is answered, the server knows of the subscription.
  await former.newest(SLOTS);
  await stream.publish(makeSnapshot(1), 0);
  assert.equal((await stream.publish(makeSnapshot(2, { epoch: 2 }), 1)).kind, 'published');
  const outcome = await former.publish(makeSnapshot(2), 1);
  assert.equal(outcome.kind, 'refused');
  if (outcome.kind === 'refused') assert.match(outcome.reason, /wrong last sequence: 2/);
  assert.equal((await former.publish(makeSnapshot(2), 0)).kind, 'refused');
  assert.equal((await former.newest(SLOTS))?.snapshot?.epoch, 2);
  await until('the refused ones too', () => heard.length === 4);
});

test('Bad messages are told with a reason and never thrown, heard and read alike.', async () => {
  const { link, stream } = await openFresh();
  const heard: Decoded[] = [];
  stream.subscribe(SLOTS, (received) => heard.push(received));
  const js = link.connection.jetstream();
  await js.publish(link.names.snapshotSubject, 'garbage');
  await js.publish(link.names.snapshotSubject, JSON.stringify({ ...makeSnapshot(1), rows: -1 }));
  const newest = await stream.newest(SLOTS);
  assert.equal(newest?.snapshot, null);
  assert.match(newest?.reason ?? '', /^sequence 2: .*rows/);
  assert.equal((await stream.publish(makeSnapshot(2, { slots: 16, workers: [] }), 2)).kind, 'published');
  assert.match((await stream.newest(SLOTS))?.reason ?? '', /expected a snapshot of 8 slots, got one of 16/);
  await until('all three', () => heard.length === 3);
  assert.deepEqual(
    heard.map(({ ok }) => ok),
    [false, false, false],
  );
  assert.deepEqual(
    (await stream.history(10)).map(({ snapshot }) => snapshot?.version ?? null),
    [null, null, 2],
  );
});

test('A snapshot as large as a message may be is published, heard and read.', async () => {
  const { stream } = await openFresh();
  const workers = Array.from({ length: SLOTS }, (_, slot) => ({ id: `w${slot}`, rows: 0, slots: String(slot) }));
  const others = Array.from({ length: 9_500 }, () => ({ kind: 'worker-joined' as const, worker: 'x'.repeat(60) }));
  const large = makeSnapshot(1, { rows: 0, workers, cause: { kind: 'worker-joined', worker: 'x', others } });
  assert.equal(JSON.stringify(large).length > 900_000, true);
  const heard: Decoded[] = [];
  stream.subscribe(SLOTS, (received) => heard.push(received));
  assert.equal((await stream.publish(large, 0)).kind, 'published');
  assert.deepEqual((await stream.newest(SLOTS))?.snapshot, large);
  await until('it to be heard', () => heard[0]?.ok === true);
  const tooLarge = makeSnapshot(2, { cause: { kind: 'worker-joined', others: [...others, ...others] } });
  assert.equal((await stream.publish(tooLarge, 1)).kind, 'failed');
});

test('a publish creates a lost stream again and reports the failure; then versions go on', async () => {
  for (const isHeard of [false, true]) {
    const { link, stream } = await openFresh();
    const stop = isHeard ? stream.subscribe(SLOTS, () => {}) : () => {};
    await stream.publish(makeSnapshot(1), 0);
    await deleteStream(link);
    assert.equal(await stream.newest(SLOTS), null);
    assert.deepEqual(await stream.history(3), []);
    const outcome = await stream.publish(makeSnapshot(2), 1);
    assert.equal(outcome.kind, 'failed');
    if (outcome.kind === 'failed') assert.match(outcome.reason, /was gone; it is created again/);
    assert.equal(await stream.newest(SLOTS), null);
    assert.deepEqual(await stream.publish(makeSnapshot(2), 0), { kind: 'published', sequence: 1 });
    stop();
  }
});

test('While the server is away publishing fails and reading is rejected; both work again on the same store.', async () => {
  const server = await startNats();
  servers.push(server);
  const { link, stream } = await openFresh(server.url);
  const heard: Decoded[] = [];
  stream.subscribe(SLOTS, (received) => heard.push(received));
  await stream.publish(makeSnapshot(1), 0);
  await server.kill();
  assert.equal((await stream.publish(makeSnapshot(2), 1)).kind, 'failed');
  await assert.rejects(stream.newest(SLOTS));
  await server.restart();
  await until('the reconnect', () => link.isConnected());
  await until('the newest', async () => (await stream.newest(SLOTS).catch(() => null))?.sequence === 1);
  assert.deepEqual(await stream.publish(makeSnapshot(3), 1), { kind: 'published', sequence: 2 });
  await until('it to be heard', () => heard.some((received) => received.ok && received.snapshot.version === 3));
});

test('Table sizes are published and read back in order, without garbage; their stream, too, is created again.', async () => {
  const link = await openTestLink({ url: (await sharedNats()).url, prefix: freshPrefix() });
  const stream = await TableStream.open(link);
  assert.equal(await stream.newest(), null);
  const sizes = Array.from({ length: 50 }, (_, index) => ({
    rows: index,
    added: 1,
    removed: 0,
    at: '2026-11-23T10:00:00.000Z',
  }));
  for (const size of sizes) assert.equal((await stream.publish(size)).kind, 'published');
  assert.deepEqual(await stream.newest(), sizes.at(-1));
  await link.connection.jetstream().publish(link.names.tableSubject, 'garbage');
  assert.equal(await stream.newest(), null);
  assert.deepEqual(await stream.history(100), sizes);
  assert.deepEqual(await stream.history(3), sizes.slice(-2));
  const manager = await link.connection.jetstreamManager();
  assert.equal((await manager.streams.info(link.names.tableStream)).config.max_msgs, 1024);
  await manager.streams.delete(link.names.tableStream);
  assert.deepEqual(await stream.history(3), []);
  assert.equal((await stream.publish(sizes[0]!)).kind, 'failed');
  assert.equal((await stream.publish(sizes[0]!)).kind, 'published');
});
