import pg from 'pg';
import { connectPostgres, type PostgresLink } from '../../shared/postgres/connection.ts';
import { freshDatabase, recordingLog, sharedPostgres, type TestDatabase } from './postgres-server.ts';

/** A database for one test, with a link of the services' kind, a plain client and the lines that were logged. */
export interface OpenedDatabase {
  readonly database: TestDatabase;
  readonly link: PostgresLink;
  readonly admin: pg.Client;
  readonly records: ReturnType<typeof recordingLog>;
  close(): Promise<void>;
}

export async function openDatabase(applicationName = 'test'): Promise<OpenedDatabase> {
  const database = await freshDatabase((await sharedPostgres()).url);
  const records = recordingLog();
  const link = await connectPostgres({ connectionString: database.url, applicationName }, { log: records.log });
  const admin = await openClient(database.url);
  const close = async () => {
    await link.close();
    await admin.end();
    await database.drop();
  };
  return { database, link, admin, records, close };
}

export async function openClient(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return client;
}
