import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { after, afterEach, test } from 'node:test';
import { type ServiceInfo, type ServiceStats, ServiceVerb } from 'nats';
import type { NatsLink } from '../../shared/nats/connection.ts';
import { probe } from '../../shared/nats/probe.ts';
import { serveProbe } from '../../shared/nats/service.ts';
import { assertTook, closeTestLinks, makeLiveness, openTestLink, recordLog, until } from '../support/nats-link.ts';
import { startNats, type TestNats } from '../support/nats-process.ts';
import { freshPrefix, sharedNats } from '../support/nats-server.ts';

const servers: TestNats[] = [];
after(async () => {
  await Promise.all(servers.map((server) => server.stop()));
});
afterEach(closeTestLinks);

const worker = (answer: () => object) => ({ role: 'worker' as const, id: 'w1', version: '1.2.3', answer });

async function openPair(url?: string): Promise<{ asking: NatsLink; asked: NatsLink; subject: string }> {
  const server = url ?? (await sharedNats()).url;
  const prefix = freshPrefix();
  const asking = await openTestLink({ url: server, prefix });
  return {
    asking,
    asked: await openTestLink({ url: server, prefix, name: 'w1' }),
    subject: asking.names.workerProbe('w1'),
  };
}

function parse(bytes: Uint8Array): unknown {
  return JSON.parse(new TextDecoder().decode(bytes));
}

test('A probe is answered with what the process says of itself now.', async () => {
  const { asking, asked, subject } = await openPair();
  let tick = 0;
  const stop = await serveProbe(
    asked,
    worker(() => makeLiveness('w1', { tick })),
  );
  for (tick of [1, 2]) {
    const outcome = await probe(asking, subject);
    assert.equal(outcome.kind, 'answered');
    if (outcome.kind === 'answered') assert.deepEqual(parse(outcome.bytes), makeLiveness('w1', { tick }));
  }
  await stop();
  assert.deepEqual(await probe(asking, subject), { kind: 'no-responders' });
  await stop();
});

test('Nobody there is known within moments: never was, or connection closed.', async () => {
  const { asking, asked, subject } = await openPair();
  // Which alone says that it came within the probe's 100 ms.
  assert.deepEqual(await probe(asking, subject), { kind: 'no-responders' });
  await serveProbe(
    asked,
    worker(() => ({})),
  );
  await asked.connection.close();
  const closedMs = performance.now();
  await until('no responders', async () => (await probe(asking, subject)).kind === 'no-responders', { limitMs: 1_000 });
  assertTook(closedMs, 500);
});

test('A killed process has no responders; a frozen one lets the probe time out, and answers again when thawed.', async () => {
  const { url } = await sharedNats();
  const prefix = freshPrefix();
  const asking = await openTestLink({ url, prefix });
  const subject = asking.names.workerProbe('w1');
  const script = resolve(import.meta.dirname, '../support/probed-process.ts');
  const child = spawn(process.execPath, ['--import', 'tsx', script, url, prefix, 'w1'], { stdio: 'ignore' });
  const kindIs = (kind: string) => async () => (await probe(asking, subject)).kind === kind;
  await until('an answer', kindIs('answered'), { limitMs: 20_000 });
  child.kill('SIGSTOP');
  const startMs = performance.now();
  await until('a timeout', kindIs('timeout'));
  assertTook(startMs, 1_000);
  child.kill('SIGCONT');
  await until('an answer again', kindIs('answered'));
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
  const goneMs = performance.now();
  await until('no responders', kindIs('no-responders'));
  assertTook(goneMs, 1_000);
});

test('One that is there but does not answer lets the probe time out, after 100 ms.', async () => {
  const { asking, asked, subject } = await openPair();
  asked.connection.subscribe(subject, { callback: () => {} });
  await asked.connection.flush();
  const startMs = performance.now();
  assert.deepEqual(await probe(asking, subject), { kind: 'timeout' });
  assertTook(startMs, 500);
});

