import assert from 'node:assert/strict';
import { test } from 'node:test';
import { adviseOnRefusal } from '../../shared/postgres/connect-advice.ts';
import { readPlace } from '../../shared/postgres/place.ts';
import { BadPlaceError } from '../../shared/postgres/tls.ts';

const at = (host: string, port = 5432) => ({ host, port });

function read(url: string | undefined, environment: Record<string, string> = {}) {
  const { hosts, user, password, database, needsWriter, settings } = readPlace(url, environment);
  return { hosts, user, password, database, needsWriter, settings };
}

const NOTHING = { user: undefined, password: undefined, database: undefined, needsWriter: false, settings: {} };

test('URLs are read as libpq reads them', () => {
  const cases: readonly (readonly [url: string, expected: Partial<ReturnType<typeof read>>])[] = [
    ['postgres://h', { hosts: [at('h')] }],
    ['postgresql://u:p@h:1/d', { hosts: [at('h', 1)], user: 'u', password: 'p', database: 'd' }],
    ['postgres://u%40x:p%2F%3A%25@h/a%2Fb', { hosts: [at('h')], user: 'u@x', password: 'p/:%', database: 'a/b' }],
    ['postgres://u:p@ss@h/d', { hosts: [at('h')], user: 'u', password: 'p@ss', database: 'd' }],
    ['postgres://[::1]:2/d', { hosts: [at('::1', 2)], database: 'd' }],
    ['postgres://a:1,b:2,[::1]/d', { hosts: [at('a', 1), at('b', 2), at('::1')], database: 'd', needsWriter: true }],
    ['postgres://a,b/d?port=7', { hosts: [at('a', 7), at('b', 7)], database: 'd', needsWriter: true }],
    ['postgres:///d?host=a,b&port=1,2', { hosts: [at('a', 1), at('b', 2)], database: 'd', needsWriter: true }],
    ['postgres://a/d?target_session_attrs=read-write', { hosts: [at('a')], database: 'd', needsWriter: true }],
    ['postgres://a/d?target_session_attrs=any', { hosts: [at('a')], database: 'd' }],
    ['postgres://u@/db?host=/path', { hosts: [at('/path')], user: 'u', database: 'db' }],
    ['postgres://%2Fvar%2Frun/db', { hosts: [at('/var/run')], database: 'db' }],
    ['postgres:///?user=u&password=p&dbname=d', { hosts: [at('localhost')], user: 'u', password: 'p', database: 'd' }],
    [
      'postgres://h/d?options=-c%20x%3Dy&sslmode=disable',
      { hosts: [at('h')], database: 'd', settings: { options: '-c x=y' } },
    ],
  ];
  for (const [url, expected] of cases) assert.deepEqual(read(url), { ...NOTHING, ...expected }, url);
});

test('the PG variables fill in what the URL leaves open', () => {
  const environment = { PGHOST: 'a,b', PGPORT: '1,2', PGTARGETSESSIONATTRS: 'read-write' };
  const both = { ...NOTHING, hosts: [at('a', 1), at('b', 2)], needsWriter: true };
  assert.deepEqual(read(undefined, environment), both);
  assert.deepEqual(read('postgres:///d', environment), { ...both, database: 'd' });
  assert.deepEqual(read('postgres://c:3/d', environment).hosts, [at('c', 3)]);
  assert.deepEqual(read(undefined), { ...NOTHING, hosts: [at('localhost')] });
});

test('what cannot be right is refused, without the URL in the message', () => {
  const cases: readonly (readonly [url: string, says: RegExp])[] = [
    ['postgres://u:geheim@host:port:5432/x', /expected one such as/],
    ['postgres://u:geheim%zz@host/x', /expected one such as/],
    ['mysql://u:geheim@host/x', /expected one such as/],
    ['postgres://u:geheim@a:99999/x', /port of the database from 1 to 65535, got 99999/],
    ['postgres://u:geheim@a,b/x?port=1,2,3', /3 ports for 2 hosts/],
    ['postgres://u:geheim@a/x?target_session_attrs=read-only', /got "read-only"; Notifi-Scaler writes/],
    ['postgres://u:geheim@a/x?sslmode=on', /sslmode to be one of disable, allow, prefer, .*got "on"/],
    ['postgres://u:geheim@a/x?sslnegotiation=direct&sslmode=prefer', /sslnegotiation=direct, got prefer/],
    ['postgres://u:geheim@a/x?sslrootcert=system&sslmode=require', /sslmode=verify-full with sslrootcert=system/],
  ];
  for (const [url, says] of cases) {
    assert.throws(
      () => readPlace(url, {}),
      (error: Error) => {
        assert.ok(error instanceof BadPlaceError);
        assert.match(error.message, says);
        assert.doesNotMatch(error.message, /geheim/);
        return true;
      },
      url,
    );
  }
});

test('advice fits the error, and an unknown error gets none', () => {
  const refused = (code: string, message: string) => Object.assign(new Error(message), { code, severity: 'FATAL' });
  const cases: readonly (readonly [error: Error, advice: RegExp | null])[] = [
    [refused('28P01', 'password authentication failed for user "u"'), /check the password/],
    [refused('3D000', 'database "d" does not exist'), /create the database/],
    [refused('28000', 'role "u" does not exist'), /check the user/],
    [refused('28000', 'no pg_hba.conf entry for host "h", user "u", database "d", no encryption'), /sslmode=require/],
    [refused('28000', 'no pg_hba.conf entry for host "h", user "u", database "d", SSL encryption'), /^add a line/],
    [refused('42501', 'permission denied for database d'), /grant the role CONNECT/],
    [Object.assign(new Error('expired'), { code: 'CERT_HAS_EXPIRED' }), /renew/],
    [new Error('The server does not support SSL connections'), /turn ssl on/],
    [refused('XX000', 'something else'), null],
  ];
  for (const [error, advice] of cases) {
    const given = adviseOnRefusal(error);
    if (advice === null) assert.equal(given, null);
    else assert.match(given ?? 'none', advice, error.message);
  }
});
