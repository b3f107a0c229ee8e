import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { type AddressInfo, createConnection, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { connectPostgres, type PostgresLink } from '../../shared/postgres/connection.ts';
import { PostgresRefusedError } from '../../shared/postgres/failure.ts';
import { type LocalPostgres, recordingLog, startAgain, startServer } from '../support/postgres-server.ts';

const PASSWORD = 'very-secret-word';
let server: LocalPostgres;
let admin: pg.Client;

before(async () => {
  server = await startServer();
  admin = await openAdmin();
  await admin.query(`CREATE ROLE guarded LOGIN PASSWORD '${PASSWORD}'`);
  const file = join(server.dataDir, 'pg_hba.conf');
  await writeFile(file, `host all guarded 127.0.0.1/32 scram-sha-256\n${await readFile(file, 'utf8')}`);
  await admin.query('SELECT pg_reload_conf()');
});

after(async () => {
  await admin.end();
});

async function openAdmin(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: server.url });
  client.on('error', () => {});
  await client.connect();
  return client;
}

/** The server's URL, changed. */
function url(change: { user?: string; password?: string; database?: string; port?: number } = {}): string {
  const changed = new URL(server.url);
  if (change.user !== undefined) changed.username = change.user;
  if (change.password !== undefined) changed.password = change.password;
  if (change.database !== undefined) changed.pathname = `/${change.database}`;
  if (change.port !== undefined) changed.port = String(change.port);
  return changed.href;
}

async function connect(connectionString = url()): Promise<PostgresLink> {
  return connectPostgres({ connectionString, applicationName: 'under-test' }, { log: recordingLog().log });
}

async function errorOf(work: Promise<unknown>): Promise<Error & { code?: string }> {
  const outcome = await work.then(
    () => null,
    (error) => error,
  );
  assert.ok(outcome instanceof Error, 'expected a failure');
  return outcome;
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + 20_000;
  while (!(await condition())) {
    assert.ok(performance.now() < deadlineMs, `waited in vain for ${what}`);
    await delay(10);
  }
}

/** Runs `work` against something that listens but is no Postgres. */
async function withImpostor(answer: (socket: Socket) => void, work: (port: number) => Promise<void>): Promise<void> {
  const sockets = new Set<Socket>();
  const impostor: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    answer(socket);
  });
  await new Promise<void>((resolve) => impostor.listen(0, '127.0.0.1', resolve));
  try {
    await work((impostor.address() as AddressInfo).port);
  } finally {
    for (const socket of sockets) socket.destroy();
    impostor.close();
  }
}

describe('what waiting cannot mend is refused at once, without a password in any message', () => {
  const refusals: readonly (readonly [what: string, make: () => string, says: RegExp])[] = [
    ['a wrong password', () => url({ user: 'guarded', password: 'not-the-word' }), /password authentication failed/],
    ['no password where one is needed', () => url({ user: 'guarded' }), /password/],
    ['a role that does not exist', () => url({ user: 'nobody' }), /role "nobody" does not exist/],
    ['a database that does not exist', () => url({ database: 'nowhere' }), /database "nowhere" does not exist/],
    ['two hosts and three ports', () => 'postgres://u@a,b/x?port=1,2,3', /as many ports as database hosts/],
    ['a target that does not write', () => `${url()}?target_session_attrs=standby`, /leave it out, or give read-write/],
    [
      'TLS that the server does not offer',
      () => `${url({ password: PASSWORD })}?sslmode=require`,
      /does not support SSL/,
    ],
    ['a URL that is none', () => `postgres://user:${PASSWORD}@host:port:5432/x`, /expected one such as postgres:/],
    [
      'a certificate file that is not there',
      () => `${url({ password: PASSWORD })}?sslrootcert=/no/such/file`,
      /\/no\/such\/file/,
    ],
  ];
  for (const [what, make, says] of refusals) {
    test(what, async () => {
      const { log, lines } = recordingLog();
      const error = await errorOf(connectPostgres({ connectionString: make(), applicationName: 'test' }, { log }));
      assert.ok(error instanceof PostgresRefusedError, String(error));
      assert.equal(error.code, 'postgres-refused');
      assert.match(error.message, says);
      const isOfPassword = /password|key of|TLS/.test(what);
      if (!isOfPassword)
        assert.doesNotMatch(error.message, /check the password|PGPASSWORD/, 'advice that does not fit');
      const said = JSON.stringify([
        lines,
        error,
        error.message,
        error.stack,
        String(error.cause),
        (error.cause as Error)?.stack,
      ]);
      assert.doesNotMatch(said, /very-secret-word|not-the-word/);
    });
  }

  test('a role that may not connect to the database', async () => {
    await admin.query('CREATE DATABASE closed');
    await admin.query('REVOKE CONNECT ON DATABASE closed FROM PUBLIC');
    const error = await errorOf(connect(url({ user: 'guarded', password: PASSWORD, database: 'closed' })));
    assert.equal(error.code, 'postgres-refused');
    assert.match(error.message, /permission denied for database/);
  });
});

