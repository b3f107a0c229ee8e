import type { QueryResultRow } from 'pg';
import { hostUptimeMs } from '../process/host-uptime.ts';
import type { Adoption } from './adoption.ts';
import type { PostgresLink } from './connection.ts';
import { stateOf } from './failure.ts';
import { holdersAmong, type LockHolder } from './lock-holders.ts';
import { quoteName, quoteTable, slotExpression, type TableNames } from './table.ts';

/** A row as the database has it, with its slot's fence. */
export interface InspectedRow {
  readonly id: string;
  /** Null: it cannot grow, as neither can the largest integer. */
  readonly value: number | null;
  /** What the row itself says. */
  readonly currentWorker: string | null;
  readonly slot: number;
  /** Whom the fence names. */
  readonly owner: string | null;
  readonly lastTick: number;
}

export interface TableSample {
  /** The database's clock, epoch seconds. */
  readonly atSeconds: number;
  /** When it was asked for and answered, by the uptime of this process's host. */
  readonly takenMs: { readonly from: number; readonly to: number };
  /** Everyone the fence names for any slot. */
  readonly workers: readonly string[];
  readonly rows: readonly InspectedRow[];
}

/** A transaction that holds a row's lock. */
export type RowLock = Omit<LockHolder, 'kind'>;

const LANE = 'inspection';

/** Looks at rows and fence from outside; changes nothing. Rejects as `PostgresLink.query` does. */
export class Inspection {
  readonly #link: PostgresLink;
  readonly #columns: string;
  readonly #join: string;
  readonly #id: string;
  readonly #table: string;

  constructor(link: PostgresLink, names: TableNames, adoption: Adoption) {
    this.#link = link;
    const [id, value, worker] = [names.id, names.value, names.worker].map((name) => `w.${quoteName(name)}`);
    this.#id = id!;
    this.#table = quoteTable(names);
    this.#columns = `${id}::text AS id, ${value} AS value, ${worker} AS "currentWorker", s.slot, s.worker AS owner, s.last_tick AS "lastTick"`;
    this.#join = `JOIN ${quoteTable(names)} w ON ${slotExpression(names.id, adoption.slots, 'w')} = s.slot`;
  }

  /** The row of that id, null when there is none. */
  async findRow(id: string): Promise<InspectedRow | null> {
    const text = `SELECT ${this.#columns} FROM scaler.slot s ${this.#join} WHERE ${this.#id} = $1::uuid`;
    const { rows } = await this.#link.query<InspectedRow & QueryResultRow>(LANE, { text, values: [id] });
    return rows[0] ?? null;
  }

  /**
   * Who holds the row's lock, oldest first: a tick under way for some milliseconds, or an application. Row locks stand in the row
   * itself, not in pg_locks; but each transaction's own number does.
   */
  async findLocks(id: string): Promise<readonly RowLock[]> {
    const xmax = `(SELECT w.xmax FROM ${this.#table} w WHERE ${this.#id} = $1::uuid)`;
    const find = async (condition: string) => {
      const text = holdersAmong(
        `SELECT l.pid FROM pg_locks l WHERE l.locktype = 'transactionid' AND l.granted AND ${condition}`,
      );
      const { rows } = await this.#link.query<LockHolder & QueryResultRow>(LANE, { text, values: [id] });
      return rows.map(({ pid, application, ageSeconds }) => ({ pid, application, ageSeconds }));
    };
    const alone = await find(`l.transactionid = ${xmax}`);
    if (alone.length > 0) return alone;
    try {
      return await find(`l.transactionid IN (SELECT m.xid FROM pg_get_multixact_members(${xmax}) m)`);
    } catch (error) {
      // The number is no group of transactions: the lock's holder is gone.
      if (stateOf(error) !== null) return [];
      throw error;
    }
  }

  /** All rows, as of one moment: one statement, so value and last tick of each belong together. */
  async sampleRows(): Promise<TableSample> {
    // From the slots, so that the owners of empty ones are there too.
    const text = `SELECT extract(epoch FROM now())::float8 AS "atSeconds", ${this.#columns} FROM scaler.slot s LEFT ${this.#join}`;
    type Found = Omit<InspectedRow, 'id'> & { readonly id: string | null; readonly atSeconds: number } & QueryResultRow;
    const from = hostUptimeMs();
    const { rows: found } = await this.#link.query<Found>(LANE, { name: 'inspection-sample', text });
    const takenMs = { from, to: hostUptimeMs() };
    const workers = new Set<string>();
    const rows: InspectedRow[] = [];
    for (const { id, atSeconds: _, ...rest } of found) {
      if (rest.owner !== null) workers.add(rest.owner);
      if (id !== null) rows.push({ ...rest, id } as InspectedRow);
    }
    return { atSeconds: found[0]?.atSeconds ?? 0, takenMs, workers: [...workers], rows };
  }
}
