import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import pg from 'pg';
import { encodeLiveness } from '../../shared/nats/liveness.ts';
import { encodeApplied } from '../../shared/nats/ring-applied.ts';
import { closeTestLinks, makeLiveness, openTestLink } from '../support/nats-link.ts';
import { freshPrefix } from '../support/nats-server.ts';
import { eventually, type ServiceProcess } from '../support/service-process.ts';
import { TestSystem } from '../support/test-system.ts';

const ROWS = 12;
const FOREIGN = '1/elsewhere/public.work_items';

interface Installation {
  readonly system: TestSystem;
  readonly workers: readonly ServiceProcess[];
  readonly coordinator: ServiceProcess;
}

async function install(name: string, prefix: string): Promise<Installation> {
  const system = await TestSystem.start({ environment: { NATS_PREFIX: prefix } });
  const coordinator = system.coordinator(`${name}-coordinator`);
  await coordinator.waitFor('leading', ({ msg }) => msg === 'leading');
  const workers = [system.worker(`${name}-1`), system.worker(`${name}-2`)];
  await eventually(`${ROWS} rows`, async () => (await system.cli('rows', 'add', `${ROWS}`)).code === 0);
  await system.watching(workers, ROWS);
  return { system, coordinator, workers };
}

async function query<Row extends pg.QueryResultRow>({ databaseUrl }: TestSystem, text: string): Promise<Row> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    return (await client.query<Row>(text)).rows[0]!;
  } finally {
    await client.end();
  }
}

async function identityOf(system: TestSystem): Promise<string> {
  return (await query<{ installation: string }>(system, 'SELECT installation FROM scaler.adoption')).installation;
}

async function assertTicks({ system }: Installation): Promise<void> {
  const audit = await system.cli('audit', '--seconds', '3', '--json');
  const { unowned, double, missed } = audit.json[0] ?? {};
  assert.deepEqual([unowned, double, missed], [0, 0, 0], audit.text);
}