test('The service is discoverable under its name, with its id, endpoint and statistics.', async () => {
  const { asking, asked, subject } = await openPair();
  await serveProbe(
    asked,
    worker(() => ({})),
  );
  const startedAt = '2026-11-23T10:00:00.000Z';
  await serveProbe(asked, { role: 'coordinator', id: 'c1', version: '1.2.3', answer: () => ({ id: 'c1', startedAt }) });
  await probe(asking, subject);
  const about = async (verb: ServiceVerb) =>
    (await asking.connection.request(`$SRV.${verb}.${asking.names.workerService}`)).json<ServiceInfo & ServiceStats>();
  const info = await about(ServiceVerb.INFO);
  assert.deepEqual(
    { name: info.name, version: info.version, metadata: info.metadata },
    { name: asking.names.workerService, version: '1.2.3', metadata: { id: 'w1' } },
  );
  assert.deepEqual([info.endpoints?.[0]?.name, info.endpoints?.[0]?.subject], ['probe', subject]);
  const stats = await about(ServiceVerb.STATS);
  assert.equal(stats.endpoints?.[0]?.num_requests, 1);
  const ping = await asking.connection.request(`$SRV.${ServiceVerb.PING}.${asking.names.coordinatorService}`);
  assert.deepEqual(ping.json<{ metadata: object }>().metadata, { id: 'c1' });
  assert.equal((await probe(asking, asking.names.coordinatorProbe('c1'))).kind, 'answered');
});

test('An answer that fails is no silence.', async () => {
  const { asking, asked, subject } = await openPair();
  await serveProbe(
    asked,
    worker(() => {
      throw new Error('not ready');
    }),
  );
  const outcome = await probe(asking, subject);
  assert.deepEqual(outcome, { kind: 'answered', bytes: Buffer.alloc(0) });
});

test('After the kill and restart of the server probes are answered again; meanwhile they time out.', async () => {
  const server = await startNats();
  servers.push(server);
  const { asking, asked, subject } = await openPair(server.url);
  await serveProbe(
    asked,
    worker(() => ({ id: 'w1' })),
  );
  await server.kill();
  await until('the loss', () => !asking.isConnected());
  assert.deepEqual(await probe(asking, subject), { kind: 'timeout' });
  await server.restart();
  await until('both reconnects', () => asking.isConnected() && asked.isConnected());
  await until('an answer', async () => (await probe(asking, subject)).kind === 'answered', { limitMs: 2_000 });
});

test('A command is obeyed before it is answered, and the answer says what became of it.', async () => {
  const { asking, asked } = await openPair();
  const obeyed: string[] = [];
  const commands = (['drain', 'undrain'] as const).map((name) => ({
    name,
    subject: name === 'drain' ? asked.names.workerDrain('w1') : asked.names.workerUndrain('w1'),
    act: () => void obeyed.push(name),
  }));
  await serveProbe(asked, { ...worker(() => ({ obeyed })), commands });
  for (const subject of [asking.names.workerDrain('w1'), asking.names.workerUndrain('w1')]) {
    const outcome = await probe(asking, subject);
    assert.deepEqual(outcome.kind === 'answered' && parse(outcome.bytes), { obeyed: [...obeyed] });
  }
  assert.deepEqual(obeyed, ['drain', 'undrain']);
});

test('Where discovery and commands are denied, probes are answered all the same.', async () => {
  const config = `authorization { users = [
    { user: admin, password: pw }
    { user: worker, password: pw, permissions: { publish: ["_INBOX.>"], subscribe: ["worker.w1.probe", "_INBOX.w1.>"] } }
  ] }`;
  const server = await startNats({ config });
  servers.push(server);
  const asking = await openTestLink({ url: server.url, user: 'admin', password: 'pw' });
  const { log, lines } = recordLog();
  const asked = await openTestLink({ url: server.url, name: 'w1', user: 'worker', password: 'pw', log });
  const drain = { name: 'drain', subject: asked.names.workerDrain('w1'), act: () => {} };
  const stop = await serveProbe(asked, { ...worker(() => ({ id: 'w1' })), commands: [drain] });
  await until('a word on it', () => lines.some(({ subject }) => subject === 'worker.w1.drain'));
  await until('an answer', async () => (await probe(asking, 'worker.w1.probe')).kind === 'answered', {
    limitMs: 2_000,
  });
  await stop();
  await until('no responders', async () => (await probe(asking, 'worker.w1.probe')).kind === 'no-responders');
});