describe('what will pass is waited for', () => {
  test('the right password is let in', async () => {
    const link = await connect(url({ user: 'guarded', password: PASSWORD }));
    assert.equal((await link.query('any', { text: 'SELECT current_user AS name' })).rows[0]?.name, 'guarded');
    await link.close();
  });

  test('a port where nobody listens: said at once, and given up only when asked', async () => {
    const { log, lines } = recordingLog();
    const stopping = new AbortController();
    const connecting = connectPostgres(
      { connectionString: url({ port: 1 }), applicationName: 'test' },
      { log, signal: stopping.signal },
    );
    await until('the first word', () => lines.length > 0);
    assert.match(JSON.stringify(lines[0]), /waiting for Postgres/);
    assert.match(JSON.stringify(lines[0]), /ECONNREFUSED 127\.0\.0\.1:1/);
    stopping.abort();
    assert.equal((await errorOf(connecting)).name, 'AbortError');
    assert.equal(lines.length, 1);
  });

  test('a server that never answers is given two seconds, then tried again', async () => {
    await withImpostor(
      () => {},
      async (port) => {
        const { log, lines } = recordingLog();
        const stopping = new AbortController();
        const startedMs = performance.now();
        const connecting = connectPostgres(
          { connectionString: url({ port }), applicationName: 'test' },
          { log, signal: stopping.signal },
        );
        await until('the first word', () => lines.length > 0);
        const tookMs = performance.now() - startedMs;
        assert.ok(tookMs > 1_900 && tookMs < 4_000, `${tookMs} ms`);
        stopping.abort();
        await errorOf(connecting);
      },
    );
  });

  test('a server that is starting up', async () => {
    const fields = 'SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0';
    const refusal = Buffer.alloc(5 + fields.length);
    refusal.write('E');
    refusal.writeInt32BE(4 + fields.length, 1);
    refusal.write(fields, 5);
    const startingUp = (socket: Socket) => socket.once('data', () => socket.end(refusal));
    await withImpostor(startingUp, async (port) => {
      const { log, lines } = recordingLog();
      const stopping = new AbortController();
      const connecting = connectPostgres(
        { connectionString: url({ port }), applicationName: 'test' },
        { log, signal: stopping.signal },
      );
      await until('the first word', () => lines.length > 0);
      assert.match(JSON.stringify(lines[0]), /starting up/);
      stopping.abort();
      await errorOf(connecting);
    });
  });
});

