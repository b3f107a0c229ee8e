import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { connect, type NatsConnection } from 'nats';
import pg from 'pg';
import type { Order, Snapshot } from '../../shared/ring/snapshot.ts';
import { eventually, type ServiceProcess } from '../support/service-process.ts';
import { TestSystem } from '../support/test-system.ts';

const ROWS = 12;
const SLOTS = 4096;
const LARGEST = Number.MAX_SAFE_INTEGER;
/** No honest epoch or version of these tests comes near it. */
const SMALL = 200;

const FORGERIES: readonly { readonly name: string; readonly order: (now: Order) => Order }[] = [
  { name: 'the largest epoch', order: ({ version }) => ({ epoch: LARGEST, version: version + 1 }) },
  { name: 'the largest epoch and version', order: () => ({ epoch: LARGEST, version: LARGEST }) },
  { name: 'the largest version in the current epoch', order: ({ epoch }) => ({ epoch, version: LARGEST }) },
  {
    name: 'the next epoch, not issued yet',
    order: ({ epoch, version }) => ({ epoch: epoch + 1, version: version + 1 }),
  },
];

/** Another NATS client publishes to `ring.snapshot`: the stream stores it, and every subscriber hears it. */
class Forger {
  readonly #system: TestSystem;
  readonly #nats: NatsConnection;
  readonly #postgres: pg.Client;

  private constructor(system: TestSystem, nats: NatsConnection, postgres: pg.Client) {
    this.#system = system;
    this.#nats = nats;
    this.#postgres = postgres;
  }

  static async start(system: TestSystem): Promise<Forger> {
    const postgres = new pg.Client({ connectionString: system.databaseUrl });
    const [nats] = await Promise.all([connect({ servers: system.natsUrl }), postgres.connect()]);
    return new Forger(system, nats, postgres);
  }

  async stop(): Promise<void> {
    await Promise.all([this.#nats.close(), this.#postgres.end()]);
  }

  async publish(order: Order, workers: readonly string[] = ['stranger']): Promise<number> {
    const share = Math.floor(SLOTS / workers.length);
    const shares = workers.map((id, index) => {
      const last = index === workers.length - 1 ? SLOTS - 1 : (index + 1) * share - 1;
      return { id, rows: 0, slots: `${index * share}-${last}` };
    });
    const snapshot = {
      ...order,
      at: '2026-11-23T10:00:00.000Z',
      cause: { kind: 'operator' },
      slots: SLOTS,
      rows: 0,
      moved: { slots: 0, rows: 0, minimumRows: 0 },
      workers: shares,
    };
    const subject = `${this.#system.prefix}.ring.snapshot`;
    return (await this.#nats.jetstream().publish(subject, JSON.stringify(snapshot))).seq;
  }

  async newest(): Promise<Snapshot> {
    const manager = await this.#nats.jetstreamManager();
    const message = await manager.streams.getMessage(`${this.#system.prefix}_RING`, {
      last_by_subj: `${this.#system.prefix}.ring.snapshot`,
    });
    return message.json<Snapshot>();
  }

  async ask<Row extends pg.QueryResultRow>(text: string): Promise<Row> {
    return (await this.#postgres.query<Row>(text)).rows[0]!;
  }

  /** The largest epoch and version anywhere in Postgres, as text: they may be beyond what a number holds. */
  async assertPostgresIsClean(): Promise<void> {
    const found = await this.ask<{ epoch: string; version: string; issued: string }>(
      `SELECT max(s.epoch)::text AS epoch, max(s.version)::text AS version,
        (SELECT greatest(a.epoch, q.last_value) FROM scaler.adoption a, scaler.epoch q)::text AS issued FROM scaler.slot s`,
    );
    for (const [column, value] of Object.entries(found)) {
      assert.ok(BigInt(value) < SMALL, `${column} in Postgres is ${value}`);
    }
    assert.ok(BigInt(found.epoch) <= BigInt(found.issued), `epoch ${found.epoch} was never issued`);
  }
}

for (const { name, order } of FORGERIES) {
  describe(`a forged snapshot with ${name}`, { timeout: 120_000 }, () => {
    let system: TestSystem;
    let forger: Forger;
    let coordinator: ServiceProcess;
    const workers: ServiceProcess[] = [];
    let forged: Order;
    let sequence: number;

    before(async () => {
      system = await TestSystem.start();
      coordinator = system.coordinator('coordinator-1');
      await coordinator.waitFor('leading', ({ msg }) => msg === 'leading');
      workers.push(system.worker('worker-1'), system.worker('worker-2'));
      await eventually(`${ROWS} rows`, async () => (await system.cli('rows', 'add', `${ROWS}`)).code === 0);
      await system.watching(workers, ROWS);
      forger = await Forger.start(system);
      forged = order(await forger.newest());
      sequence = await forger.publish(forged);
    });

    after(async () => {
      await forger?.stop();
      await system?.stop();
      workers.length = 0;
    });

    test('is rejected by every worker, logged once, and counted', async () => {
      const subject = `${system.prefix}.ring.snapshot`;
      for (const worker of workers) {
        const line = await worker.waitFor('the rejection', ({ msg }) => msg === 'snapshot rejected');
        const { epoch, version } = line;
        assert.deepEqual({ subject: line.subject, epoch, version }, { subject, ...forged });
      }
    });

    test('is replaced in the stream by the ring in force, and nobody steps down', async () => {
      const newest = await eventually('the ring in force', async () => {
        const snapshot = await forger.newest();
        return snapshot.workers.some(({ id }) => id === 'stranger') ? null : snapshot;
      });
      assert.deepEqual(
        newest.workers.map(({ id }) => id),
        ['worker-1', 'worker-2'],
      );
      const line = await coordinator.waitFor('its rejection', ({ msg }) => msg === 'snapshot rejected');
      assert.deepEqual([line.epoch, line.version, line.sequence], [forged.epoch, forged.version, sequence]);
      assert.equal(coordinator.lines.find(({ msg }) => msg === 'stepped down')?.reason, undefined);
    });

    test('does not keep a worker that joins afterwards from its share', async () => {
      workers.push(system.worker('worker-3'));
      await system.watching(workers, ROWS);
      await forger.assertPostgresIsClean();
    });

    test('as the newest in the stream does not keep a coordinator from leading, nor the ring from going on', async () => {
      await coordinator.kill();
      await forger.publish(order(await forger.newest()));
      coordinator = system.coordinator('coordinator-2');
      await coordinator.waitFor('leading', ({ msg }) => msg === 'leading');
      workers.push(system.worker('worker-4'));
      await system.watching(workers, ROWS);
      const audit = await system.cli('audit', '--seconds', '3', '--json');
      assert.deepEqual([audit.code, audit.json[0]?.unowned], [0, 0], audit.text);
      await forger.assertPostgresIsClean();
    });
  });
}
