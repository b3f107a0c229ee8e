import { randomUUID } from 'node:crypto';
import type { QueryResultRow } from 'pg';
import type { Adoption } from './adoption.ts';
import { TRUNCATED } from './change-triggers.ts';
import type { PostgresLink } from './connection.ts';
import { Lane } from './lane.ts';
import type { Session } from './session.ts';
import { quoteTable, quoteText, slotExpression, type TableNames } from './table.ts';

export interface TableCount {
  /** Rows per slot. */
  readonly weights: Float64Array;
  readonly rows: number;
  /** The Postgres snapshot that was counted in, as text: changes that it does not see are still to be added. */
  readonly at: string;
  readonly connection: string;
}

export interface TableDelta {
  /** Net, one entry per slot that changed. */
  readonly deltas: readonly { readonly slot: number; readonly delta: number }[];
  readonly added: number;
  readonly removed: number;
  readonly at: string;
  /** The table was truncated: the deltas say nothing, count again. */
  readonly recount: boolean;
  /**
   * Names the connection. Another one than the count's may be to another server, after a failover: its transactions say
   * nothing about the count's.
   */
  readonly connection: string;
  /** How long the reading took, ms, without the wait for something to read. */
  readonly readMs: number;
}

/** Sums of int8 are numeric, and could be too large for an int8: then a number that JavaScript holds exactly will do. */
const MOST = Number.MAX_SAFE_INTEGER;
/** Counting reads the whole table. */
const COUNT_LIMIT_MS = 300_000;
/** A connection that lies dead in the network is noticed after this long. */
const STATEMENT_LIMIT_MS = 4_000;

/** The connection's name, in the server's session, where a statement can compare it with the one it was meant for. */
const CONNECTION = "current_setting('scaler.connection', true)";

/**
 * Polls and prunes must not depend on how much of `scaler.table_change` is dead: while an old snapshot is held somewhere, no
 * vacuum removes what was pruned. So they find rows by the index on `xid`, whatever the planner makes of the statistics.
 * A prune that a crash undoes is done again.
 */
const SETTINGS = 'SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan; SET synchronous_commit = off';

/**
 * What is committed when a snapshot is taken is in it, and nothing else is. So a count, and the changes whose transactions
 * that count's snapshot does not see, together miss nothing and have nothing twice, whenever a writer began or committed.
 *
 * Not seen by a snapshot: transactions from its `xmax` on, and those in progress in it. Of the latter, only what has ended
 * since is looked for: a long transaction's own changes are not read again and again while it is open.
 *
 * A change whose transaction number lies ahead of the server's own was brought along by a dump: it never counts.
 */
const CHANGES_TEXT = `
SELECT ${CONNECTION} AS connection, pg_current_snapshot()::text AS at, coalesce(c.slots, '{}') AS slots, coalesce(c.deltas, '{}') AS deltas,
  coalesce(c.added, 0) AS added, coalesce(c.removed, 0) AS removed, coalesce(c.recount, false) AS recount
FROM (
  SELECT array_agg(slot) FILTER (WHERE slot <> ${TRUNCATED}) AS slots, array_agg(delta) FILTER (WHERE slot <> ${TRUNCATED}) AS deltas,
    least(coalesce(sum(added), 0), ${MOST})::bigint AS added, least(coalesce(sum(removed), 0), ${MOST})::bigint AS removed, bool_or(slot = ${TRUNCATED}) AS recount
  FROM (
    SELECT slot, sum(delta) AS delta, sum(greatest(delta, 0)) AS added, sum(greatest(-delta::bigint, 0)) AS removed
    FROM (
      SELECT slot, delta FROM scaler.table_change
      WHERE xid >= pg_snapshot_xmax($1::pg_snapshot) AND xid < pg_snapshot_xmax(pg_current_snapshot())
      UNION ALL
      SELECT slot, delta FROM scaler.table_change WHERE xid = ANY (ARRAY(
        SELECT x FROM pg_snapshot_xip($1::pg_snapshot) AS x WHERE pg_visible_in_snapshot(x, pg_current_snapshot())))
    ) unseen
    GROUP BY slot
  ) s
) c`;

/** From one look for changes to the next. A change waits for half of it on average. */
const LOOK_EVERY_MS = 20;
/** The connection has other work, too. */
const LONGEST_WAIT_MS = 500;

/**
 * Ends as soon as there is something that the snapshot `at` does not see. It looks from within Postgres, which costs a tenth of
 * asking each time. The COMMIT between two looks gives up the snapshot: one that is held would keep vacuum from its work.
 */
function waitText(at: string): string {
  return `DO ${quoteText(`
DECLARE
  since CONSTANT pg_snapshot := ${quoteText(at)};
  upper CONSTANT xid8 := pg_snapshot_xmax(since);
  running CONSTANT xid8[] := ARRAY(SELECT pg_snapshot_xip(since));
BEGIN
  FOR look IN 1..${LONGEST_WAIT_MS / LOOK_EVERY_MS} LOOP
    EXIT WHEN EXISTS (
      SELECT FROM scaler.table_change WHERE xid >= upper AND xid < pg_snapshot_xmax(pg_current_snapshot())
      UNION ALL SELECT FROM scaler.table_change WHERE xid = ANY (running));
    COMMIT;
    PERFORM pg_sleep(${LOOK_EVERY_MS / 1_000});
  END LOOP;
END`)}`;
}

