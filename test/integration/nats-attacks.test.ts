import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Subscription } from 'nats';
import type { NatsLink } from '../../shared/nats/connection.ts';
import { LeadershipBucket } from '../../shared/nats/leadership-bucket.ts';
import { LivenessBucket } from '../../shared/nats/liveness-bucket.ts';
import { probe } from '../../shared/nats/probe.ts';
import { serveProbe } from '../../shared/nats/service.ts';
import { SnapshotStream } from '../../shared/nats/snapshot-stream.ts';
import { TableStream } from '../../shared/nats/table-stream.ts';
import { chartAccounts, passwordOf } from '../support/chart-accounts.ts';
import { closeTestLinks, makeLiveness, openTestLink, recordLog, until } from '../support/nats-link.ts';
import { startNats, type TestNats } from '../support/nats-process.ts';

/**
 * What the chart's less privileged users try, above all to have a more privileged process publish for them: the reply subject
 * of a message is its sender's choice.
 */
const PREFIX = 'red';
/** What nobody but a coordinator may publish to; the last ones act on an empty payload, or on any JSON. */
const TARGETS = [
  'red.ring.snapshot',
  'red.table.size',
  '$KV.red_coordinators.leader',
  '$JS.API.STREAM.DELETE.red_TABLE',
  '$JS.API.STREAM.PURGE.red_TABLE',
];
const LEADER = { id: 'c1', epoch: 1, startedAt: '2026-11-23T10:00:00.000Z' };
const LEASE_TTL_MS = 60_000;

