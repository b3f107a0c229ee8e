import { setTimeout as delay } from 'node:timers/promises';
import { type Adoption, adoptTable } from '../../shared/postgres/adoption.ts';
import type { PostgresLink } from '../../shared/postgres/connection.ts';
import { addRows } from '../../shared/postgres/rows.ts';
import type { Session } from '../../shared/postgres/session.ts';
import { parseTableNames, quoteTable } from '../../shared/postgres/table.ts';
import { TableWatch } from '../../shared/postgres/table-watch.ts';
import { SILENT } from '../support/bench-postgres.ts';

/** Where the rows lie: slot by slot, as `rows add` lays them and CLUSTER would, or as an application adds them one by one. */
export type Layout = 'laid' | 'scattered';

export const TABLE_OPTIONS = {
  table: 'public.work_items',
  idColumn: 'id',
  valueColumn: 'value',
  workerColumn: 'currentworker',
};
export const NAMES = parseTableNames(TABLE_OPTIONS);
const SLOTS = 4096;
/** Servers publish a session's counts at its end, and a second after it became idle. */
const STATISTICS_DELAY_MS = 1_200;

export interface TableCounters {
  readonly updates: number;
  readonly hotUpdates: number;
  /** Without its indexes. */
  readonly bytes: number;
  readonly walBytes: number;
}

/** The table as the product makes it, filled; with what Postgres counts about it. */
export class MeasuredTable {
  readonly adoption: Adoption;
  readonly weights: Float64Array;
  readonly rows: number;
  readonly #session: Session;

  private constructor(parts: { adoption: Adoption; weights: Float64Array; rows: number; session: Session }) {
    this.adoption = parts.adoption;
    this.weights = parts.weights;
    this.rows = parts.rows;
    this.#session = parts.session;
  }

  static async make(
    link: PostgresLink,
    { rows, layout }: { readonly rows: number; readonly layout: Layout },
  ): Promise<MeasuredTable> {
    const adoption = await adoptTable(link, { names: NAMES, slots: SLOTS, log: SILENT });
    const session = await link.open({ statementTimeoutMs: 0 });
    if (layout === 'laid') await addRows(link, NAMES, rows);
    else await session.query({ text: `INSERT INTO ${quoteTable(NAMES)} SELECT FROM generate_series(1, ${rows})` });
    await session.query({ text: `VACUUM (ANALYZE) ${quoteTable(NAMES)}` });
    const { weights } = await new TableWatch(link, NAMES, adoption).count();
    return new MeasuredTable({ adoption, weights, rows, session });
  }

  /** One session, one statement, every row: the most that Postgres itself does. @returns ms. */
  async updateAll(): Promise<number> {
    const startedMs = performance.now();
    await this.#session.query({
      text: `UPDATE ${quoteTable(NAMES)} SET value = value + 1, currentworker = 'worker-1'`,
    });
    return performance.now() - startedMs;
  }

  /** Waits until the server has counted what was done before. */
  async readCounters(): Promise<TableCounters> {
    await delay(STATISTICS_DELAY_MS);
    const { rows } = await this.#session.query<{ updates: number; hot: number; bytes: number; wal: number }>({
      text: `SELECT n_tup_upd AS updates, n_tup_hot_upd AS hot, pg_table_size(relid) AS bytes,
        (pg_current_wal_insert_lsn() - '0/0')::float8 AS wal
        FROM pg_stat_user_tables WHERE relid = '${quoteTable(NAMES)}'::regclass`,
    });
    const { updates = 0, hot = 0, bytes = 0, wal = 0 } = rows[0] ?? {};
    return { updates, hotUpdates: hot, bytes, walBytes: wal };
  }

  async readWalBytes(): Promise<number> {
    const text = "SELECT (pg_current_wal_insert_lsn() - '0/0')::float8 AS wal";
    return (await this.#session.query<{ wal: number }>({ text })).rows[0]?.wal ?? Number.NaN;
  }
}
