import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect as connectSocket, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { connectPostgres, type PostgresLink } from '../../shared/postgres/connection.ts';
import { type LocalPostgres, recordingLog, startServer } from '../support/postgres-server.ts';
import { eventually } from '../support/service-process.ts';

describe('several hosts', () => {
  let servers: readonly [LocalPostgres, LocalPostgres];
  const clients: pg.Client[] = [];

  before(async () => {
    servers = await Promise.all([startServer(), startServer()]);
    for (const server of servers) {
      const client = new pg.Client({ connectionString: server.url, options: '-c default_transaction_read_only=off' });
      client.on('error', () => {});
      await client.connect();
      clients.push(client);
    }
    await setReadOnly(0, true);
  });

  after(async () => {
    for (const client of clients) await client.end();
  });

  async function setReadOnly(index: number, isReadOnly: boolean): Promise<void> {
    await clients[index]!.query(`ALTER SYSTEM SET default_transaction_read_only = ${isReadOnly ? 'on' : 'off'}`);
    await clients[index]!.query('SELECT pg_reload_conf()');
    await eventually('the setting', async () => {
      const client = new pg.Client({ connectionString: servers[index]!.url });
      await client.connect();
      const { rows } = await client.query("SELECT current_setting('default_transaction_read_only') AS now");
      await client.end();
      return rows[0].now === (isReadOnly ? 'on' : 'off');
    });
  }

  const place = () => servers.map(({ port }) => `127.0.0.1:${port}`).join(',');
  const connect = (connectionString: string) =>
    connectPostgres({ connectionString, applicationName: 'test' }, { log: recordingLog().log });
  const portOf = async (link: PostgresLink, lane = 'any') =>
    (await link.query<{ port: number }>(lane, { text: "SELECT current_setting('port')::int AS port" })).rows[0]?.port;

  const ways: readonly (readonly [what: string, url: () => string])[] = [
    ['read-write', () => `postgres://postgres@${place()}/postgres?target_session_attrs=read-write`],
    ['no target_session_attrs', () => `postgres://postgres@${place()}/postgres`],
    [
      'hosts and ports as settings',
      () => `postgres://postgres@/postgres?host=127.0.0.1,localhost&port=${servers.map(({ port }) => port).join(',')}`,
    ],
  ];
  for (const [what, url] of ways) {
    test(`the one that takes writes is found: ${what}`, async () => {
      const link = await connect(url());
      assert.equal(await portOf(link), servers[1].port);
      await link.close();
    });
  }

  test('a host where nobody listens is passed over', async () => {
    const link = await connect(`postgres://postgres@127.0.0.1:1,127.0.0.1:${servers[1].port}/postgres`);
    assert.equal(await portOf(link), servers[1].port);
    await link.close();
  });

  test('a wrong role ends the search, as in libpq', async () => {
    await assert.rejects(connect(`postgres://nobody@${place()}/postgres`), /role "nobody" does not exist/);
  });

  test('none that takes writes is waited for, each named with its reason; a failover is followed', async () => {
    await setReadOnly(1, true);
    const { log, lines } = recordingLog();
    const connecting = connectPostgres(
      { connectionString: `postgres://postgres@${place()}/postgres`, applicationName: 'test' },
      { log },
    );
    await eventually('the first word', () => lines.length > 0);
    const [first] = lines as unknown as readonly { readonly reason: string }[];
    for (const { port } of servers) {
      assert.match(
        first!.reason,
        new RegExp(`127\\.0\\.0\\.1:${port}.* takes no writes: default_transaction_read_only`),
      );
    }
    await setReadOnly(0, false);
    const link = await connecting;
    assert.equal(await portOf(link), servers[0].port);

    await setReadOnly(1, false);
    await setReadOnly(0, true);
    // The first write that is refused gives the connection up.
    const write = () => link.query('any', { text: 'CREATE TABLE IF NOT EXISTS written (id int)' });
    await eventually('a write', () =>
      write().then(
        () => true,
        () => false,
      ),
    );
    assert.equal(await portOf(link), servers[1].port);
    await link.close();
  });
});

test('a Unix socket is reached by its folder, with and without a user', async (t) => {
  const server = await startServer();
  const folder = await mkdtemp(join(tmpdir(), 'notifi-scaler-socket-'));
  // The server itself listens on no socket here; what comes by this one is handed on.
  const relay = createServer((near) => {
    const far = connectSocket({ host: '127.0.0.1', port: server.port });
    for (const socket of [near, far]) socket.on('error', () => {});
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => relay.listen(join(folder, '.s.PGSQL.5432'), resolve));
  t.after(async () => {
    relay.close();
    await rm(folder, { recursive: true, force: true });
  });
  const urls = [
    `postgres://postgres@/postgres?host=${folder}`,
    `postgres:///postgres?host=${folder}&user=postgres`,
    `postgres://postgres@${encodeURIComponent(folder)}/postgres`,
    `postgres://postgres@/postgres?host=${folder}&sslmode=require`,
  ];
  for (const connectionString of urls) {
    const link = await connectPostgres({ connectionString, applicationName: 'test' }, { log: recordingLog().log });
    assert.equal((await link.query('any', { text: 'SELECT current_user AS me' })).rows[0]?.me, 'postgres');
    await link.close();
  }
});
