import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import { findFreePort } from '../../services/local/ports.ts';
import { connectNats, type NatsOptions } from '../../shared/nats/connection.ts';
import { NatsRefusedError } from '../../shared/nats/refusal.ts';
import { assertTook, closeTestLinks, openTestLink, recordLog, until } from '../support/nats-link.ts';
import { startNats, type TestNats } from '../support/nats-process.ts';
import { sharedNats } from '../support/nats-server.ts';

const servers: TestNats[] = [];
after(async () => {
  await Promise.all(servers.map((server) => server.stop()));
});
afterEach(closeTestLinks);

async function startServer(config: string, port?: number): Promise<TestNats> {
  const server = await startNats({ config, ...(port !== undefined && { port }) });
  servers.push(server);
  return server;
}

async function refusalOf(options: Partial<NatsOptions>): Promise<{ message: string; tookMs: number; logged: string }> {
  const { log, lines } = recordLog();
  const startMs = performance.now();
  try {
    const link = await connectNats({ servers: [], name: 'test', prefix: '', ...options }, { log });
    await link.drain();
  } catch (error) {
    assert.ok(error instanceof NatsRefusedError, String(error));
    assert.equal(error.code, 'nats-refused');
    return { message: error.message, tookMs: performance.now() - startMs, logged: JSON.stringify(lines) };
  }
  throw new Error('expected a refusal, got a connection');
}

test('A link connects, says whether it is connected, and ends when it is drained.', async () => {
  const { url } = await sharedNats();
  const link = await openTestLink({ url, prefix: 'blue' });
  assert.equal(link.isConnected(), true);
  assert.equal(link.names.snapshotSubject, 'blue.ring.snapshot');
  await link.drain();
  assert.equal(link.isConnected(), false);
  assert.equal(await link.closed, undefined);
  await link.drain();
});

test('A server that is not there is waited for, saying so at once, and used once it is there.', async () => {
  const port = await findFreePort();
  const { log, lines } = recordLog();
  const connecting = connectNats({ servers: [`nats://me:secret@127.0.0.1:${port}`], name: 'w', prefix: '' }, { log });
  await until('a word on the waiting', () => lines.length > 0, { limitMs: 1_000 });
  assert.match(lines[0]!.msg, new RegExp(`^waiting for NATS at 127\\.0\\.0\\.1:${port} \\(connection refused\\)$`));
  await wait(700);
  assert.equal(lines.length, 1);
  await startServer('authorization { user: me, password: secret }', port);
  const link = await connecting;
  assert.equal(link.isConnected(), true);
  assert.doesNotMatch(JSON.stringify(lines), /secret/);
  await link.drain();
});

test('A server that takes the connection but says nothing is waited for too.', async () => {
  const sockets: Socket[] = [];
  const silent = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1');
  const address = await new Promise<{ port: number }>((resolve) =>
    silent.once('listening', () => resolve(silent.address() as { port: number })),
  );
  const { log, lines } = recordLog();
  const leave = new AbortController();
  const connecting = connectNats(
    { servers: [`127.0.0.1:${address.port}`], name: 'w', prefix: '' },
    { log, signal: leave.signal },
  );
  const outcome = assert.rejects(connecting, { name: 'AbortError' });
  await until('a word on the waiting', () => lines.length > 0);
  assert.match(lines[0]!.msg, /no answer in time/);
  const askedMs = performance.now();
  leave.abort();
  await outcome;
  assertTook(askedMs, 1_000);
  silent.close();
  for (const socket of sockets) socket.destroy();
});

test('The waiting ends at once when the signal is aborted.', async () => {
  const { log } = recordLog();
  const leave = new AbortController();
  const options = { servers: ['127.0.0.1:1'], name: 'w', prefix: '' };
  const connecting = connectNats(options, { log, signal: leave.signal });
  setTimeout(() => leave.abort(), 50);
  await assert.rejects(connecting, { name: 'AbortError' });
  await assert.rejects(connectNats(options, { log, signal: leave.signal }), { name: 'AbortError' });
});

describe('with users', () => {
  let server: TestNats;
  before(async () => {
    server = await startServer('authorization { user: me, password: "s3cret" }');
  });

  test('The right password is let in, from the options or from the address.', async () => {
    await openTestLink({ url: server.url, user: 'me', password: 's3cret' });
    await openTestLink({ url: server.url.replace('nats://', 'nats://me:s3cret@') });
  });

  test('A wrong password is refused at once, without a word of it anywhere.', async () => {
    for (const options of [
      { servers: [server.url], user: 'me', password: '4wrong' },
      { servers: [server.url.replace('nats://', 'nats://me:4wrong@')] },
    ]) {
      const { message, tookMs, logged } = await refusalOf(options);
      assert.match(message, /127\.0\.0\.1:\d+ cannot be used: Authorization Violation\. Check user and password/);
      assert.doesNotMatch(message + logged, /4wrong/);
      assert.equal(tookMs < 1_000, true, `took ${tookMs} ms`);
    }
  });

  test('No password at all, a wrong token and TLS where there is none are refused at once.', async () => {
    assert.match((await refusalOf({ servers: [server.url] })).message, /Authorization Violation/);
    const { message } = await refusalOf({ servers: [server.url.replace('nats://', 'nats://tok3n@')] });
    assert.match(message, /Authorization Violation/);
    assert.doesNotMatch(message, /tok3n/);
    const tls = await refusalOf({ servers: [server.url.replace('nats:', 'tls:')], user: 'me', password: 's3cret' });
    assert.match(tls.message, /no TLS\. TLS is asked for/);
  });

  test('A wrong password is found out also where another server of the list is away.', async () => {
    const { message } = await refusalOf({ servers: ['127.0.0.1:1', server.url], user: 'me', password: 'wrong' });
    assert.match(message, /Authorization Violation/);
  });

  test('Files that cannot be read, or are no credentials, are refused at once.', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'notifi-creds-'));
    const credsFile = join(directory, 'user.creds');
    await writeFile(credsFile, 'not what it should be');
    const garbage = await refusalOf({ servers: [server.url], credsFile });
    assert.match(garbage.message, /expected a user JWT and a seed/);
    await rm(directory, { recursive: true });
    assert.match((await refusalOf({ servers: [server.url], credsFile })).message, /credentials file cannot be read/);
    assert.match((await refusalOf({ servers: [server.url], caFile: credsFile })).message, /authority file cannot be/);
  });
});