/** Keeps the connection free for the next poll: a few milliseconds. */
const PRUNE_BATCH = 5_000;
/** Sees nothing: the first transaction number is 3. */
const BEFORE_ALL = '3:3:';

/** A later leader has drawn a higher epoch. A lower one stands there after a restore: nobody else leads. */
const MAY_PRUNE = `(SELECT epoch FROM scaler.adoption) <= $3::bigint AND ${CONNECTION} = $4`;

/** Visible in the snapshot $2 and not in $1, or brought along by a dump. */
const PRUNE_TEXT = `
DELETE FROM scaler.table_change WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM (
    SELECT ctid, xid FROM scaler.table_change
    WHERE xid >= pg_snapshot_xmax($1::pg_snapshot) AND xid < pg_snapshot_xmax($2::pg_snapshot)
    UNION ALL
    SELECT ctid, xid FROM scaler.table_change WHERE xid = ANY (ARRAY(SELECT x FROM pg_snapshot_xip($1::pg_snapshot) AS x))
  ) c
  WHERE pg_visible_in_snapshot(xid, $2::pg_snapshot) AND ${MAY_PRUNE}
  UNION ALL
  SELECT ctid FROM scaler.table_change
  WHERE xid >= pg_snapshot_xmax(pg_current_snapshot()) AND ${MAY_PRUNE}
  LIMIT ${PRUNE_BATCH}))`;

/**
 * How many rows has each slot? All calls reject as `PostgresLink.query` does, and may be repeated at will. Polls and prunes
 * go one after the other over a connection of their own, opened on first use; counts have their own, too.
 */
export class TableWatch {
  readonly #link: PostgresLink;
  readonly #lane: Lane;
  readonly #slots: number;
  readonly #countText: string;

  constructor(link: PostgresLink, names: TableNames, adoption: Adoption) {
    this.#link = link;
    this.#lane = new Lane(() => openNamed(link));
    this.#slots = adoption.slots;
    this.#countText = `SELECT pg_current_snapshot()::text AS at, coalesce(array_agg(slot), '{}') AS slots,
      coalesce(array_agg(rows), '{}') AS counts
      FROM (SELECT ${slotExpression(names.id, adoption.slots)} AS slot, count(*) AS rows FROM ${quoteTable(names)} GROUP BY 1) c`;
  }

  /** The exact count. One statement, so it and `at` are of the same snapshot; at most five minutes. */
  async count(): Promise<TableCount> {
    // Before the count: where the polls' connection is another one afterwards, the count may be another server's.
    const named = await this.#lane.query<{ connection: string }>({ text: `SELECT ${CONNECTION} AS connection` });
    const { connection } = named.rows[0]!;
    const session = await this.#link.open({ statementTimeoutMs: COUNT_LIMIT_MS });
    try {
      type Row = { at: string; slots: number[]; counts: number[] };
      const { at, slots, counts } = (await session.query<Row>({ text: this.#countText })).rows[0]!;
      const weights = new Float64Array(this.#slots);
      for (const [index, slot] of slots.entries()) weights[slot] = counts[index]!;
      return { weights, rows: counts.reduce((sum, count) => sum + count, 0), at, connection };
    } finally {
      await session.end();
    }
  }

  /**
   * What was committed after the snapshot `at`; waits up to half a second for something. Reading it takes as long as there is to
   * read, however much was pruned before.
   */
  async changesSince(at: string): Promise<TableDelta> {
    await this.#lane.query({ text: waitText(at) });
    const startedMs = performance.now();
    type Row = { slots: number[]; deltas: number[] } & Omit<TableDelta, 'deltas' | 'readMs'> & QueryResultRow;
    const statement = { name: 'table-changes', text: CHANGES_TEXT, values: [at] };
    const { slots, deltas, ...rest } = (await this.#lane.query<Row>(statement)).rows[0]!;
    const net = slots.map((slot, index) => ({ slot, delta: deltas[index]! })).filter(({ delta }) => delta !== 0);
    return { ...rest, deltas: net, readMs: performance.now() - startedMs };
  }

  /**
   * Deletes a batch of the changes that the snapshot `at` sees and `after` does not (null: whatever `at` sees). Only over the
   * connection of that name, and as long as no later epoch than `epoch` was drawn: neither another server's changes nor those that a
   * later leader has not counted may be deleted.
   * @returns how many, and whether that was all there were.
   */
  async prune(args: {
    readonly after: string | null;
    readonly at: string;
    readonly epoch: number;
    readonly connection: string;
  }): Promise<{ readonly pruned: number; readonly isAll: boolean }> {
    const values = [args.after ?? BEFORE_ALL, args.at, args.epoch, args.connection];
    const { rowCount } = await this.#lane.query({ name: 'table-prune', text: PRUNE_TEXT, values });
    const pruned = rowCount ?? 0;
    return { pruned, isAll: pruned < PRUNE_BATCH };
  }
}

async function openNamed(link: PostgresLink): Promise<Session> {
  const session = await link.open({ statementTimeoutMs: STATEMENT_LIMIT_MS });
  try {
    await session.query({ text: `${SETTINGS}; SET scaler.connection = '${randomUUID()}'` });
    return session;
  } catch (error) {
    await session.end();
    throw error;
  }
}
