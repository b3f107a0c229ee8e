import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { httpOptions, identity, leaseContradictions, leaseOptions, logOptions } from '../../shared/options/common.ts';
import { natsContradictions, natsOptions, toNatsConnection } from '../../shared/options/nats.ts';
import { hideCredentials, type OptionTable, toggle } from '../../shared/options/options.ts';
import { postgresOptions, toPostgresConnection } from '../../shared/options/postgres.ts';
import { type Program, parseOptions } from '../../shared/options/program.ts';
import { nearestWord } from '../../shared/options/suggestion.ts';
import { tableOptions } from '../../shared/options/table.ts';

const table = {
  ...natsOptions,
  ...postgresOptions,
  ...tableOptions,
  ...httpOptions,
  ...logOptions,
  ...leaseOptions,
  workerId: identity({
    flag: 'worker-id',
    variable: 'WORKER_ID',
    describe: 'name of this worker',
    check: (id) => (/^[a-z0-9-]+$/i.test(id) ? null : `the id ${id} has strange letters: use plain ones`),
  }),
  restart: toggle({ flag: 'restart', variable: 'RESTART', describe: 'again' }),
};

const program: Program<typeof table> = {
  command: 'npm run worker --',
  purpose: 'Does its work.',
  options: table,
  contradictions: [...natsContradictions, ...leaseContradictions],
  examples: [['npm run worker -- --worker-id a', 'one called a']],
};

const USER = { USER: 'ada', POD_NAME: 'pod-1' };

function parse(args: string[], environment: Record<string, string> = {}) {
  return parseOptions(program, { args, environment: { ...USER, ...environment } });
}

async function accept(args: string[], environment: Record<string, string> = {}) {
  const result = await parse(args, environment);
  assert.equal(result.kind, 'values', JSON.stringify(result));
  if (result.kind !== 'values') throw new Error('unreachable');
  return result.values;
}

/** The problems of a refused command line, without the heading and the pointer to --help. */
async function refuse(args: string[], environment: Record<string, string> = {}): Promise<string[]> {
  const result = await parse(args, environment);
  assert.equal(result.kind, 'refused', JSON.stringify(result));
  if (result.kind !== 'refused') throw new Error('unreachable');
  return result.text.split('\n').slice(1, -2);
}

test('without flags and variables the defaults count', async () => {
  const values = await accept([]);
  assert.deepEqual(values, {
    nats: { servers: ['nats://127.0.0.1:4222'] },
    natsUser: undefined,
    natsPassword: undefined,
    natsCreds: undefined,
    natsCa: undefined,
    natsCert: undefined,
    natsKey: undefined,
    natsPrefix: '',
    database: 'postgres://127.0.0.1:5432/postgres',
    table: 'public.work_items',
    idColumn: 'id',
    valueColumn: 'value',
    workerColumn: 'currentworker',
    httpPort: 8080,
    logLevel: 'info',
    leaseTtlMs: 2000,
    heartbeatMs: 500,
    workerId: 'pod-1',
    restart: false,
  });
});

test('a flag counts before its variable, the variable before the default, and an empty variable is none', async () => {
  assert.equal((await accept(['--http-port', '1'], { HTTP_PORT: '2' })).httpPort, 1);
  assert.equal((await accept([], { HTTP_PORT: '2' })).httpPort, 2);
  assert.equal((await accept([], { HTTP_PORT: '' })).httpPort, 8080);
});

test('a right flag hides a wrong variable', async () => {
  assert.equal((await accept(['--http-port', '1'], { HTTP_PORT: 'x' })).httpPort, 1);
});

test('every problem is reported at once, each with what was expected, what came and what to do', async () => {
  const problems = await refuse(['--heartbeat-ms', 'soon', '--htpp-port', '1', 'word'], {
    HTTP_PORT: '70000',
    LOG_LEVEL: 'loud',
    WORKER_ID: 'a.b',
  });
  assert.deepEqual(problems, [
    '  --htpp-port: no such option. Did you mean --http-port?',
    '  "word": expected only options, got this word. Leave it out.',
    '  --http-port: expected a whole number from 0 to 65535, got "70000" (from HTTP_PORT). Set HTTP_PORT to another value, or unset it for the default, 8080.',
    '  --log-level: expected one of trace, debug, info, warn, error, fatal, silent, got "loud" (from LOG_LEVEL). Set LOG_LEVEL to another value, or unset it for the default, info.',
    '  --heartbeat-ms: expected a whole number from 10 to 3600000, got "soon". Give another value, or leave --heartbeat-ms out for the default, 500.',
    '  --worker-id (from WORKER_ID): the id a.b has strange letters: use plain ones',
  ]);
});

