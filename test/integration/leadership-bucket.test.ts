import assert from 'node:assert/strict';
import { after, afterEach, test } from 'node:test';
import type { NatsLink } from '../../shared/nats/connection.ts';
import { type Leader, type LeaderEntry, LeadershipBucket } from '../../shared/nats/leadership-bucket.ts';
import { assertTook, closeTestLinks, openTestLink, recordLog, until } from '../support/nats-link.ts';
import { startNats, type TestNats } from '../support/nats-process.ts';
import { freshPrefix, sharedNats } from '../support/nats-server.ts';

const TTL_MS = 2_000;
const servers: TestNats[] = [];
after(async () => {
  await Promise.all(servers.map((server) => server.stop()));
});
afterEach(closeTestLinks);

async function openPair(options: { url?: string; ttlMs?: number } = {}) {
  const url = options.url ?? (await sharedNats()).url;
  const ttlMs = options.ttlMs ?? TTL_MS;
  const prefix = freshPrefix();
  const { log, lines } = recordLog();
  const links = [await openTestLink({ url, prefix }), await openTestLink({ url, prefix, log })] as const;
  const [a, b] = await Promise.all(links.map((link) => LeadershipBucket.open(link, { ttlMs })));
  return { a: a!, b: b!, link: links[0], lines };
}

const leader = (id: string, change: Partial<Leader> = {}): Leader => ({
  id,
  epoch: 0,
  startedAt: '2026-11-23T10:00:00.000Z',
  ...change,
});

const subjectOf = (link: NatsLink) => `$KV.${link.names.leadershipBucket}.leader`;

test('Of two that want to lead, each time exactly one wins, and the key names it.', async () => {
  for (let round = 0; round < 10; round += 1) {
    const { a, b } = await openPair();
    const outcomes = await Promise.all([a.create(leader('a')), b.create(leader('b'))]);
    const kinds = outcomes.map(({ kind }) => kind);
    assert.deepEqual([...kinds].sort(), ['refused', 'won']);
    assert.equal((await a.read())?.id, kinds[0] === 'won' ? 'a' : 'b');
    await closeTestLinks();
  }
});

test('The holder renews, others are refused until it lets go, and then win at once.', async () => {
  const { a, b } = await openPair();
  assert.equal(await b.read(), null);
  assert.deepEqual(await a.create(leader('a')), { kind: 'won', revision: 1 });
  assert.deepEqual(await a.renew(leader('a', { epoch: 3 }), 1), { kind: 'won', revision: 2 });
  assert.deepEqual(await b.read(), { ...leader('a', { epoch: 3 }), revision: 2 });
  assert.deepEqual(await b.create(leader('b')), { kind: 'refused' });
  assert.deepEqual(await b.renew(leader('b'), 1), { kind: 'refused' });
  assert.deepEqual(await a.remove(1), { kind: 'changed' });
  assert.deepEqual(await a.remove(2), { kind: 'removed' });
  assert.equal(await b.read(), null);
  // Gone: a renewal is refused, because somebody else may have led meanwhile.
  assert.deepEqual(await a.renew(leader('a'), 2), { kind: 'refused' });
  assert.deepEqual(await b.create(leader('b')), { kind: 'won', revision: 4 });
});

test('A dead holder is replaced by its revision.', async () => {
  const { a, b } = await openPair();
  await a.create(leader('a'));
  assert.deepEqual(await b.renew(leader('b'), 1), { kind: 'won', revision: 2 });
  assert.deepEqual(await a.renew(leader('a'), 1), { kind: 'refused' });
  assert.equal((await a.read())?.id, 'b');
});

test('A write whose acknowledgement was lost does not cost the office.', async () => {
  const { a } = await openPair();
  await a.create(leader('a'));
  await a.renew(leader('a', { epoch: 3 }), 1);
  // As if neither outcome had arrived.
  assert.deepEqual(await a.create(leader('a')), { kind: 'won', revision: 3 });
  assert.deepEqual(await a.renew(leader('a', { epoch: 3 }), 1), { kind: 'won', revision: 4 });
  // The same id, but another process.
  assert.deepEqual(await a.create(leader('a', { startedAt: '2026-11-23T11:00:00.000Z' })), { kind: 'refused' });
});

