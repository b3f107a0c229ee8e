import { quoteTable } from '../../shared/postgres/table.ts';
import { connect } from '../support/bench-postgres.ts';
import { NAMES } from '../ticks/measured-table.ts';

/** The application's table with rows and columns of its own: the same ids in every database. A coordinator may adopt it. */
export async function makeApplicationTable(url: string, rows: number): Promise<void> {
  const link = await connect(url, 'bench');
  try {
    const session = await link.open({ statementTimeoutMs: 0 });
    const table = quoteTable(NAMES);
    const statements = [
      `CREATE TABLE ${table} (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), value integer NOT NULL DEFAULT 0,
        currentworker text, payload integer NOT NULL DEFAULT 0, jobs_done integer NOT NULL DEFAULT 0)`,
      `INSERT INTO ${table} (id) SELECT md5(n::text)::uuid FROM generate_series(1, ${rows}) n`,
      `CREATE INDEX ON ${table} (jobs_done)`,
      `VACUUM (ANALYZE) ${table}`,
    ];
    for (const text of statements) await session.query({ text });
  } finally {
    await link.close();
  }
}
