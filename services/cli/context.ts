import { type Logger, pino } from 'pino';
import { connectNats, type NatsLink } from '../../shared/nats/connection.ts';
import { natsContradictions, natsOptions, toNatsConnection } from '../../shared/options/nats.ts';
import type { Values } from '../../shared/options/options.ts';
import { postgresOptions, toPostgresConnection } from '../../shared/options/postgres.ts';
import { tableOptions } from '../../shared/options/table.ts';
import { type Adoption, readAdoption } from '../../shared/postgres/adoption.ts';
import { connectPostgres, type PostgresLink } from '../../shared/postgres/connection.ts';
import { describeTable, parseTableNames, type TableNames } from '../../shared/postgres/table.ts';
import type { Output } from './output.ts';

/** Where the system is. Every command takes these. */
export const placeOptions = { ...natsOptions, ...postgresOptions, ...tableOptions };
export const placeContradictions = natsContradictions;
export type PlaceValues = Values<typeof placeOptions>;

/** What a command could not do, in words for the person who asked; exit code 1. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
}

export interface Table {
  readonly postgres: PostgresLink;
  readonly table: TableNames;
}

export interface Adopted extends Table {
  readonly adoption: Adoption;
}

/** A command waits this long for a server, then says so. */
const PATIENCE_MS = 5_000;
const NAME = 'notifi-scaler';

/** Connects on first use, so that a command needs only the servers it asks. */
export class CommandContext {
  readonly output: Output;
  readonly #place: PlaceValues;
  readonly #closers: (() => Promise<void>)[] = [];
  #nats: Promise<NatsLink> | null = null;
  #table: Promise<Table> | null = null;
  #adopted: Promise<Adopted> | null = null;

  constructor(place: PlaceValues, output: Output) {
    this.#place = place;
    this.output = output;
  }

  nats(): Promise<NatsLink> {
    this.#nats ??= this.#connectNats();
    return this.#nats;
  }

  /** Adopted or not. */
  table(): Promise<Table> {
    this.#table ??= this.#connectTable();
    return this.#table;
  }

  /** @throws CommandError when no coordinator has adopted the table yet. */
  adopted(): Promise<Adopted> {
    this.#adopted ??= this.#connectAdopted();
    return this.#adopted;
  }

  async close(): Promise<void> {
    for (const close of this.#closers.splice(0).reverse()) await close();
  }

  async #connectNats(): Promise<NatsLink> {
    const connection = toNatsConnection(this.#place);
    const place = connection.servers.join(', ');
    const link = await patiently(`NATS at ${place} does not answer; give --nats or set NATS_URL`, (waiting) =>
      connectNats({ ...connection, name: NAME }, waiting),
    );
    this.#closers.push(() => link.drain());
    return link;
  }

  async #connectTable(): Promise<Table> {
    const table = parseTableNames(this.#place);
    const postgres = await patiently('Postgres does not answer; give --database or set DATABASE_URL', (waiting) =>
      connectPostgres({ ...toPostgresConnection(this.#place), applicationName: NAME }, waiting),
    );
    this.#closers.push(() => postgres.close());
    return { postgres, table };
  }

  async #connectAdopted(): Promise<Adopted> {
    const { postgres, table } = await this.table();
    const adoption = await readAdoption(postgres, table);
    if (adoption !== null) return { postgres, table, adoption };
    throw new CommandError(`no coordinator has adopted ${describeTable(table)} yet; start one, or give --table`);
  }
}

async function patiently<Link>(
  complaint: string,
  connect: (waiting: { readonly log: Logger; readonly signal: AbortSignal }) => Promise<Link>,
): Promise<Link> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  try {
    return await connect({ log: pino({ level: 'silent' }), signal });
  } catch (error) {
    throw signal.aborted ? new CommandError(complaint) : error;
  }
}