test('An expired key is won again.', async () => {
  const { a, b } = await openPair({ ttlMs: 300 });
  await a.create(leader('a'));
  await until('the expiry', async () => (await b.read()) === null, { limitMs: 2_000 });
  assert.equal((await b.create(leader('b'))).kind, 'won');
});

test('The bucket is made anew where it is gone, and is never read from a replica.', async () => {
  const { a, b, link } = await openPair();
  await a.create(leader('a'));
  const manager = await link.connection.jetstreamManager();
  const stream = `KV_${link.names.leadershipBucket}`;
  assert.equal((await manager.streams.info(stream)).config.allow_direct ?? false, false);
  await manager.streams.delete(stream);
  await assert.rejects(b.read());
  assert.deepEqual(await a.renew(leader('a'), 1), { kind: 'refused' });
  assert.equal(await b.read(), null);
  assert.deepEqual(await b.create(leader('b')), { kind: 'won', revision: 1 });
});

test('An unreadable value is nobody’s: it is neither read nor reported, it deposes no leader, and one may replace it.', async () => {
  const { a, b, link, lines } = await openPair();
  await link.connection.jetstream().publish(subjectOf(link), '{"id":7}');
  const told: (LeaderEntry | null)[] = [];
  const stop = await b.watch((entry) => told.push(entry));
  await until('a word in the log', () => lines.some(({ msg }) => msg === 'a leader value was kept out'));
  await assert.rejects(a.read(), /is no leader's/);
  assert.deepEqual(told, []);
  assert.deepEqual(await a.create(leader('a')), { kind: 'won', revision: 2 });
  await link.connection.jetstream().publish(subjectOf(link), 'garbage');
  assert.deepEqual(await b.renew(leader('b'), 1), { kind: 'won', revision: 4 });
  assert.deepEqual(await a.renew(leader('a'), 2), { kind: 'refused' });
  await stop();
});

test('The watch tells that nobody leads, who does, each renewal, and that it let go.', async () => {
  const { a, b, link } = await openPair();
  const told: (LeaderEntry | null)[] = [];
  const stop = await b.watch((entry) => told.push(entry));
  await link.connection.jetstream().publish(`$KV.${link.names.leadershipBucket}.other`, 'x');
  // One at a time: the bucket keeps the newest only, so that one not told of yet may be replaced.
  const toldOf = (count: number) => until(`word ${count}`, () => told.length === count, { found: () => told });
  await toldOf(1);
  await a.create(leader('a'));
  await toldOf(2);
  await a.renew(leader('a', { epoch: 3 }), 2);
  await toldOf(3);
  await a.remove(3);
  await toldOf(4);
  assert.deepEqual(told, [null, { ...leader('a'), revision: 2 }, { ...leader('a', { epoch: 3 }), revision: 3 }, null]);
  await stop();
});

test('While the server is away a write fails within a second; the watch goes on after its restart.', async () => {
  const server = await startNats();
  servers.push(server);
  const { a, b, link } = await openPair({ url: server.url });
  const told: (LeaderEntry | null)[] = [];
  const stop = await b.watch((entry) => told.push(entry));
  await a.create(leader('a'));
  await until('the leader', () => told.at(-1)?.id === 'a');
  await server.kill();
  const startMs = performance.now();
  assert.equal((await a.renew(leader('a'), 1)).kind, 'failed');
  assert.deepEqual(await a.remove(1), { kind: 'failed', reason: 'not connected to NATS' });
  assertTook(startMs, 2_500);
  await assert.rejects(a.read());
  told.length = 0;
  await server.restart();
  await until('the reconnect', () => link.isConnected());
  await until('a leader', async () => (await a.create(leader('a', { epoch: 1 }))).kind === 'won');
  await until('its word', () => told.some((entry) => entry?.epoch === 1), { limitMs: 3_000, found: () => told });
  await stop();
});
