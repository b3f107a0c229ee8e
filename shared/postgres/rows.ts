import { setTimeout as delay } from 'node:timers/promises';
import { readAdoption } from './adoption.ts';
import type { PostgresLink } from './connection.ts';
import { indexName } from './migrations.ts';
import { quoteName, quoteTable, slotExpression, type TableNames } from './table.ts';

const LANE = 'rows';
/** Short transactions: a long one would hold back the pruning that ticks live from. */
const BATCH_ROWS = 10_000;
const LOCKED_RETRY_MS = 10;
/** Who waits for the whole table's lock holds up everybody behind: ticks included. */
const LAY_LOCK_LIMIT = "SET lock_timeout = '2s'";

/**
 * Inserts rows with random ids and value 0, in batches, each its own transaction: a failure leaves the earlier ones in.
 * Where the table is adopted, rows of one slot are laid next to each other, so that a tick touches fewer pages.
 *
 * @returns how many were inserted.
 */
export async function addRows(link: PostgresLink, names: TableNames, count: number): Promise<number> {
  const adoption = await readAdoption(link, names);
  const order = adoption === null ? '' : `ORDER BY ${slotExpression(names.id, adoption.slots)}`;
  const text = `INSERT INTO ${quoteTable(names)} (${quoteName(names.id)}, ${quoteName(names.value)})
    SELECT ${quoteName(names.id)}, 0 FROM (SELECT gen_random_uuid() AS ${quoteName(names.id)} FROM generate_series(1, $1::int)) r ${order}`;
  return inBatches(count, async (size) => (await link.query(LANE, { text, values: [size] })).rowCount ?? 0);
}

/**
 * Deletes any rows, in batches as above; fewer when the table has fewer. Rows that a tick has locked are passed over, and
 * found in the next batch: who never waits while holding rows cannot deadlock with a tick.
 *
 * @returns how many were deleted.
 */
export async function removeRows(link: PostgresLink, names: TableNames, count: number): Promise<number> {
  const id = quoteName(names.id);
  const table = quoteTable(names);
  const text = `WITH gone AS (DELETE FROM ${table} WHERE ${id} = ANY (ARRAY(
      SELECT ${id} FROM ${table} LIMIT $1::int FOR UPDATE SKIP LOCKED)) RETURNING 1)
    SELECT count(*)::int AS gone, EXISTS (SELECT 1 FROM ${table}) AS "hadRows" FROM gone`;
  return inBatches(count, async (size) => {
    for (;;) {
      const { rows } = await link.query<{ gone: number; hadRows: boolean }>(LANE, { text, values: [size] });
      const { gone, hadRows } = rows[0]!;
      if (gone > 0 || !hadRows) return gone;
      // All were locked just then. A tick is over in a moment.
      await delay(LOCKED_RETRY_MS);
    }
  });
}

/**
 * Lays the rows of each slot next to each other, so that a tick touches fewer pages: worth it for a table whose rows were
 * added one by one. Rewrites the table under a lock that keeps everybody out, ticks included, for some 3 s per million rows:
 * the seconds that pass are missed. Fires no trigger, changes no value.
 *
 * @throws pg's DatabaseError, with state 55P03, when the table stays locked by others for two seconds: try again.
 */
export async function layRows(link: PostgresLink, names: TableNames): Promise<void> {
  const session = await link.open({ statementTimeoutMs: 0 });
  try {
    await session.query({ text: LAY_LOCK_LIMIT });
    await session.query({ text: `CLUSTER ${quoteTable(names)} USING ${quoteName(indexName(names))}` });
  } finally {
    await session.end();
  }
}

/** Until `count` is reached or a batch does nothing. */
async function inBatches(count: number, run: (size: number) => Promise<number>): Promise<number> {
  let done = 0;
  while (done < count) {
    const now = await run(Math.min(BATCH_ROWS, count - done));
    if (now === 0) break;
    done += now;
  }
  return done;
}
