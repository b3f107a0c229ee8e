import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmod, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { connect } from 'nats';
import { pino } from 'pino';
import { findNatsServer } from '../../services/local/nats-server-source.ts';
import { findFreePort } from '../../services/local/ports.ts';
import { Random } from '../simulation/random.ts';
import { closeTestLinks, openTestLink, until } from '../support/nats-link.ts';
import { startNats, type TestNats } from '../support/nats-process.ts';

/** The chart's start script before a real server: what NATS takes a password, a user or a name for. */
const SCRIPT = resolve(import.meta.dirname, '../../helm/files/nats-start.sh');
const SEED = 20261128;
const RANDOM_PASSWORDS = 1_000;
const USERS_PER_SERVER = 100;
const LONGEST = 40;
/** NATS' own syntax, a shell's, an address', and what looks like another type. */
const NASTY = [
  ...['12e4', '4e2', '0123456789', '1k', 'true', 'off', '-1', '2026-11-28T00:00:00Z', '2$', '$2a$1'],
  ...['$HOME', `\${HOME}`, '$(HOME)', '`id`', '}', '{', '[1, 2]', '(', '#x', '//x', 'a;b', 'a,b', 'a: b', 'a=b', '*'],
  ...[
    '"',
    '\\',
    "'",
    '\\"',
    '"\'\\$',
    '\\x41',
    ' a b ',
    ' ',
    '%41',
    'u:p@h/?#',
    'include x',
    'pässwörd 密码',
    '-c',
    '--',
  ],
];

let folder: string;
let program: string;
const servers: TestNats[] = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'notifi-start-'));
  const { path } = await findNatsServer({ log: pino({ level: 'silent' }) });
  await symlink(path, join(folder, 'nats-server'));
  program = join(folder, 'start');
  // NAMES in the environment stand for the arguments that the chart writes.
  await writeFile(program, `#!/bin/sh\nexec env PATH="${folder}:$PATH" sh ${SCRIPT} $NAMES -- "$@"\n`);
  await chmod(program, 0o755);
});

after(async () => {
  await closeTestLinks();
  await Promise.all(servers.map((server) => server.stop()));
  await rm(folder, { recursive: true, force: true });
});

test('1,000 random passwords log in, and no other does', { timeout: 120_000 }, async () => {
  const random = new Random(SEED);
  const passwords = Array.from({ length: RANDOM_PASSWORDS }, () => drawPassword(random));
  for (let from = 0; from < passwords.length; from += USERS_PER_SERVER) {
    const some = passwords.slice(from, from + USERS_PER_SERVER);
    const { url } = await serve(some.map((password, index) => ({ user: `u${index}`, password })));
    const logins = some.map((pass, index) =>
      logIn(url, `u${index}`, pass).catch((cause) => assert.fail(`seed ${SEED}: ${JSON.stringify(pass)}: ${cause}`)),
    );
    await Promise.all(logins);
    await assert.rejects(logIn(url, 'u0', `${some[0]}x`), /authorization violation/i);
  }
});

test('passwords and users that mean something to NATS or a shell are what they are', async () => {
  const users = NASTY.map((text) => ({ user: text, password: text }));
  const { url } = await serve(users);
  for (const { user, password } of users) {
    await assert.doesNotReject(logIn(url, user, password), JSON.stringify(user));
    await assert.rejects(logIn(url, user, `${password}x`), /authorization violation/i, JSON.stringify(user));
  }
});

test('our own programs log in with them too, by options and by an address', async () => {
  const users = NASTY.map((text) => ({ user: text, password: text }));
  const { url } = await serve(users);
  for (const { user, password } of users) {
    const link = await openTestLink({ url, user, password });
    assert.ok(link.isConnected());
    const login = `${encodeURIComponent(user)}:${encodeURIComponent(password)}`;
    await openTestLink({ url: url.replace('nats://', `nats://${login}@`) });
  }
});

describe('a server’s name', () => {
  for (const name of ['4e2', 'true', '12e4-nats-0', '"$HOME"}']) {
    test(`${name} is that name`, async () => {
      const server = await start({ config: 'server_name: $POD_NAME', environment: { POD_NAME: name } });
      const connection = await connect({ servers: server.url });
      assert.equal(connection.info?.server_name, name);
      await connection.close();
    });
  }
});

test('servers find each other with any password for their routes', { timeout: 60_000 }, async () => {
  for (const password of ['@:/?#[]%41 "\\$', '12e4']) {
    const ports = [await findFreePort(), await findFreePort()];
    const environment = {
      ROUTE_PASSWORD: password,
      SYSTEM_PASSWORD: 's',
      ROUTE_HOSTS: ports.map((port) => `127.0.0.1:${port}`).join(' '),
    };
    const started = ports.map((port, index) =>
      start({
        hasJetStream: false,
        environment,
        config: `
          server_name: n${index}
          cluster { name: "4e2", host: 127.0.0.1, port: ${port}, routes: $ROUTES
            authorization { user: route, password: $ROUTE_PASSWORD } }
          accounts { SYS { users: [ { user: system, password: $SYSTEM_PASSWORD } ] } }
          system_account: SYS`,
      }),
    );
    const [first] = await Promise.all(started);
    const { connection } = await openTestLink({ url: first!.url, user: 'system', password: 's' });
    await until('two servers', async () => {
      let answers = 0;
      const options = { maxMessages: 2, maxWait: 1_000 };
      for await (const _ of await connection.requestMany('$SYS.REQ.SERVER.PING', '', options)) answers += 1;
      return answers === 2;
    });
  }
});

test('a password that NATS takes for a hash, or none, is refused with the reason', () => {
  for (const [given, says] of [
    [`$2a$10$${'x'.repeat(53)}`, /A_PASSWORD: expected a password, got .*bcrypt hash/],
    ['', /A_PASSWORD: expected a text, got none/],
  ] as const) {
    const environment = { PATH: process.env.PATH, A_PASSWORD: given };
    const { status, stderr } = spawnSync('sh', [SCRIPT, 'A_PASSWORD', '--'], { encoding: 'utf8', env: environment });
    assert.equal(status, 1);
    assert.match(stderr, says);
  }
});

/** A server for these users, whose names and passwords all come by the environment. */
async function serve(users: readonly { readonly user: string; readonly password: string }[]): Promise<TestNats> {
  const lines = users.map((_, index) => `{ user: $USER_${index}, password: $PASSWORD_${index} }`);
  const environment: Record<string, string> = {};
  for (const [index, { user, password }] of users.entries()) {
    environment[`USER_${index}`] = user;
    environment[`PASSWORD_${index}`] = password;
  }
  const config = `authorization { users = [\n${lines.join('\n')}\n] }`;
  return start({ config, environment, hasJetStream: false });
}

async function start(options: {
  readonly config: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly hasJetStream?: boolean;
}): Promise<TestNats> {
  const names = Object.keys(options.environment).filter((name) => name !== 'ROUTE_HOSTS');
  const environment = { ...options.environment, NAMES: names.join(' ') };
  const server = await startNats({ ...options, environment, binary: program });
  servers.push(server);
  return server;
}

async function logIn(servers: string, user: string, pass: string): Promise<void> {
  const connection = await connect({ servers, user, pass, reconnect: false });
  await connection.close();
}

/** Any printable ASCII; what NATS takes for a hash is refused by the script, and would have to begin with `$2a$10$`. */
function drawPassword(random: Random): string {
  const length = random.between(1, LONGEST);
  return Array.from({ length }, () => String.fromCharCode(random.between(0x20, 0x7e))).join('');
}
