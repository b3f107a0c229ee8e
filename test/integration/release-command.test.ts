import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect, type NatsConnection } from 'nats';
import pg from 'pg';
import { takeCatalogPicture } from '../support/catalog-picture.ts';
import { startNats, type TestNats } from '../support/nats-process.ts';
import { eventually, type ServiceProcess } from '../support/service-process.ts';
import { TestSystem } from '../support/test-system.ts';

/** A whole installation in an application's database and on a company's NATS: it comes, works, and goes without a trace. */
const OWN_TABLE = `
  CREATE TABLE public.parcels (id uuid PRIMARY KEY, value integer NOT NULL, currentworker text, note text)
    WITH (fillfactor = 85, autovacuum_analyze_scale_factor = 0.02);
  COMMENT ON TABLE public.parcels IS 'of the application';
  CREATE INDEX by_note ON public.parcels (note);
  CREATE FUNCTION public.check_note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
  CREATE TRIGGER check_note BEFORE INSERT ON public.parcels FOR EACH ROW EXECUTE FUNCTION public.check_note();
  INSERT INTO public.parcels SELECT gen_random_uuid(), 0, NULL, n::text FROM generate_series(1, 60) n`;

let nats: TestNats;
let connection: NatsConnection;
let system: TestSystem;
let admin: pg.Client;

before(async () => {
  nats = await startNats();
  connection = await connect({ servers: nats.url });
  system = await TestSystem.start({ natsUrl: nats.url, environment: { NATS_PREFIX: '', TABLE: 'public.parcels' } });
  admin = new pg.Client({ connectionString: system.databaseUrl });
  await admin.connect();
  await admin.query(OWN_TABLE);
});
after(async () => {
  await admin.end();
  await system.stop();
  await connection.close();
  await nats.stop();
});

/** The admin's last statement must not look like a service's. */
async function picture(): Promise<readonly string[]> {
  const taken = await takeCatalogPicture(admin);
  await admin.query('SELECT 1');
  return taken;
}

async function streamNames(): Promise<string[]> {
  const names: string[] = [];
  for await (const name of (await connection.jetstreamManager()).streams.names()) names.push(name);
  return names.sort();
}

async function leave(process: ServiceProcess): Promise<void> {
  process.signal('SIGTERM');
  assert.equal(await process.end(), 0, process.tail());
}

test('adopt, work, release: database and NATS are as before, and nothing is removed while a service runs', async () => {
  const manager = await connection.jetstreamManager();
  await manager.streams.add({ name: 'ORDERS', subjects: ['orders.>'] });
  // Of the application as well, under a name that could be ours.
  await manager.streams.add({ name: 'RECOVERY_LOG', subjects: ['recovery.log'] });
  const before = await picture();

  const adopted = await system.cli('adopt', '--slots', '256', '--json');
  assert.deepEqual(adopted.json.at(-1), { table: 'public.parcels', slots: 256, isAdopted: true }, adopted.text);
  const coordinators = ['leads', 'stands-by'].map((id) => system.coordinator(id));
  const workers = ['wa', 'wb'].map((id) => system.worker(id));
  await system.watching(workers, 60);
  await admin.query('INSERT INTO public.parcels SELECT gen_random_uuid(), 0 FROM generate_series(1, 40)');
  await admin.query('DELETE FROM public.parcels WHERE note IS NOT NULL');
  await system.watching(workers, 40);

  const installed = await picture();
  const refused = await system.cli('release');
  assert.equal(refused.code, 1);
  for (const id of ['wa', 'wb', 'the leader', 'leads', 'stands-by']) assert.ok(refused.text.includes(id), refused.text);
  const [plan] = (await system.cli('release', '--dry-run', '--json')).json;
  const { refusal, streams } = plan as { refusal?: string; streams?: { removed: string[] } };
  assert.match(String(refusal), /expected no running service/);
  assert.equal(streams?.removed.length, 5);
  assert.deepEqual(await picture(), installed);

  // A frozen worker that NATS has forgotten is still connected to Postgres.
  const [frozen, other] = workers as [ServiceProcess, ServiceProcess];
  await leave(other);
  frozen.signal('SIGSTOP');
  for (const coordinator of coordinators) await leave(coordinator);
  await eventually('a refusal because of its connections', async () => {
    const { code, text } = await system.cli('release');
    assert.equal(code, 1, text);
    return /no session that uses schema scaler, got pid \d+ \(wa\)/.test(text);
  });
  assert.deepEqual(await picture(), installed);
  await frozen.kill();

  const released = await eventually('the release', async () => {
    const { code, json, text } = await system.cli('release', '--json');
    assert.ok(code === 0 || /no session|no running service/.test(text), text);
    return code === 0 ? json[0]! : null;
  });
  assert.equal(released.refusal, null);
  assert.deepEqual(await picture(), before);
  assert.deepEqual(await streamNames(), ['ORDERS', 'RECOVERY_LOG']);
  const again = await system.cli('release');
  assert.match(again.text, /nothing of Notifi-Scaler is left for public\.parcels/);
  assert.equal(again.code, 0);
});

test('a stream of another application under one of our names is left, and named', async () => {
  await (await connection.jetstreamManager()).streams.add({ name: 'RING', subjects: ['gold.ring'] });
  const { code, text } = await system.cli('release');
  assert.equal(code, 0, text);
  assert.match(text, /left alone: stream RING is not Notifi-Scaler's/);
  assert.deepEqual(await streamNames(), ['ORDERS', 'RECOVERY_LOG', 'RING']);
});

test('a dry run of adopt prints SQL that psql takes, with locks and warnings as comments', async () => {
  const { code, text } = await system.cli('adopt', '--dry-run', '--keep-storage-settings');
  assert.equal(code, 0, text);
  assert.match(text, /^-- public\.parcels would be adopted, with 4096 slots; nothing was changed/);
  assert.match(text, /-- locks the table: SHARE ROW EXCLUSIVE.*\nCREATE OR REPLACE TRIGGER scaler_insert/);
  assert.doesNotMatch(text, /ALTER TABLE "public"\."parcels" SET/);
  assert.equal((await system.cli('adopt', '--slots', '3')).code, 2);
});

test('without NATS only Postgres is released', async () => {
  const args = ['--nats', 'nats://127.0.0.1:1'];
  await system.cli('adopt', ...args);
  assert.match((await system.cli('release', ...args)).text, /NATS at .* does not answer/);
  const { code, text } = await system.cli('release', '--without-nats', ...args);
  assert.equal(code, 0, text);
  assert.match(text, /DROP SCHEMA scaler;/);
});
