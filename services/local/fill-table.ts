import { setTimeout as wait } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type Adoption, readAdoption } from '../../shared/postgres/adoption.ts';
import { connectPostgres, type PostgresLink } from '../../shared/postgres/connection.ts';
import { addRows } from '../../shared/postgres/rows.ts';
import type { TableNames } from '../../shared/postgres/table.ts';
import { TableWatch } from '../../shared/postgres/table-watch.ts';
import { LocalError } from './local-error.ts';

const ADOPTION_LIMIT_MS = 60_000;

export interface FillOptions {
  readonly databaseUrl: string;
  readonly names: TableNames;
  readonly rows: number;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/**
 * Waits for a coordinator to adopt the table and puts the rows in, if it is empty: rows of an earlier start stay as they are.
 * Resolves to the number of rows there now.
 * @throws {LocalError} `service-failed` when the table was not adopted within a minute.
 */
export async function fillTable(options: FillOptions): Promise<number> {
  const { names, log, signal } = options;
  const connection = { connectionString: options.databaseUrl, applicationName: 'local' };
  const link = await connectPostgres(connection, { log, signal });
  try {
    const adoption = await waitForAdoption(link, options);
    const { rows } = await new TableWatch(link, names, adoption).count();
    if (rows > 0 || options.rows === 0) return rows;
    const added = await addRows(link, names, options.rows);
    log.info({ rows: added }, 'rows added');
    return added;
  } finally {
    await link.close();
  }
}

async function waitForAdoption(link: PostgresLink, { names, signal }: FillOptions): Promise<Adoption> {
  const deadlineMs = performance.now() + ADOPTION_LIMIT_MS;
  while (performance.now() < deadlineMs) {
    const adoption = await readAdoption(link, names);
    if (adoption !== null) return adoption;
    await wait(50, undefined, { signal });
  }
  const limit = `${ADOPTION_LIMIT_MS / 1000} s`;
  throw new LocalError(
    'service-failed',
    `no coordinator adopted the table ${names.table} within ${limit}; their lines above say why.`,
  );
}
