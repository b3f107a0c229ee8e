import assert from 'node:assert/strict';
import { chown, copyFile, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { connectPostgres } from '../../shared/postgres/connection.ts';
import { type Certificates, makeCertificates, whyNoOpenssl } from '../support/certificates.ts';
import { type LocalPostgres, recordingLog, startServer } from '../support/postgres-server.ts';

const missing = await whyNoOpenssl();

describe('sslmode is what it is for libpq', { skip: missing ?? false }, () => {
  let encrypted: LocalPostgres;
  let plain: LocalPostgres;
  let folder: string;
  let files: Certificates;
  const formerHome = process.env.HOME;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'notifi-scaler-tls-'));
    files = await makeCertificates(folder, 'localhost');
    // What the person running the tests keeps at home is not to count.
    process.env.HOME = folder;
    [encrypted, plain] = await Promise.all([startServer(), startServer()]);
    const owner = await stat(encrypted.dataDir);
    for (const [from, name] of [
      [files.certificate, 'server.crt'],
      [files.key, 'server.key'],
    ] as const) {
      const path = join(encrypted.dataDir, name);
      await copyFile(from, path);
      await chown(path, owner.uid, owner.gid);
    }
    await asAdmin(encrypted, 'ALTER SYSTEM SET ssl = on', 'SELECT pg_reload_conf()');
    await isEncrypting(encrypted);
    const rules = ['hostnossl all refused all reject', 'hostssl all unencrypted all reject'];
    for (const role of ['refused', 'unencrypted']) await asAdmin(encrypted, `CREATE ROLE ${role} LOGIN`);
    await prependRules(encrypted, rules);
  });

  after(async () => {
    process.env.HOME = formerHome;
    await rm(folder, { recursive: true, force: true });
  });

  const url = (server: LocalPostgres, query: string, { host = 'localhost', user = 'postgres' } = {}) =>
    `postgres://${user}@${host}:${server.port}/postgres?${query}`;

  async function isEncrypted(connectionString: string): Promise<boolean> {
    const link = await connectPostgres({ connectionString, applicationName: 'test' }, { log: recordingLog().log });
    try {
      const text = 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()';
      return (await link.query<{ ssl: boolean }>('any', { text })).rows[0]?.ssl === true;
    } finally {
      await link.close();
    }
  }

  const yes: readonly (readonly [query: string, what: string])[] = [
    ['', 'no mode, as with prefer'],
    ['sslmode=prefer', 'prefer'],
    ['sslmode=require', 'require, with a certificate of an unknown authority'],
    ['ssl=true', 'ssl=true, as with require'],
    ['sslmode=no-verify', 'no-verify'],
    ['sslmode=require&sslnegotiation=direct', 'TLS from the first byte'],
  ];
  for (const [query, what] of yes) {
    test(`a server that offers encryption: ${what}`, async () => {
      assert.equal(await isEncrypted(url(encrypted, query)), true);
    });
  }

  test('a server that offers encryption: none with disable and allow', async () => {
    assert.equal(await isEncrypted(url(encrypted, 'sslmode=disable')), false);
    assert.equal(await isEncrypted(url(encrypted, 'sslmode=allow')), false);
  });

  test('a server without encryption: prefer and allow go on without, require refuses and says what to do', async () => {
    assert.equal(await isEncrypted(url(plain, '')), false);
    assert.equal(await isEncrypted(url(plain, 'sslmode=prefer')), false);
    assert.equal(await isEncrypted(url(plain, 'sslmode=allow')), false);
    await assert.rejects(
      isEncrypted(url(plain, 'sslmode=require')),
      /does not support SSL connections; turn ssl on at the server, or give sslmode=prefer or disable/,
    );
  });

  test('a role that pg_hba.conf lets in one way only: allow and prefer find it, the others say what to do', async () => {
    const only = (user: string, mode: string) => url(encrypted, `sslmode=${mode}`, { user });
    assert.equal(await isEncrypted(only('refused', 'allow')), true);
    assert.equal(await isEncrypted(only('unencrypted', 'prefer')), false);
    await assert.rejects(isEncrypted(only('refused', 'disable')), /pg_hba\.conf rejects.*pg_hba\.conf$/);
    await assert.rejects(isEncrypted(only('unencrypted', 'require')), /pg_hba\.conf rejects/);
  });

  test('the authority is checked by verify-ca and verify-full, and by require with a root certificate', async () => {
    for (const mode of ['verify-ca', 'verify-full', 'require', 'prefer']) {
      assert.equal(await isEncrypted(url(encrypted, `sslmode=${mode}&sslrootcert=${files.root}`)), true, mode);
    }
    for (const mode of ['verify-ca', 'verify-full', 'require']) {
      await assert.rejects(
        isEncrypted(url(encrypted, `sslmode=${mode}&sslrootcert=${files.otherRoot}`)),
        /give the root certificate of its authority with sslrootcert or PGSSLROOTCERT/,
        mode,
      );
    }
    assert.equal(await isEncrypted(url(encrypted, `sslmode=prefer&sslrootcert=${files.otherRoot}`)), false);
    await assert.rejects(isEncrypted(url(encrypted, 'sslmode=verify-full')), /give the root certificate/);
    await assert.rejects(isEncrypted(url(encrypted, 'sslmode=verify-ca')), /expected a root certificate/);
  });

  test("the host's name is checked by verify-full alone", async () => {
    const byAddress = (mode: string) =>
      url(encrypted, `sslmode=${mode}&sslrootcert=${files.root}`, { host: '127.0.0.1' });
    assert.equal(await isEncrypted(byAddress('verify-ca')), true);
    assert.equal(await isEncrypted(byAddress('require')), true);
    await assert.rejects(
      isEncrypted(byAddress('verify-full')),
      /give the host by a name that the server's certificate holds; sslmode=verify-ca checks the authority only/,
    );
  });

  test('the PG variables say the same, and the URL counts before them', async () => {
    await withVariables({ PGSSLMODE: 'require' }, async () => {
      assert.equal(await isEncrypted(url(encrypted, '')), true);
      assert.equal(await isEncrypted(url(encrypted, 'sslmode=disable')), false);
      await assert.rejects(isEncrypted(url(plain, '')), /does not support SSL/);
    });
    await withVariables({ PGSSLMODE: 'verify-full', PGSSLROOTCERT: files.root }, async () => {
      assert.equal(await isEncrypted(url(encrypted, '')), true);
    });
    await withVariables({ PGSSLMODE: 'verify-full', PGSSLROOTCERT: files.otherRoot }, async () => {
      await assert.rejects(isEncrypted(url(encrypted, '')), /give the root certificate/);
    });
    await withVariables({ PGSSLMODE: 'reqire' }, async () => {
      await assert.rejects(isEncrypted(url(encrypted, '')), /expected sslmode to be one of disable, .*, got "reqire"/);
    });
  });

  test('the root certificate that a person keeps at home counts', async () => {
    await mkdir(join(folder, '.postgresql'));
    const own = join(folder, '.postgresql', 'root.crt');
    await copyFile(files.root, own);
    assert.equal(await isEncrypted(url(encrypted, 'sslmode=verify-full')), true);
    await copyFile(files.otherRoot, own);
    await assert.rejects(isEncrypted(url(encrypted, 'sslmode=require')), /give the root certificate/);
    await rm(own);
    assert.equal(await isEncrypted(url(encrypted, 'sslmode=require')), true);
  });
});

