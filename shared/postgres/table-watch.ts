import type { QueryResultRow } from 'pg';
import type { Adoption } from './adoption.ts';
import { TRUNCATED } from './change-triggers.ts';
import type { PostgresLink } from './connection.ts';
import { quoteTable, slotExpression, type TableNames } from './table.ts';
import { listenToTable } from './table-listener.ts';

export interface TableCount {
  /** Rows per slot. */
  readonly weights: Float64Array;
  readonly rows: number;
  /** The Postgres snapshot that was counted in, as text: changes that it does not see are still to be added. */
  readonly at: string;
}

export interface TableDelta {
  /** Net, one entry per slot that changed. */
  readonly deltas: readonly { readonly slot: number; readonly delta: number }[];
  readonly added: number;
  readonly removed: number;
  readonly at: string;
  /** The table was truncated: the deltas say nothing, count again. */
  readonly recount: boolean;
}

const LANE = 'table';
/** Sums of int8 are numeric, and could be too large for an int8: then a number that JavaScript holds exactly will do. */
const MOST = Number.MAX_SAFE_INTEGER;
/** Counting reads the whole table. */
const COUNT_LIMIT_MS = 300_000;

/**
 * What is committed when a snapshot is taken is in it, and nothing else is. So a count, and the changes whose transactions
 * that count's snapshot does not see, together miss nothing and have nothing twice, whenever a writer began or committed.
 *
 * A change whose transaction number lies ahead of the server's own was brought along by a dump: it never counts.
 */
const CHANGES_TEXT = `
SELECT pg_current_snapshot()::text AS at, coalesce(c.slots, '{}') AS slots, coalesce(c.deltas, '{}') AS deltas,
  coalesce(c.added, 0) AS added, coalesce(c.removed, 0) AS removed, coalesce(c.recount, false) AS recount
FROM (
  SELECT array_agg(slot) FILTER (WHERE slot <> ${TRUNCATED}) AS slots, array_agg(delta) FILTER (WHERE slot <> ${TRUNCATED}) AS deltas,
    least(coalesce(sum(added), 0), ${MOST})::bigint AS added, least(coalesce(sum(removed), 0), ${MOST})::bigint AS removed, bool_or(slot = ${TRUNCATED}) AS recount
  FROM (
    SELECT slot, sum(delta) AS delta, sum(greatest(delta, 0)) AS added, sum(greatest(-delta, 0)) AS removed
    FROM scaler.table_change
    WHERE NOT pg_visible_in_snapshot(xid, $1::pg_snapshot) AND xid < pg_snapshot_xmax(pg_current_snapshot())
    GROUP BY slot
  ) s
) c`;

/** Within a statement's time limit, also after a long time without pruning. */
const PRUNE_BATCH = 100_000;

const PRUNE_TEXT = `
DELETE FROM scaler.table_change WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM scaler.table_change
  WHERE (pg_visible_in_snapshot(xid, $1::pg_snapshot) OR xid >= pg_snapshot_xmax(pg_current_snapshot()))
    AND (SELECT epoch FROM scaler.adoption) = $2::bigint
  LIMIT ${PRUNE_BATCH}))`;

/** How many rows has each slot? All calls reject as `PostgresLink.query` does, and may be repeated at will. */
export class TableWatch {
  readonly #link: PostgresLink;
  readonly #slots: number;
  readonly #countText: string;

  constructor(link: PostgresLink, names: TableNames, adoption: Adoption) {
    this.#link = link;
    this.#slots = adoption.slots;
    this.#countText = `SELECT pg_current_snapshot()::text AS at, coalesce(array_agg(slot), '{}') AS slots,
      coalesce(array_agg(rows), '{}') AS counts
      FROM (SELECT ${slotExpression(names.id, adoption.slots)} AS slot, count(*) AS rows FROM ${quoteTable(names)} GROUP BY 1) c`;
  }

  /** The exact count. One statement, so it and `at` are of the same snapshot; at most five minutes. */
  async count(): Promise<TableCount> {
    const session = await this.#link.open({ statementTimeoutMs: COUNT_LIMIT_MS });
    try {
      type Row = { at: string; slots: number[]; counts: number[] };
      const { at, slots, counts } = (await session.query<Row>({ text: this.#countText })).rows[0]!;
      const weights = new Float64Array(this.#slots);
      for (const [index, slot] of slots.entries()) weights[slot] = counts[index]!;
      return { weights, rows: counts.reduce((sum, count) => sum + count, 0), at };
    } finally {
      await session.end();
    }
  }

  /** What was committed after the snapshot `at`. */
  async changesSince(at: string): Promise<TableDelta> {
    type Row = { slots: number[]; deltas: number[] } & Omit<TableDelta, 'deltas'> & QueryResultRow;
    const statement = { name: 'table-changes', text: CHANGES_TEXT, values: [at] };
    const { slots, deltas, ...rest } = (await this.#link.query<Row>(LANE, statement)).rows[0]!;
    const net = slots.map((slot, index) => ({ slot, delta: deltas[index]! })).filter(({ delta }) => delta !== 0);
    return { ...rest, deltas: net };
  }

  /**
   * Deletes the changes that the snapshot `at` sees, as long as `epoch` is the last one drawn: a former leader must not
   * delete what its successor has not counted. @returns how many.
   */
  async prune(args: { readonly at: string; readonly epoch: number }): Promise<number> {
    const statement = { name: 'table-prune', text: PRUNE_TEXT, values: [args.at, args.epoch] };
    for (let pruned = 0; ; ) {
      const { rowCount } = await this.#link.query(LANE, statement);
      pruned += rowCount ?? 0;
      if ((rowCount ?? 0) < PRUNE_BATCH) return pruned;
    }
  }

  /**
   * Calls `onNotify` after each commit that changed the number of rows. Resolves once it listens; reconnects by itself,
   * for ever, and calls `onLost` each time: what happened meanwhile is unknown then, count anew.
   */
  async listen(onNotify: () => void, onLost: () => void): Promise<() => Promise<void>> {
    return listenToTable(this.#link, { onNotify, onLost });
  }
}