test('A link survives the kill and restart of its server, and tells of both.', async () => {
  const server = await startServer('');
  const link = await openTestLink({ url: server.url });
  const told: string[] = [];
  const ignore = link.onStatus((status) => told.push(status));
  await server.kill();
  await until('the loss to be told', () => told.length === 1);
  assert.deepEqual([told, link.isConnected()], [['disconnected'], false]);
  await server.restart();
  await until('the return to be told', () => told.length === 2);
  assert.deepEqual([told, link.isConnected()], [['disconnected', 'reconnected'], true]);
  ignore();
});

test('A link whose server is away is closed within moments all the same.', async () => {
  const server = await startServer('');
  const link = await openTestLink({ url: server.url });
  await server.kill();
  await until('the loss', () => !link.isConnected());
  const askedMs = performance.now();
  await link.drain();
  assert.equal(await link.closed, undefined);
  assertTook(askedMs, 1_500);
});

test('A link whose user is revoked later ends with the refusal.', async () => {
  const server = await startServer('authorization { users = [{ user: me, password: pw }] }');
  const link = await openTestLink({ url: server.url, user: 'me', password: 'pw' });
  await server.reload('authorization { users = [{ user: other, password: pw }] }');
  const error = await link.closed;
  assert.ok(error instanceof NatsRefusedError, String(error));
  assert.match(error.message, /Authorization Violation/);
});

describe('with TLS', () => {
  let directory: string;
  let files: { caFile: string; certFile: string; keyFile: string };
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'notifi-tls-'));
    files = {
      caFile: join(directory, 'cert.pem'),
      certFile: join(directory, 'cert.pem'),
      keyFile: join(directory, 'key.pem'),
    };
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', files.keyFile];
    const name = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
    await promisify(execFile)('openssl', ['req', '-x509', ...key, ...name, '-days', '2', '-out', files.certFile]);
  });
  after(() => rm(directory, { recursive: true, force: true }));

  const tlsConfig = (more: string) => `tls { cert_file: "${files.certFile}", key_file: "${files.keyFile}", ${more} }`;
  const withTls = (more = '') => startServer(tlsConfig(more));

  test('The server is trusted by the authority given, and refused at once without it or under another name.', async () => {
    const { port } = await withTls();
    await openTestLink({ url: `tls://localhost:${port}`, caFile: files.caFile });
    assert.match((await refusalOf({ servers: [`localhost:${port}`] })).message, /self-signed certificate\. Check/);
    const other = await refusalOf({ servers: [`127.0.0.1:${port}`], caFile: files.caFile });
    assert.match(other.message, /does not match certificate/);
  });

  /** Only once it runs: whether it answers is known by its greeting, which comes after TLS then. */
  const withTlsFirst = async () => {
    const server = await withTls();
    await server.reload(tlsConfig('handshake_first: true'));
    return server;
  };

  test('A server that does TLS first is recognised by its silence, and TLS that is not trusted is refused all the same.', async () => {
    const { port } = await withTlsFirst();
    await openTestLink({ url: `tls://localhost:${port}`, caFile: files.caFile });
    assert.match(
      (await refusalOf({ servers: [`tls://localhost:${port}`] })).message,
      /self-signed certificate\. Check/,
    );
  });

  test('Without TLS asked for, the notice names tls:// for a server that does TLS first.', async () => {
    const { port } = await withTlsFirst();
    const { log, lines } = recordLog();
    const leave = new AbortController();
    const options = { servers: [`localhost:${port}`], name: 'w', prefix: '' };
    const outcome = assert.rejects(connectNats(options, { log, signal: leave.signal }), { name: 'AbortError' });
    await until('the advice', () => lines.some(({ msg }) => /does TLS first .*tls:\/\//.test(msg)));
    leave.abort();
    await outcome;
  });

  test('A client certificate that the server demands is given, or its lack is refused.', async () => {
    const { port } = await withTls(`ca_file: "${files.caFile}", verify: true`);
    await openTestLink({ url: `tls://localhost:${port}`, ...files });
    const { message } = await refusalOf({ servers: [`localhost:${port}`], caFile: files.caFile });
    assert.match(message, /demands a client certificate/);
  });
});
