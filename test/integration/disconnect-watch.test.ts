import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { findFreePort } from '../../services/local/ports.ts';
import type { NatsOptions } from '../../shared/nats/connection.ts';
import { watchDisconnects } from '../../shared/nats/disconnect-watch.ts';
import { probe } from '../../shared/nats/probe.ts';
import { closeTestLinks, openTestLink, type RecordedLog, recordLog, until } from '../support/nats-link.ts';
import { startNats, type TestNats } from '../support/nats-process.ts';

/** The application's login, another's, and three of the system account: one may do all, one only hear, one anything but that. */
function makeConfig(systemPassword = 'pw'): string {
  return `accounts {
    APP { users: [{ user: app, password: pw }] }
    OTHER { users: [{ user: other, password: pw }] }
    SYS { users: [
      { user: system, password: ${systemPassword} }
      { user: listener, password: pw, permissions: { subscribe: ["$SYS.ACCOUNT.*.DISCONNECT"], publish: { deny: [">"] } } }
      { user: narrow, password: pw, permissions: { subscribe: ["_INBOX.>"], publish: [">"] } }
    ] }
  }
  system_account: SYS`;
}

const servers: TestNats[] = [];
const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  await Promise.all(stops.splice(0).map((stop) => stop()));
  await closeTestLinks();
});
after(async () => {
  await Promise.all(servers.map((server) => server.stop()));
});

async function startServer(port?: number): Promise<TestNats> {
  const server = await startNats({ config: makeConfig(), hasJetStream: false, ...(port !== undefined && { port }) });
  servers.push(server);
  return server;
}

interface Watching extends RecordedLog {
  /** Names of clients that were told of. */
  readonly told: string[];
  /** Each time it changed: is every lost connection told of for certain? */
  readonly certain: boolean[];
  readonly warnings: () => readonly string[];
  readonly stop: () => Promise<void>;
}

function watch(
  url: string,
  login: Partial<NatsOptions> = { user: 'system', password: 'pw' },
  main: Partial<NatsOptions> = { user: 'app', password: 'pw' },
): Watching {
  const recorded = recordLog();
  const told: string[] = [];
  const certain: boolean[] = [];
  const onCertain = (isCertain: boolean) => void (certain.at(-1) === isCertain || certain.push(isCertain));
  const onDisconnect = (client: string) => void told.push(client);
  const system = { servers: [url], name: 'c1:system', prefix: '', ...login };
  const logins = { system, main: { servers: [url], prefix: '', ...main } };
  const stop = watchDisconnects(logins, { log: recorded.log, onDisconnect, onCertain });
  stops.push(stop);
  const warnings = () =>
    recorded.lines.filter(({ level }) => level >= 40).map(({ msg, reason }) => `${msg}: ${reason ?? ''}`);
  return { ...recorded, told, certain, warnings, stop };
}

const isListening = ({ lines }: Watching) =>
  lines.some(({ msg }) => msg === 'the system account tells of lost connections');
const untilListening = (watching: Watching) =>
  until('the events to be heard', () => isListening(watching), { found: () => watching.lines });

/** A client that connects as `name` and is closed again: something to tell of. */
async function comeAndGo(url: string, name: string): Promise<void> {
  const link = await openTestLink({ url, name, user: 'app', password: 'pw' });
  await link.drain();
}

describe('with a system account', () => {
  let server: TestNats;
  before(async () => {
    server = await startServer();
  });

  test('The kill of a process is told by the name of its connection.', async () => {
    const watching = watch(server.url);
    await untilListening(watching);
    const child = await startProbed(server, 'w1');
    assert.deepEqual(watching.told, []);
    child.kill('SIGKILL');
    await until('a word on w1', () => watching.told.includes('w1'));
    assert.deepEqual(watching.warnings(), []);
    await watching.stop();
    assert.deepEqual(watching.certain, [true, false]);
  });

  test('A client without a name is not told of, and an event that is none is kept out.', async () => {
    const watching = watch(server.url);
    await untilListening(watching);
    const system = await openTestLink({ url: server.url, user: 'system', password: 'pw' });
    for (const event of ['no JSON', '{"client":{"name":5}}', '{"client":{}}']) {
      system.connection.publish('$SYS.ACCOUNT.APP.DISCONNECT', event);
    }
    await comeAndGo(server.url, 'w2');
    await until('a word on w2', () => watching.told.includes('w2'));
    assert.deepEqual(watching.told, ['w2']);
    assert.equal(watching.warnings().length, 2);
  });

  test('A user that may hear the events and nothing else is enough.', async () => {
    const watching = watch(server.url, { user: 'listener', password: 'pw' });
    await untilListening(watching);
    await comeAndGo(server.url, 'w3');
    await until('a word on w3', () => watching.told.includes('w3'));
    assert.deepEqual(watching.warnings(), []);
    await watching.stop();
    assert.deepEqual(watching.certain, [true, false]);
  });

  for (const [who, login, reason] of [
    [
      'A wrong password',
      { user: 'system', password: '4wrong' },
      /cannot be used: Authorization Violation\. Check user/,
    ],
    ['A user of another account', { user: 'app', password: 'pw' }, /the login is not in the system account; give/],
    ['A user that may not subscribe', { user: 'narrow', password: 'pw' }, /Permissions Violation.*DISCONNECT.*; give/],
  ] as const) {
    test(`${who} is warned of once, with what to do, and not tried again.`, async () => {
      const watching = watch(server.url, login);
      await until('a warning', () => watching.warnings().length > 0);
      await watching.stop();
      const [warning = '', ...more] = watching.warnings();
      assert.deepEqual([more, watching.certain.includes(true)], [[], false]);
      assert.match(warning, /does not tell of lost connections; going on with probes only: /);
      assert.match(warning, reason);
      assert.doesNotMatch(JSON.stringify(watching.lines), /4wrong/);
    });
  }
});

