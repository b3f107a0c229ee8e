import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { LeadershipBucket } from '../../shared/nats/leadership-bucket.ts';
import { LivenessBucket } from '../../shared/nats/liveness-bucket.ts';
import { refuseForeignInstallation } from '../../shared/nats/neighbours.ts';
import { closeTestLinks, makeLiveness, openTestLink } from '../support/nats-link.ts';
import { freshPrefix, sharedNats } from '../support/nats-server.ts';

const TTL_MS = 500;
const HOUR_MS = 3_600_000;
const [OWN, FOREIGN] = ['7/a/public.items', '8/b/public.items'];

afterEach(closeTestLinks);

/** Two installations under one prefix; keys live for an hour, unless a test says otherwise. */
async function meet(ttlMs = HOUR_MS) {
  const { url } = await sharedNats();
  const prefix = freshPrefix();
  const open = async (identity: string) => {
    const link = await openTestLink({ url, prefix });
    link.installation.become(identity);
    return link;
  };
  const [own, foreign] = [await open(OWN), await open(FOREIGN)];
  const look = (former: string | null = null, settledMs = 0) =>
    refuseForeignInstallation(own, { ttlMs: TTL_MS, former: { identity: former, settledMs }, readsLeader: true });
  return { own, foreign, look, ttlMs };
}

test('Nobody is refused where nobody lives, and nothing is created by looking.', async () => {
  const { own, look } = await meet();
  await look();
  const manager = await own.connection.jetstreamManager();
  await assert.rejects(manager.streams.info(`KV_${own.names.livenessBucket}`), /stream not found/);
});

test('The leader of another installation is refused by name.', async () => {
  const { foreign, look, ttlMs } = await meet();
  const leadership = await LeadershipBucket.open(foreign, { ttlMs });
  await leadership.create({ id: 'c', epoch: 1, startedAt: '2026-11-23T10:00:00.000Z' });
  await assert.rejects(look(), (error: Error & { code: string }) => {
    assert.equal(error.code, 'foreign-installation');
    for (const identity of [OWN, FOREIGN]) assert.ok(error.message.includes(identity), error.message);
    return true;
  });
});

test('Workers of another installation are refused, unless one of our own lives here: then we are at home.', async () => {
  const { own, foreign, look, ttlMs } = await meet();
  const theirs = await LivenessBucket.open(foreign, { ttlMs });
  await theirs.renew(makeLiveness('theirs'));
  await assert.rejects(look(), { code: 'foreign-installation' });
  const ours = await LivenessBucket.open(own, { ttlMs });
  await ours.renew(makeLiveness('ours'));
  await look();
  const ids = (await ours.entries()).map(({ id, value }) => [id, value?.id ?? null]);
  assert.deepEqual(ids.sort(), [
    ['ours', 'ours'],
    ['theirs', null],
  ]);
});

test('A worker of a former version, which names no installation, is taken for our own.', async () => {
  const { own, look, ttlMs } = await meet();
  const { url } = await sharedNats();
  const former = await openTestLink({ url, prefix: own.names.prefix });
  const bucket = await LivenessBucket.open(former, { ttlMs });
  await bucket.renew(makeLiveness('former'));
  await look();
});

test('Keys that another installation left behind are waited for until they expire.', async () => {
  const { foreign, look } = await meet(TTL_MS);
  const theirs = await LivenessBucket.open(foreign, { ttlMs: TTL_MS });
  await theirs.renew(makeLiveness('dead'));
  await look();
});

test('Services that still have a former identity of ours are given time to change it.', async () => {
  const { own, foreign, look, ttlMs } = await meet();
  const theirs = await LivenessBucket.open(foreign, { ttlMs });
  await theirs.renew(makeLiveness('w'));
  const looking = look(FOREIGN, 30_000);
  await wait(TTL_MS + 2_000);
  foreign.installation.become(OWN);
  await theirs.renew(makeLiveness('w'));
  await looking;
  assert.equal(own.installation.own, OWN);
});

test('The key of a worker of another installation is not overwritten, though it is none of our values.', async () => {
  const { own, foreign, ttlMs } = await meet();
  const theirs = await LivenessBucket.open(foreign, { ttlMs });
  await theirs.renew(makeLiveness('w'));
  const ours = await LivenessBucket.open(own, { ttlMs });
  const outcome = await ours.renew(makeLiveness('w', { startedAt: '2026-11-24T10:00:00.000Z' }));
  assert.equal(outcome.kind, 'taken');
});