test('a flag given twice, without its value or with an empty one is refused', async () => {
  assert.match((await refuse(['--http-port', '1', '--http-port', '2']))[0]!, /expected once, got 2 times/);
  assert.match((await refuse(['--http-port']))[0]!, /expected a value, got none/);
  assert.match((await refuse(['--http-port', '--log-level', 'debug']))[0]!, /--http-port: expected a value, got none/);
  assert.match((await refuse(['--table', '']))[0]!, /--table: expected a value, got none/);
});

test('numbers are taken only as whole decimal numbers within their bounds', async () => {
  for (const given of ['1e3', '0x10', '8080.0', ' 8080', '+1', '-1', '65536', '9'.repeat(30)]) {
    assert.equal((await refuse([`--http-port=${given}`])).length, 1, given);
  }
});

test('whatever is typed, the answer is a value within bounds or a refusal, never an exception', async () => {
  await fc.assert(
    fc.asyncProperty(fc.string(), fc.string(), fc.webUrl(), async (port, nats, database) => {
      const args = [`--http-port=${port}`, `--nats=${nats}`, `--database=${database}`];
      const result = await parse(args);
      if (result.kind === 'values') assert.ok(result.values.httpPort >= 0 && result.values.httpPort <= 65_535);
      else assert.equal(result.kind, 'refused');
    }),
    { numRuns: 50 },
  );
});

test('a switch is on with the bare flag, and off or on where it is said', async () => {
  assert.equal((await accept(['--restart'])).restart, true);
  assert.equal((await accept(['--restart=false'], { RESTART: 'true' })).restart, false);
  assert.equal((await accept([], { RESTART: '1' })).restart, true);
  assert.match((await refuse(['--restart=maybe']))[0]!, /expected true or false, got "maybe"/);
});

test('passwords never come back in a message', async () => {
  const environment = { DATABASE_URL: 'postgres//ada:geheim@host/db' };
  const args = ['--nats', 'http://ada:geheim@a,nats://bob:geheim@b', '--nats-password', ''];
  const text = (await refuse(args, environment)).join('\n');
  assert.doesNotMatch(text, /geheim/);
  assert.match(text, /--nats-password: expected a value, got none/);
  assert.equal(hideCredentials('postgres://ada:p@ss/w@host:5432/db'), 'postgres://***@host:5432/db');
});

test('a password may be any text, a blank too', async () => {
  for (const password of [' ', ' a b ', '$HOME', '"', '0123', 'true', '4e2', '--']) {
    const environment = { NATS_USER: 'u', NATS_PASSWORD: password };
    assert.equal((await accept([], environment)).natsPassword, password);
    assert.equal((await accept(['--nats-user', 'u', `--nats-password=${password}`])).natsPassword, password);
  }
});

test('the PG variables say where the database is, unless a URL does', async () => {
  assert.deepEqual(toPostgresConnection(await accept([], { PGHOST: 'db' })), {});
  assert.equal((await accept([], { PGHOST: 'db', DATABASE_URL: 'postgres://x/y' })).database, 'postgres://x/y');
  assert.equal((await accept(['--database', 'postgres://x/y'], { PGPORT: '1' })).database, 'postgres://x/y');
  const withPassword = await accept([], { PGPASSWORD: 'p' });
  assert.equal(withPassword.database, 'postgres://127.0.0.1:5432/postgres', 'a password alone names no place');
  assert.deepEqual(toPostgresConnection(withPassword), { connectionString: withPassword.database });
});

test('where the environment names no user, the default database URL does', async () => {
  const { database } = await accept([], { USER: '' });
  assert.match(database!, /^postgres:\/\/[^@]+@127\.0\.0\.1:5432\/postgres$/);
});

