import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import type { Message } from '../../shared/message/decode-message.ts';
import { RecoveryStream } from '../../shared/nats/recovery-stream.ts';
import { publishApplied, type RingApplied, subscribeApplied } from '../../shared/nats/ring-applied.ts';
import type { Recovery } from '../../shared/ring/recovery.ts';
import { closeTestLinks, openTestLink, until } from '../support/nats-link.ts';
import { freshPrefix, sharedNats } from '../support/nats-server.ts';

afterEach(closeTestLinks);

async function openLink() {
  return openTestLink({ url: (await sharedNats()).url, prefix: freshPrefix() });
}

function makeRecovery(version: number): Recovery {
  return {
    epoch: 1,
    version,
    at: '2026-11-23T10:00:00.000Z',
    cause: { kind: 'worker-left', worker: 'c', evidence: 'connection-closed', others: [{ kind: 'table-resized' }] },
    moved: { slots: 4, rows: 4, minimumRows: 4 },
    workers: 2,
    slots: 4,
    rows: 4,
    phases: {
      evidenceToDecided: null,
      decidedToPublished: 3.25,
      publishedToLastClaim: 8,
      lastClaimToLastFirstTick: 4,
      total: null,
    },
    missed: 5,
    isComplete: true,
    missing: [],
    slowest: 'b',
  };
}

test('Recoveries stand in the history as they were published, oldest first, without garbage.', async () => {
  const link = await openLink();
  const stream = await RecoveryStream.open(link);
  assert.deepEqual(await stream.history(10), []);
  assert.equal((await stream.publish(makeRecovery(1))).kind, 'published');
  await link.connection.jetstream().publish(link.names.recoverySubject, new TextEncoder().encode('{"epoch":1}'));
  assert.equal((await stream.publish(makeRecovery(2))).kind, 'published');
  assert.deepEqual(await stream.history(10), [makeRecovery(1), makeRecovery(2)]);
  assert.deepEqual(await stream.history(1), [makeRecovery(2)]);
});

test('The stream keeps the last 256.', async () => {
  const link = await openLink();
  await RecoveryStream.open(link);
  const manager = await link.connection.jetstreamManager();
  const { config } = await manager.streams.info(link.names.recoveryStream);
  assert.deepEqual([config.subjects, config.max_msgs], [[link.names.recoverySubject], 256]);
});

test('What workers tell is heard, garbage too, with its reason.', async () => {
  const link = await openLink();
  const heard: Message<RingApplied>[] = [];
  const stop = subscribeApplied(link, (received) => heard.push(received));
  const applied = { worker: 'a', epoch: 1, version: 2, claimedMs: 4, firstTickMs: null, slots: 2, rows: 0, missed: 0 };
  publishApplied(link, applied);
  link.connection.publish(link.names.appliedSubject, new TextEncoder().encode('hello'));
  await until('both', () => heard.length === 2);
  assert.deepEqual(heard[0], { ok: true, value: applied });
  assert.equal(heard[1]?.ok, false);
  stop();
  publishApplied(link, applied);
  await link.connection.flush();
  assert.equal(heard.length, 2);
});
