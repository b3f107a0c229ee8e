/** A process of its own: many connections, each of which inserts one row after the other, a transaction each. */
import { connect } from '../support/bench-postgres.ts';

export interface InsertSetup {
  readonly url: string;
  readonly clients: number;
}

/** Insert into that table for so long. The answer: how many transactions a second. */
export interface InsertOrder {
  readonly table: string;
  readonly seconds: number;
  readonly clients: number;
  /** Of each insert. @default 1 */
  readonly rows?: number;
  /** Each transaction is prepared, then committed. @default false */
  readonly isPrepared?: boolean;
}

const { url, clients } = JSON.parse(process.argv[2] ?? '{}') as InsertSetup;
const link = await connect(url, 'inserts');
const sessions = await Promise.all(Array.from({ length: clients }, () => link.open({ statementTimeoutMs: 0 })));
process.on('message', (order: InsertOrder) => void insert(order).then((rate) => process.send?.(rate)));
process.once('disconnect', () => void link.close());
process.send?.('ready');

async function insert({ table, seconds, clients, rows = 1, isPrepared = false }: InsertOrder): Promise<number> {
  const what = rows === 1 ? 'DEFAULT VALUES' : `SELECT FROM generate_series(1, ${rows})`;
  const statement = { name: `insert ${rows} ${table}`, text: `INSERT INTO ${table} ${what}` };
  const startedMs = performance.now();
  const endMs = startedMs + seconds * 1_000;
  const counts = await Promise.all(
    sessions.slice(0, clients).map(async (session, client) => {
      let count = 0;
      for (; performance.now() < endMs; count += 1) {
        if (isPrepared) await session.query({ text: 'BEGIN' });
        await session.query(statement);
        if (isPrepared) await session.query({ text: `PREPARE TRANSACTION 'bench-${client}'` });
        if (isPrepared) await session.query({ text: `COMMIT PREPARED 'bench-${client}'` });
      }
      return count;
    }),
  );
  return (counts.reduce((sum, count) => sum + count, 0) / (performance.now() - startedMs)) * 1_000;
}
