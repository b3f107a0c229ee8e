import { connect, type NatsConnection } from 'nats';
import pg from 'pg';
import type { Order, Snapshot } from '../../shared/ring/snapshot.ts';
import type { TestSystem } from './test-system.ts';

const SLOTS = 4096;

/** Another client of the same NATS, that publishes to `ring.snapshot`; and a look into Postgres from outside. */
export class Forger {
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

  get subject(): string {
    return `${this.#system.prefix}.ring.snapshot`;
  }

  /** A valid snapshot that gives all slots to a worker; the stream stores it. @returns its sequence. */
  async publish({ epoch, version }: Order, worker = 'stranger'): Promise<number> {
    const snapshot = {
      version,
      epoch,
      at: '2026-11-23T10:00:00.000Z',
      cause: { kind: 'operator' },
      slots: SLOTS,
      rows: 0,
      moved: { slots: 0, rows: 0, minimumRows: 0 },
      workers: [{ id: worker, rows: 0, slots: `0-${SLOTS - 1}` }],
    };
    return (await this.#nats.jetstream().publish(this.subject, JSON.stringify(snapshot))).seq;
  }

  /** The stream's newest message. */
  async newest(): Promise<Snapshot> {
    const manager = await this.#nats.jetstreamManager();
    const query = { last_by_subj: this.subject };
    return (await manager.streams.getMessage(`${this.#system.prefix}_RING`, query)).json<Snapshot>();
  }

  async run(text: string): Promise<void> {
    await this.#postgres.query(text);
  }

  /** The first row of a query. */
  async ask<Row extends pg.QueryResultRow>(text: string): Promise<Row> {
    return (await this.#postgres.query<Row>(text)).rows[0]!;
  }
}