describe('lanes', () => {
  test('keep one connection each, and the order of their statements', async () => {
    const link = await connect();
    const pid = async (lane: string) =>
      (await link.query(lane, { text: 'SELECT pg_backend_pid() AS pid' })).rows[0]?.pid;
    assert.equal(await pid('a'), await pid('a'));
    assert.notEqual(await pid('a'), await pid('b'));
    const order: number[] = [];
    const note = (lane: string, number: number, seconds: number) =>
      link.query(lane, { text: 'SELECT pg_sleep($1)', values: [seconds] }).then(() => order.push(number));
    await Promise.all([note('a', 1, 0.3), note('a', 2, 0), note('b', 3, 0)]);
    assert.deepEqual(order, [3, 1, 2]);
    await link.close();
  });

  test('give numbers for bigint and its arrays, and read committed whatever the default is', async () => {
    await admin.query("ALTER DATABASE postgres SET default_transaction_isolation = 'serializable'");
    const link = await connect();
    await admin.query('ALTER DATABASE postgres RESET default_transaction_isolation');
    const text = `SELECT 9007199254740991::bigint AS big, ARRAY[1, -2]::bigint[] AS bigs, '{}'::int[] AS none, ARRAY[3]::int[] AS ints,
      current_setting('transaction_isolation') AS isolation, current_setting('application_name') AS name`;
    const { rows } = await link.query('a', { name: 'types', text });
    const [isolation, name] = ['read committed', 'under-test'];
    assert.deepEqual(rows[0], { big: Number.MAX_SAFE_INTEGER, bigs: [1, -2], none: [], ints: [3], isolation, name });
    await link.close();
  });

  test('are not stopped by the limits that a database or a role sets for its sessions', async (t) => {
    const { rows } = await admin.query(
      "SELECT name FROM pg_settings WHERE name ~ '^(transaction|statement|lock|idle_.*session)_timeout$'",
    );
    await admin.query('CREATE DATABASE limited');
    t.after(() => admin.query('DROP DATABASE limited WITH (FORCE)'));
    for (const { name } of rows) await admin.query(`ALTER DATABASE limited SET ${name} = '100ms'`);
    const link = await connect(url({ database: 'limited' }));
    for (let turn = 0; turn < 2; turn += 1) {
      await link.query('a', { text: 'SELECT pg_sleep(0.4)' });
      await delay(400);
    }
    const session = await link.open({ statementTimeoutMs: 0 });
    await session.query({ text: 'BEGIN' });
    await session.query({ text: 'SELECT pg_sleep(0.4)' });
    await session.query({ text: 'COMMIT' });
    await link.close();
  });

  test("pass on a statement's own error, and keep the connection", async () => {
    const link = await connect();
    const pid = async () => (await link.query('a', { text: 'SELECT pg_backend_pid() AS pid' })).rows[0]?.pid;
    const before = await pid();
    assert.equal((await errorOf(link.query('a', { text: 'SELECT 1 / 0' }))).code, '22012');
    assert.equal(await pid(), before);
    await link.close();
  });

  test('reconnect when their connection was cut while idle, and apply their settings anew', async () => {
    const link = await connect();
    const ask = () =>
      link.query('a', {
        name: 'ask',
        text: "SELECT current_setting('work_mem') AS memory, pg_backend_pid() AS pid",
        settings: "SET work_mem = '7MB'",
      });
    const before = (await ask()).rows[0];
    assert.equal(before?.memory, '7MB');
    await admin.query('SELECT pg_terminate_backend($1)', [before?.pid]);
    await until(
      'the backend to be gone',
      async () => (await admin.query('SELECT 1 FROM pg_stat_activity WHERE pid = $1', [before?.pid])).rows.length === 0,
    );
    // The loss may reach us only with the next statement, whose fate is then unknown.
    const next = await ask().catch((error) => {
      assert.equal(error.code, 'postgres-unavailable');
      return ask();
    });
    assert.equal(next.rows[0]?.memory, '7MB');
    await link.close();
  });

  test('reject a statement whose connection is cut, and those of a closed link', async () => {
    const link = await connect();
    const pid = (await link.query('a', { text: 'SELECT pg_backend_pid() AS pid' })).rows[0]?.pid;
    const sleeping = errorOf(link.query('a', { text: 'SELECT pg_sleep(60)' }));
    await until(
      'the sleep',
      async () =>
        (await admin.query("SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND state = 'active'", [pid])).rows.length ===
        1,
    );
    await admin.query('SELECT pg_terminate_backend($1)', [pid]);
    assert.equal((await sleeping).code, 'postgres-unavailable');
    await link.close();
    assert.equal((await errorOf(link.query('a', { text: 'SELECT 1' }))).code, 'postgres-unavailable');
    assert.equal((await errorOf(link.query('new', { text: 'SELECT 1' }))).code, 'postgres-unavailable');
    await link.close();
  });

  test('go on after a restart of the server; while it is down they reject soon, all who wait at once', async () => {
    const link = await connect();
    await link.query('a', { text: 'SELECT 1' });
    await server.stop();
    const startedMs = performance.now();
    const errors = await Promise.all(Array.from({ length: 5 }, () => errorOf(link.query('a', { text: 'SELECT 1' }))));
    assert.deepEqual([...new Set(errors.map(({ code }) => code))], ['postgres-unavailable']);
    assert.ok(performance.now() - startedMs < 2_500, `${performance.now() - startedMs} ms`);
    const { log, lines } = recordingLog();
    const waiting = connectPostgres({ connectionString: url(), applicationName: 'test' }, { log });
    await until('the first word', () => lines.length > 0);
    server = await startAgain(server);
    assert.equal((await link.query('a', { text: 'SELECT 1 AS one' })).rows[0]?.one, 1);
    await (await waiting).close();
    assert.match(JSON.stringify(lines.at(-1)), /Postgres is there/);
    await link.close();
    admin = await openAdmin();
  });

  test('closing gives what is under way a second, then cuts it off', async () => {
    const link = await connect();
    await link.query('a', { text: 'SELECT 1' });
    const quick = link.query('a', { text: 'SELECT pg_sleep(0.2)' });
    const slow = errorOf(link.query('b', { text: 'SELECT pg_sleep(30)' }));
    await delay(50);
    const startedMs = performance.now();
    await link.close();
    assert.ok(performance.now() - startedMs < 2_000);
    await quick;
    assert.equal((await slow).code, 'postgres-unavailable');
  });

  test('closing is quick although the connection lies dead in the network', async () => {
    const proxy = await startProxy(server.port);
    const link = await connect(url({ port: proxy.port }));
    await link.query('a', { text: 'SELECT 1' });
    const session = await link.open({ statementTimeoutMs: 0 });
    proxy.freeze();
    const startedMs = performance.now();
    await link.close();
    await session.ended;
    assert.ok(performance.now() - startedMs < 1_500, `${performance.now() - startedMs} ms`);
    proxy.stop();
  });

  test('a statement that is never answered ends the session, after its own limit, not the rest of the last one’s', async () => {
    const proxy = await startProxy(server.port);
    const link = await connect(url({ port: proxy.port }));
    const session = await link.open({ statementTimeoutMs: 1_000 });
    await session.query({ text: 'SELECT pg_sleep(0.5)' });
    proxy.freeze();
    const sentAtMs = performance.now();
    const inTime = delay(20_000, null, { ref: false });
    const error = await Promise.race([errorOf(session.query({ text: 'SELECT 1' })), inTime]);
    assert.equal(error?.code, 'postgres-unavailable');
    const tookMs = performance.now() - sentAtMs;
    assert.ok(tookMs >= 1_499, `${tookMs} ms: a second for the server, half a second for its word to come`);
    await session.ended;
    await link.close();
    proxy.stop();
  });
});

/** Between client and server; frozen connections stay open and say nothing, as when a cable is pulled. */
async function startProxy(port: number) {
  const sockets = new Set<Socket>();
  let isFrozen = false;
  const proxy = createServer((near) => {
    const far = createConnection({ host: '127.0.0.1', port });
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => {});
    }
    if (isFrozen) return;
    near.pipe(far);
    far.pipe(near);
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  return {
    port: (proxy.address() as AddressInfo).port,
    freeze: () => {
      isFrozen = true;
      for (const socket of sockets) socket.unpipe().pause();
    },
    thawForNew: () => {
      isFrozen = false;
    },
    stop: () => {
      for (const socket of sockets) socket.destroy();
      proxy.close();
    },
  };
}