async function withVariables(variables: Readonly<Record<string, string>>, work: () => Promise<void>): Promise<void> {
  const former = Object.keys(variables).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, variables);
  try {
    await work();
  } finally {
    for (const [name, value] of former) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

async function asAdmin(server: LocalPostgres, ...statements: readonly string[]): Promise<unknown> {
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  try {
    let last: pg.QueryResult | null = null;
    for (const statement of statements) last = await client.query(statement);
    return last?.rows[0];
  } finally {
    await client.end();
  }
}

async function prependRules(server: LocalPostgres, rules: readonly string[]): Promise<void> {
  const path = join(server.dataDir, 'pg_hba.conf');
  await writeFile(path, `${rules.join('\n')}\n${await readFile(path, 'utf8')}`);
  await asAdmin(server, 'SELECT pg_reload_conf()');
}

/** The configuration is read again some time after it was asked for. */
async function isEncrypting(server: LocalPostgres): Promise<void> {
  const deadlineMs = performance.now() + 20_000;
  for (;;) {
    const client = new pg.Client({ connectionString: server.url, ssl: { rejectUnauthorized: false } });
    const error = await client.connect().then(
      () => null,
      (error) => error,
    );
    await client.end().catch(() => {});
    if (error === null) return;
    assert.ok(performance.now() < deadlineMs, String(error));
  }
}