test('After the kill and restart of the server lost connections are told of again.', async () => {
  const server = await startServer();
  const watching = watch(server.url);
  await untilListening(watching);
  await server.restart();
  await until('a word on w1', async () => {
    await comeAndGo(server.url, 'w1');
    return watching.told.includes('w1');
  });
  assert.deepEqual(watching.warnings(), []);
  await until('certainty again', () => watching.certain.at(-1) === true);
  assert.deepEqual(watching.certain, [true, false, true]);
});

test('A server that is not there is waited for, without a word at first, and heard once it is there.', async () => {
  const port = await findFreePort();
  const watching = watch(`nats://127.0.0.1:${port}`);
  const server = await startServer(port);
  await untilListening(watching);
  await comeAndGo(server.url, 'w1');
  await until('a word on w1', () => watching.told.includes('w1'));
});

test('Servers that tell nothing of the default account, as 2.9 does, make nothing certain; those that do tell, as 2.15, do.', async () => {
  const config = 'accounts { SYS { users: [{ user: system, password: pw }] } }\n  system_account: SYS';
  const server = await startNats({ config, hasJetStream: false });
  servers.push(server);
  const watching = watch(server.url, { user: 'system', password: 'pw' }, {});
  const isDecided = () => watching.certain.length > 0;
  await until('a proof', isDecided, { limitMs: 20_000, found: () => watching.lines });
  const link = await openTestLink({ url: server.url, name: 'w1' });
  await link.drain();
  const isTold = watching.certain[0] === true;
  if (isTold) await until('a word on w1', () => watching.told.includes('w1'));
  assert.equal(watching.warnings().length, isTold ? 0 : 1);
  await delay(200);
  assert.deepEqual(watching.told, isTold ? ['w1'] : []);
});

test('The system account of another NATS makes nothing certain.', async () => {
  const [system, main] = [await startServer(), await startServer()];
  const watching = watch(
    system.url,
    { user: 'system', password: 'pw' },
    { servers: [main.url], user: 'app', password: 'pw' },
  );
  await until('a warning', () => watching.warnings().length > 0, { limitMs: 20_000, found: () => watching.lines });
  await watching.stop();
  assert.match(watching.warnings().join(), /use a named account of the NATS that --nats-system belongs to/);
  assert.deepEqual(watching.certain, [false]);
});

test('While the main login cannot connect the proof is tried again.', async () => {
  const system = await startServer();
  const main = { user: 'late', password: 'pw' };
  const watching = watch(system.url, { user: 'system', password: 'pw' }, main);
  await until('a warning', () => watching.warnings().length > 0);
  assert.deepEqual(watching.certain, []);
  await system.reload(makeConfig().replace('user: other', 'user: late'));
  await until('certainty', () => watching.certain.at(-1) === true, { limitMs: 20_000 });
  assert.match(watching.warnings().join(), /no connection could be made .*Authorization Violation/);
});

test('While the server is away the waiting ends at once when asked.', async () => {
  const watching = watch('nats://127.0.0.1:1');
  await watching.stop();
  await watching.stop();
  assert.deepEqual(watching.lines, []);
});

test('A login that is revoked later is warned of once.', async () => {
  const server = await startServer();
  const watching = watch(server.url);
  await untilListening(watching);
  await server.reload(makeConfig('other'));
  await until('a warning', () => watching.warnings().length > 0);
  await watching.stop();
  assert.equal(watching.warnings().length, 1);
  assert.match(watching.warnings()[0] ?? '', /going on with probes only: .*Authorization Violation/);
});

async function startProbed(server: TestNats, id: string): Promise<ChildProcess> {
  const script = resolve(import.meta.dirname, '../support/probed-process.ts');
  const url = server.url.replace('nats://', 'nats://app:pw@');
  const child = spawn(process.execPath, ['--import', 'tsx', script, url, '', id], { stdio: 'ignore' });
  stops.push(async () => void child.kill('SIGKILL'));
  const asking = await openTestLink({ url: server.url, user: 'app', password: 'pw', name: 'asking' });
  const isThere = async () => (await probe(asking, asking.names.workerProbe(id))).kind === 'answered';
  await until('an answer', isThere, { limitMs: 20_000 });
  return child;
}
