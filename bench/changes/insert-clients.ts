/** A process of its own: many connections, each of which inserts one row after the other, a transaction each. */
import { connect } from '../support/bench-postgres.ts';

export interface InsertSetup {
  readonly url: string;
  readonly clients: number;
}

/** Insert into that table for so long. The answer: how many inserts a second. */
export interface InsertOrder {
  readonly table: string;
  readonly seconds: number;
}

const { url, clients } = JSON.parse(process.argv[2] ?? '{}') as InsertSetup;
const link = await connect(url, 'inserts');
const sessions = await Promise.all(Array.from({ length: clients }, () => link.open({ statementTimeoutMs: 0 })));
process.on('message', (order: InsertOrder) => void insert(order).then((rate) => process.send?.(rate)));
process.once('disconnect', () => void link.close());
process.send?.('ready');

async function insert({ table, seconds }: InsertOrder): Promise<number> {
  const statement = { name: `insert ${table}`, text: `INSERT INTO ${table} DEFAULT VALUES` };
  const startedMs = performance.now();
  const endMs = startedMs + seconds * 1_000;
  const counts = await Promise.all(
    sessions.map(async (session) => {
      let count = 0;
      for (; performance.now() < endMs; count += 1) await session.query(statement);
      return count;
    }),
  );
  return (counts.reduce((sum, count) => sum + count, 0) / (performance.now() - startedMs)) * 1_000;
}
