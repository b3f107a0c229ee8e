import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeAnnouncement, makeAnnouncement } from '../../services/local/announcement.ts';
import { type LocalOptions, localProgram } from '../../services/local/options.ts';
import { listCoordinators, listWorkers } from '../../services/local/services.ts';
import { parseOptions } from '../../shared/options/program.ts';

async function read(args: string[], environment: Record<string, string> = {}): Promise<LocalOptions> {
  const result = await parseOptions(localProgram, { args, environment });
  if (result.kind !== 'values') throw new Error(JSON.stringify(result));
  return result.values;
}

async function refuse(args: string[]): Promise<string> {
  const result = await parseOptions(localProgram, { args, environment: {} });
  if (result.kind !== 'refused') throw new Error(JSON.stringify(result));
  return result.text;
}

test('npm start without options runs three workers and a coordinator on the usual ports, for thirty rows', async () => {
  const { workers, coordinators, rows, natsPort, postgresPort, httpPort, data, restart } = await read([]);
  assert.deepEqual({ workers, coordinators, rows }, { workers: 3, coordinators: 1, rows: 30 });
  assert.deepEqual({ natsPort, postgresPort, httpPort }, { natsPort: 4222, postgresPort: 5432, httpPort: 8080 });
  assert.deepEqual({ data, restart }, { data: undefined, restart: false });
});

test('the variables that Kubernetes and Docker set for services called nats and postgres are not taken for ports', async () => {
  const environment = { NATS_PORT: 'tcp://10.0.0.1:4222', POSTGRES_PORT: 'tcp://10.0.0.2:5432' };
  assert.equal((await read([], environment)).natsPort, 4222);
});

test('every example of --help is a command line that is accepted', async () => {
  for (const [command] of localProgram.examples) {
    await read(
      command
        .split(' ')
        .slice(2)
        .filter((word) => word !== '--'),
    );
  }
});

test('one port for two servers is refused, but any free one may be asked for by all', async () => {
  assert.match(await refuse(['--nats-port', '5432']), /expected different ports, got 5432 more than once/);
  await read(['--nats-port', '0', '--postgres-port', '0', '--http-port', '0']);
});

const ADDRESSES = {
  nats: 'nats://127.0.0.1:4222',
  postgres: 'postgres://postgres@127.0.0.1:5432/postgres',
  http: 'http://127.0.0.1:8080',
};

test('commands for another terminal are short where all is as usual', async () => {
  const announcement = makeAnnouncement(await read(['--workers', '5']), ADDRESSES);
  assert.equal(announcement.worker, 'npm run worker -- --worker-id worker-6 --http-port 0');
  const text = describeAnnouncement(announcement);
  for (const address of Object.values(ADDRESSES)) assert.ok(text.includes(address), text);
});

test('commands for another terminal carry what is not as usual, safe for a shell', async () => {
  const options = await read(['--table', "public.it's", '--worker-column', 'who']);
  const addresses = {
    nats: 'nats://127.0.0.1:1',
    postgres: 'postgres://postgres@127.0.0.1:2/postgres',
    http: 'http://127.0.0.1:3',
  };
  const { worker, cli } = makeAnnouncement(options, addresses);
  const servers = `NATS_URL=nats://127.0.0.1:1 DATABASE_URL=postgres://postgres@127.0.0.1:2/postgres TABLE='public.it'\\''s' WORKER_COLUMN=who`;
  assert.equal(worker, `${servers} npm run worker -- --worker-id worker-4 --http-port 0`);
  assert.equal(cli, `${servers} npx notifi-scaler ring show`);
});

test('services get the servers started here, and nothing of others that the environment names', async (t) => {
  const foreign = { NATS_PASSWORD: 'x', NATS_CREDS: '/x', PGHOST: 'elsewhere', DATABASE_URL: 'postgres://elsewhere/x' };
  for (const [name, value] of Object.entries({ ...foreign, NATS_PREFIX: 'blue', LOG_FORMAT: 'pretty' })) {
    const before = process.env[name];
    process.env[name] = value;
    t.after(() => {
      if (before === undefined) delete process.env[name];
      else process.env[name] = before;
    });
  }
  const around = {
    options: await read(['--workers', '2', '--coordinators', '2', '--log-level', 'warn']),
    natsUrl: ADDRESSES.nats,
    systemUrl: 'nats://system:p@127.0.0.1:4222',
    databaseUrl: ADDRESSES.postgres,
    httpPort: 8080,
  };
  const [worker, second] = listWorkers(around);
  assert.deepEqual([worker?.name, second?.name], ['worker-1', 'worker-2']);
  const { environment } = worker!;
  assert.equal(environment.WORKER_ID, 'worker-1');
  assert.equal(environment.NATS_URL, ADDRESSES.nats);
  assert.equal(environment.DATABASE_URL, ADDRESSES.postgres);
  assert.equal(environment.NATS_PREFIX, 'blue', 'what is not about other servers is passed on');
  assert.deepEqual([environment.HTTP_PORT, environment.LOG_LEVEL, environment.LOG_FORMAT], ['0', 'warn', 'json']);
  for (const name of ['NATS_PASSWORD', 'NATS_CREDS', 'PGHOST', 'NATS_SYSTEM_URL']) {
    assert.equal(environment[name], undefined, name);
  }
  const coordinators = listCoordinators(around).map((each) => each.environment);
  assert.deepEqual(
    coordinators.map((each) => each.HTTP_PORT),
    ['8080', '0'],
  );
  assert.deepEqual(
    coordinators.map((each) => each.COORDINATOR_ID),
    ['coordinator-1', 'coordinator-2'],
  );
  assert.equal(coordinators[0]?.NATS_SYSTEM_URL, around.systemUrl);
});