async function metricsOf(service: ServiceProcess): Promise<string> {
  const { port } = await service.waitFor('its port', ({ msg }) => /^serving/.test(msg ?? ''));
  return (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
}

const refusalOf = async (service: ServiceProcess) => {
  assert.equal(await service.end(), 1, service.tail());
  return String(service.lines.at(-1)?.reason);
};

describe('two databases on one NATS', { timeout: 200_000 }, () => {
  const prefix = freshPrefix();
  let production: Installation;
  let staging: TestSystem;

  before(async () => {
    production = await install('production', prefix);
    staging = await TestSystem.start({ environment: { NATS_PREFIX: prefix } });
  });

  after(async () => {
    await production?.system.stop();
    await staging?.stop();
  });

  afterEach(closeTestLinks);

  test("the second one's coordinator exits with 1, names both and a prefix, and leaves its database as it was", async () => {
    const reason = await refusalOf(staging.coordinator('staging-coordinator'));
    assert.match(reason, new RegExp(`installation ${await identityOf(production.system)} lives there`));
    assert.match(reason, new RegExp(`--nats-prefix ${prefix}-2 \\(NATS_PREFIX\\)`));
    const { found } = await query<{ found: string | null }>(staging, "SELECT to_regnamespace('scaler')::text AS found");
    assert.equal(found, null);
    await assertTicks(production);
  });

  test('with a prefix of its own the second one ticks its rows, and the first one misses none', async () => {
    const other = await install('staging', freshPrefix());
    try {
      await Promise.all([assertTicks(other), assertTicks(production)]);
    } finally {
      await other.system.stop();
    }
  });

  test('a worker of an adopted database is refused too, also under an id of the first one', async () => {
    const coordinator = staging.coordinator('staging-coordinator', [], { NATS_PREFIX: freshPrefix() });
    await coordinator.waitFor('leading', ({ msg }) => msg === 'leading');
    await coordinator.kill();
    await query(staging, `UPDATE scaler.adoption SET nats_prefix = '${prefix}'`);
    for (const id of ['staging-1', 'production-1']) {
      const reason = await refusalOf(staging.worker(id));
      for (const system of [staging, production.system]) assert.ok(reason.includes(await identityOf(system)), reason);
    }
    await assertTicks(production);
  });

  test('messages of another installation are rejected, counted, and reported once', async () => {
    const { url } = { url: production.system.natsUrl };
    const { connection } = await openTestLink({ url, prefix });
    const { coordinator, workers } = production;
    const from = [coordinator, ...workers].map(({ lines }) => lines.length);
    const stranger = { ...makeLiveness('stranger'), installation: FOREIGN };
    const applied = { worker: 'stranger', epoch: 0, version: 0, claimedMs: 0, firstTickMs: null, slots: 0, rows: 0 };
    const snapshot = await newestSnapshot(connection, prefix);
    for (let time = 0; time < 3; time += 1) {
      connection.publish(`$KV.${prefix}_workers.stranger`, encodeLiveness(stranger));
      connection.publish(`${prefix}.ring.applied`, encodeApplied({ ...applied, missed: 5, installation: FOREIGN }));
      const forged = { ...snapshot, version: snapshot.version + 1, installation: FOREIGN };
      connection.publish(`${prefix}.ring.snapshot`, JSON.stringify(forged));
    }
    await eventually('the counts', async () => {
      const counts = await metricsOf(coordinator);
      return ['liveness', 'applied', 'snapshot'].every((kind) =>
        new RegExp(`^notifi_scaler_coordinator_foreign_messages_total{kind="${kind}"} [3-9]`, 'm').test(counts),
      );
    });
    for (const worker of workers) {
      assert.match(await metricsOf(worker), /^notifi_scaler_worker_foreign_messages_total{kind="snapshot"} [3-9]/m);
    }
    for (const [index, service] of [coordinator, ...workers].entries()) {
      const reports = service.lines.slice(from[index]).filter(({ msg }) => /another installation/.test(msg ?? ''));
      assert.deepEqual([reports.length, reports[0]?.foreign], [1, FOREIGN], service.tail());
      assert.equal(reports[0]?.own, await identityOf(production.system));
    }
    const ring = await newestSnapshot(connection, prefix);
    assert.deepEqual(ring.workers.map(({ id }) => id).sort(), ['production-1', 'production-2']);
    await assertTicks(production);
  });

  test('every message carries the identity of the database', async () => {
    const { connection } = await openTestLink({ url: production.system.natsUrl, prefix });
    const identity = await identityOf(production.system);
    const manager = await connection.jetstreamManager();
    const stored = [
      [`KV_${prefix}_coordinators`, `$KV.${prefix}_coordinators.leader`],
      [`KV_${prefix}_workers`, `$KV.${prefix}_workers.production-1`],
      [`${prefix}_RING`, `${prefix}.ring.snapshot`],
    ] as const;
    const messages: { readonly installation?: string }[] = [];
    for (const [stream, subject] of stored) {
      messages.push((await manager.streams.getMessage(stream, { last_by_subj: subject })).json());
    }
    for (const probed of ['worker.production-1', 'coordinator.production-coordinator']) {
      messages.push((await connection.request(`${prefix}.${probed}.probe`)).json());
    }
    const heard = connection.subscribe(`${prefix}.ring.applied`, { max: 1 });
    production.system.worker('production-3');
    for await (const message of heard) messages.push(message.json());
    assert.deepEqual(
      messages.map(({ installation }) => installation),
      messages.map(() => identity),
    );
    const { system_identifier } = await query<{ system_identifier: string }>(
      production.system,
      'SELECT system_identifier::text FROM pg_control_system()',
    );
    assert.ok(identity.startsWith(`${system_identifier}/`), identity);
    assert.ok(identity.endsWith('/public.work_items'), identity);
  });
});

async function newestSnapshot(connection: Awaited<ReturnType<typeof openTestLink>>['connection'], prefix: string) {
  const manager = await connection.jetstreamManager();
  const message = await manager.streams.getMessage(`${prefix}_RING`, { last_by_subj: `${prefix}.ring.snapshot` });
  return message.json<{ readonly version: number; readonly workers: readonly { readonly id: string }[] }>();
}

describe('one database', { timeout: 200_000 }, () => {
  let first: Installation;
  const prefix = freshPrefix();

  before(async () => {
    first = await install('first', prefix);
  });

  after(() => first?.system.stop());

  test('refuses services with another prefix than it was adopted with, and names the remedy', async () => {
    const { system } = first;
    const other = { NATS_PREFIX: 'another' };
    for (const service of [system.coordinator('second', [], other), system.worker('second-1', [], other)]) {
      const reason = await refusalOf(service);
      assert.ok(reason.includes(`expected NATS prefix "${prefix}"`), reason);
      assert.ok(reason.includes(`give --nats-prefix ${prefix}`), reason);
      assert.ok(reason.includes(`UPDATE scaler.adoption SET nats_prefix = 'another'`), reason);
    }
    assert.equal(first.coordinator.lines.filter(({ msg }) => msg === 'stepped down').length, 0);
    await assertTicks(first);
  });

  test('that is copied gets an identity of its own, and waits for it', async () => {
    const { system } = first;
    const original = await identityOf(system);
    const url = new URL(system.databaseUrl);
    const copy = `${url.pathname.slice(1)}_copy`;
    await Promise.all([...first.workers, first.coordinator].map((process) => process.kill()));
    const admin = new pg.Client({ connectionString: Object.assign(new URL(url), { pathname: '/postgres' }).href });
    await admin.connect();
    try {
      await admin.query(`CREATE DATABASE "${copy}" TEMPLATE "${url.pathname.slice(1)}"`);
      const environment = { DATABASE_URL: Object.assign(new URL(url), { pathname: `/${copy}` }).href };
      const worker = system.worker('copied-1', [], environment);
      await worker.waitFor('its wait', ({ msg }) => /identity of its own/.test(msg ?? ''));
      const coordinator = system.coordinator('copied', [], environment);
      const changed = await coordinator.waitFor('its identity', ({ msg }) => /got a new identity/.test(msg ?? ''));
      assert.deepEqual([changed.from, changed.to], [original, original.replace(url.pathname, `/${copy}`)]);
      await system.watching([worker], ROWS);
      await Promise.all([worker.kill(), coordinator.kill()]);
    } finally {
      await admin.query(`DROP DATABASE IF EXISTS "${copy}" WITH (FORCE)`);
      await admin.end();
    }
  });
});