describe('what a login with few rights tries', { timeout: 120_000 }, () => {
  let nats: TestNats;
  const log = { coordinator: recordLog(), worker: recordLog() };
  const links = new Map<string, NatsLink>();
  const commands: string[] = [];
  let refusals = 0;
  let leadership: LeadershipBucket;
  let liveness: LivenessBucket;
  let leaderRevision = 0;

  before(async () => {
    nats = await startNats({ config: chartAccounts(PREFIX) });
    await login('coordinator', 'c1', log.coordinator.log);
    await login('worker', 'w1', log.worker.log);
    await login('worker', 'rogue');
    await login('observer', 'observer');
    await openStreams(link('c1'));
    const act = (name: string) => () => void commands.push(name);
    const onRefused = () => {
      refusals += 1;
    };
    await serveProbe(link('c1'), { role: 'coordinator', id: 'c1', version: '1.0.0', answer: () => LEADER, onRefused });
    await serveProbe(link('w1'), {
      role: 'worker',
      id: 'w1',
      version: '1.0.0',
      answer: () => makeLiveness('w1'),
      onRefused,
      commands: [
        { name: 'drain', subject: link('w1').names.workerDrain('w1'), act: act('drain') },
        { name: 'undrain', subject: link('w1').names.workerUndrain('w1'), act: act('undrain') },
      ],
    });
  });

  after(async () => {
    await closeTestLinks();
    await nats?.stop();
  });

  test('a worker publishes nowhere by a probe of itself whose reply subject is the target', async () => {
    const rogue = link('rogue');
    const before = await state();
    const own = rogue.names.workerProbe('rogue');
    rogue.connection.subscribe(own, { callback: (_error, message) => void message.respond('{"version":9}') });
    for (const target of TARGETS) await send('rogue', own, { reply: target });
    await sees(rogue, own);
    await settle();
    assert.deepEqual(await state(), before);
  });

  for (const user of ['rogue', 'observer']) {
    test(`no service answers ${user} at a subject that is no inbox, by probe or by discovery`, async () => {
      const before = { ...(await state()), refusals };
      const asks = ['red.worker.w1.probe'];
      if (user === 'observer') {
        asks.push('red.coordinator.c1.probe');
        for (const verb of ['PING', 'INFO', 'STATS']) asks.push(`$SRV.${verb}`, `$SRV.${verb}.red_coordinator`);
      }
      for (const ask of asks) for (const target of TARGETS) await send(user, ask, { reply: target });
      await until('refusals', () => refusals >= before.refusals + asks.length * TARGETS.length);
      assert.deepEqual({ ...(await state()), refusals: before.refusals }, before);
    });
  }

  test('the coordinators’ own login cannot be had to delete a stream by discovery either', async () => {
    const before = await state();
    for (const target of TARGETS) await send('c1', '$SRV.PING.red_coordinator', { reply: target });
    await settle();
    assert.deepEqual(await state(), before);
  });

  test('a refusal is logged once for each subject', () => {
    const seen = log.coordinator.lines.filter(({ msg }) => /^request refused/.test(msg)).map(({ subject }) => subject);
    assert.ok(seen.includes('red.coordinator.c1.probe'), JSON.stringify(seen));
    assert.deepEqual(seen, [...new Set(seen)]);
  });

  test('no worker is drained by a message without an inbox to answer to, or by a stream’s delivery', async () => {
    const subject = 'red.worker.w1.drain';
    const before = refusals;
    // As the coordinators’ login, which alone may ask for it: even so it is no request.
    await send('c1', subject);
    await send('c1', subject, { reply: 'red.ring.snapshot' });
    await send('observer', '$JS.API.INFO', { reply: subject });
    await (await openStreams(link('c1'))).sizes.publish({ rows: 1, added: 1, removed: 0, at: LEADER.startedAt });
    await deliver({ stream: 'red_TABLE', to: subject });
    await until('refusals', () => refusals >= before + 4, { found: () => refusals - before });
    assert.deepEqual(commands, []);
  });

  test('what asks by an inbox is answered: probes, commands and discovery', async () => {
    for (const name of ['drain', 'undrain']) {
      assert.equal((await probe(link('c1'), `red.worker.w1.${name}`, 2_000)).kind, 'answered');
    }
    assert.deepEqual(commands.splice(0), ['drain', 'undrain']);
    // As the nats CLI: an inbox without a name of its own.
    const asked = link('observer').connection.request('red.coordinator.c1.probe', '', {
      timeout: 2_000,
      noMux: true,
      reply: '_INBOX.BqcRkU6s5JJmQ1Sgkk0mYn',
    });
    assert.deepEqual((await asked).json(), LEADER);
    const found: string[] = [];
    for await (const { name } of await link('observer').connection.services.client().info()) found.push(name);
    assert.deepEqual(found.sort(), ['red_coordinator', 'red_worker']);
  });

  test('a worker can neither find nor reach the inbox of a coordinator’s watch', async () => {
    const heard: string[] = [];
    const rogue = link('rogue').connection;
    await assert.rejects(refusalOf(rogue.subscribe('_INBOX.>')), /permissions? violation/i);
    rogue.subscribe('_INBOX.*.*.*', { callback: (_error, message) => void heard.push(message.subject) });
    await rogue.flush();
    const seen: string[] = [];
    const unwatch = await liveness.watch(({ kind }) => void seen.push(kind));
    await (await LivenessBucket.attach(link('w1'))).renew(makeLiveness('w1', { tick: 5 }));
    await until('the renewal seen by the coordinator', () => seen.includes('stored'));
    await until('other inboxes heard', () => heard.length > 0);
    // What is delivered carries the subject that it was stored at.
    assert.deepEqual([...new Set(heard.filter((subject) => !subject.startsWith('_INBOX.')))], []);
    const manager = await link('c1').connection.jetstreamManager();
    const inboxes = (await manager.consumers.list('KV_red_workers').next()).map(({ config }) => config.deliver_subject);
    assert.ok(inboxes.length > 0);
    for (const inbox of inboxes) {
      await assert.rejects(rogue.request(inbox ?? '', '', { timeout: 1_000 }), /permissions? violation/i, inbox);
    }
    await unwatch();
  });

  test('a server’s answer at somebody’s choice of subject deposes no leader and ends no worker', async () => {
    const asks = { rogue: '$KV.red_workers.rogue', observer: '$JS.API.INFO' };
    for (const [user, ask] of Object.entries(asks)) {
      const before = await sequences();
      await send(user, ask, { reply: '$KV.red_coordinators.leader' });
      await send(user, ask, { reply: '$KV.red_workers.w1' });
      // That is how NATS is: it has the right, and nobody can take it away.
      await until('garbage in both', async () => (await sequences()).every((last, index) => last > before[index]!));
      const renewed = await leadership.renew(LEADER, leaderRevision);
      assert.equal(renewed.kind, 'won', user);
      if (renewed.kind === 'won') leaderRevision = renewed.revision;
      const worker = await LivenessBucket.attach(link('w1'));
      assert.equal((await worker.renew(makeLiveness('w1'))).kind, 'renewed', user);
    }
  });

  test('an observer has no consumer of the leader’s bucket, whose delivery would put an old leader back', async () => {
    const create = deliver({ stream: 'KV_red_coordinators', to: 'red.table.size' });
    await assert.rejects(create, /permissions? violation/i);
  });

  async function login(user: string, name: string, use = recordLog().log): Promise<void> {
    const options = { url: nats.url, prefix: PREFIX, user, password: passwordOf(user), name, log: use };
    links.set(name, await openTestLink(options));
  }

  function link(name: string): NatsLink {
    const found = links.get(name);
    assert.ok(found, name);
    return found;
  }

  async function openStreams(own: NatsLink) {
    const snapshots = await SnapshotStream.open(own);
    const sizes = await TableStream.open(own);
    if (leaderRevision === 0) {
      liveness = await LivenessBucket.open(own, { ttlMs: LEASE_TTL_MS });
      leadership = await LeadershipBucket.open(own, { ttlMs: LEASE_TTL_MS });
      const won = await leadership.create(LEADER);
      assert.equal(won.kind, 'won');
      if (won.kind === 'won') leaderRevision = won.revision;
      await liveness.renew(makeLiveness('w1'));
      await sizes.publish({ rows: 1, added: 1, removed: 0, at: LEADER.startedAt });
    }
    return { snapshots, sizes };
  }

  /** Where the server has it when this resolves. */
  async function send(name: string, subject: string, how: { reply?: string } = {}): Promise<void> {
    const { connection } = link(name);
    connection.publish(subject, '', how);
    await connection.flush();
  }

  /** By the observer's login: has the server publish what a stream holds. */
  async function deliver({ stream, to }: { stream: string; to: string }): Promise<void> {
    const config = {
      name: 'thief',
      deliver_subject: to,
      deliver_group: 'q',
      ack_policy: 'none',
      deliver_policy: 'all',
    };
    const request = JSON.stringify({ stream_name: stream, config });
    const subject = `$JS.API.CONSUMER.CREATE.${stream}.thief`;
    const created = (await link('observer').connection.request(subject, request, { timeout: 1_000 })).json();
    assert.equal((created as { error?: unknown }).error, undefined, JSON.stringify(created));
  }

  /** Everything sent before has been handled, and its answers stored: the same ways, asked once more. */
  async function settle(): Promise<void> {
    for (const name of ['c1', 'w1']) {
      const kind = name === 'c1' ? 'coordinator' : 'worker';
      await until('an answer', async () => (await probe(link('c1'), `red.${kind}.${name}.probe`)).kind === 'answered');
    }
  }

  /** A subscriber has had all that was sent to it when it has had this. */
  async function sees({ connection }: NatsLink, subject: string): Promise<void> {
    await connection.request(subject, '', { timeout: 2_000 });
  }

  /** What NATS says of the subscription. */
  async function refusalOf(subscription: Subscription): Promise<void> {
    for await (const _ of subscription) return;
  }

  /** Of every stream: how much it holds and has held. */
  async function state(): Promise<Record<string, unknown>> {
    const manager = await link('c1').connection.jetstreamManager();
    const found: Record<string, unknown> = {};
    for await (const { config, state } of manager.streams.list()) {
      if (config.name !== 'KV_red_workers') found[config.name] = [state.messages, state.last_seq];
    }
    return found;
  }

  async function sequences(): Promise<number[]> {
    const manager = await link('c1').connection.jetstreamManager();
    const of = async (name: string) => (await manager.streams.info(name)).state.last_seq;
    return Promise.all([of('KV_red_coordinators'), of('KV_red_workers')]);
  }
});
