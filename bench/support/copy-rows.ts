import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import pg from 'pg';
import { from } from 'pg-copy-streams';

const LINES_AT_ONCE = 1_000;

/** Adds rows by `COPY … FROM STDIN`, on a connection of its own. `table` is quoted already. */
export async function copyRows(url: string, table: string, rows: number): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await pipeline(Readable.from(idLines(rows)), client.query(from(`COPY ${table} (id) FROM STDIN`)));
  } finally {
    await client.end();
  }
}

function* idLines(rows: number): Generator<Buffer> {
  for (let done = 0; done < rows; done += LINES_AT_ONCE) {
    const count = Math.min(LINES_AT_ONCE, rows - done);
    yield Buffer.from(Array.from({ length: count }, () => `${randomUUID()}\n`).join(''));
  }
}