test('NATS servers come by comma, with the port and scheme filled in and the credentials taken out', async () => {
  const cases = [
    ['a', { servers: ['nats://a:4222'] }],
    ['nats://a, tls://b:5222', { servers: ['nats://a:4222', 'tls://b:5222'] }],
    ['nats://[::1]:4333', { servers: ['nats://[::1]:4333'] }],
    [
      'nats://ada:p%40ss@a,nats://ada:p%40ss@b',
      { servers: ['nats://a:4222', 'nats://b:4222'], user: 'ada', password: 'p@ss' },
    ],
    ['nats://s3cret@a', { servers: ['nats://a:4222'], token: 's3cret' }],
  ] as const;
  for (const [given, expected] of cases) {
    const values = await accept(['--nats', given]);
    assert.deepEqual(values.nats, expected, given);
    assert.deepEqual(toNatsConnection(values), { ...expected, prefix: '' }, given);
  }
});

test('addresses that are no NATS servers are refused', async () => {
  for (const given of [
    'http://a',
    'a,,b',
    'nats://a/path',
    'nats://a?x=1',
    'nats://',
    'nats://x@a,nats://y@b',
    'a:port',
  ]) {
    assert.match((await refuse(['--nats', given]))[0]!, /--nats: expected servers such as/, given);
  }
});

test('what NATS is connected with holds only what was given', async () => {
  const args = ['--nats-user', 'ada', '--nats-password', 'p', '--nats-ca', 'package.json', '--nats-prefix', 'blue'];
  assert.deepEqual(toNatsConnection(await accept(args)), {
    servers: ['nats://127.0.0.1:4222'],
    prefix: 'blue',
    user: 'ada',
    password: 'p',
    caFile: 'package.json',
  });
});

test('a prefix has lowercase letters, digits and dashes only', async () => {
  assert.equal((await accept(['--nats-prefix', 'blue-2'])).natsPrefix, 'blue-2');
  for (const given of ['Blue', 'a.b', 'a b', 'a_b']) assert.equal((await refuse(['--nats-prefix', given])).length, 1);
});

test('options that contradict each other are refused', async () => {
  const cases: [string[], RegExp][] = [
    [
      ['--nats-cert', 'package.json'],
      /--nats-cert and --nats-key: expected both or neither, got only --nats-cert\. Give/,
    ],
    [['--nats-key', 'package.json'], /got only --nats-key/],
    [['--nats-user', 'ada'], /--nats-user and --nats-password: expected both or neither/],
    [['--nats', 'nats://t@a', '--nats-creds', 'package.json'], /the user in --nats and --nats-creds: expected one way/],
    [['--heartbeat-ms', '1000'], /--heartbeat-ms 1000: expected less than half of --lease-ttl-ms 2000, because/],
    [
      ['--lease-ttl-ms', '900'],
      /--heartbeat-ms 500: expected less than half of --lease-ttl-ms 900.*Give --heartbeat-ms 225/,
    ],
    [['--lease-ttl-ms', '299'], /expected a whole number from 300.*NATS expires keys/],
  ];
  for (const [args, expected] of cases) {
    const problems = await refuse(args);
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.match(problems[0]!, expected);
  }
});

test('a contradiction is not reported of an option that is wrong by itself', async () => {
  const problems = await refuse(['--nats-cert', 'package.json', '--nats-key', 'no/such/file']);
  assert.deepEqual(problems, [
    '  --nats-key: expected a file that can be read (ENOENT), got "no/such/file". Give another value, or leave --nats-key out.',
  ]);
});

test('--help names each flag, its variable and its default, and gives examples', async () => {
  for (const flag of ['--help', '-h']) {
    const result = await parse([flag, '--http-port', 'nonsense']);
    assert.equal(result.kind, 'help');
    if (result.kind !== 'help') return;
    const text = result.text.replace(/\s+/g, ' ');
    for (const { flag, variable, default: preset } of Object.values(table as OptionTable)) {
      assert.ok(text.includes(`--${flag} `), flag);
      assert.ok(text.includes(`[${variable}]`), variable);
      if (typeof preset === 'string' && preset !== '' && preset !== 'false') {
        assert.ok(text.includes(`[default: ${preset}]`), `${flag}: ${preset}`);
      }
    }
    assert.ok(text.includes('npm run worker -- --worker-id a one called a'), text);
  }
});

test('the words nearest to a misspelt one are suggested, and far ones are not', () => {
  const known = ['http-port', 'log-level', 'worker-id', 'nats'];
  assert.equal(nearestWord('htpp-port', known), 'http-port');
  assert.equal(nearestWord('port', known), 'http-port');
  assert.equal(nearestWord('loglevel', known), 'log-level');
  assert.equal(nearestWord('workerId', known), 'worker-id');
  assert.equal(nearestWord('x', known), null);
  assert.equal(nearestWord('verbose', known), null);
});
