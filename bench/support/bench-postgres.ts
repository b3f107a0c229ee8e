import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { startPostgres } from '../../services/local/postgres.ts';
import { connectPostgres, type PostgresLink } from '../../shared/postgres/connection.ts';
import { killAtExit, makeScratchFolder, removeScratchFolder } from './scratch-folder.ts';

export const SILENT = pino({ level: 'silent' });

export interface BenchPostgres {
  readonly url: string;
  /** Of the server's first process, for its processor time; null for one elsewhere. */
  readonly pid: number | null;
  readonly version: string;
  /** A new database on it; whoever still is connected when it is dropped is thrown out. */
  createDatabase(): Promise<{ readonly url: string; drop(): Promise<void> }>;
  stop(): Promise<void>;
}

/** The server given, else an embedded one that lives as long as the benchmark. */
export async function openPostgres(given: string | undefined): Promise<BenchPostgres> {
  const server = given === undefined ? await startEmbedded() : { url: given, pid: null, stop: async () => {} };
  const link = await connect(server.url, 'bench');
  const { rows } = await link.query<{ version: string }>('bench', {
    text: "SELECT current_setting('server_version') AS version",
  });
  return {
    ...server,
    version: rows[0]?.version ?? 'unknown',
    createDatabase: async () => {
      const name = `bench_${randomBytes(4).toString('hex')}`;
      await link.query('bench', { text: `CREATE DATABASE ${name}` });
      const url = new URL(server.url);
      url.pathname = `/${name}`;
      const drop = async () => void (await link.query('bench', { text: `DROP DATABASE ${name} WITH (FORCE)` }));
      return { url: url.href, drop };
    },
    stop: async () => {
      await link.close();
      await server.stop();
    },
  };
}

export function connect(url: string, name: string): Promise<PostgresLink> {
  return connectPostgres({ connectionString: url, applicationName: name }, { log: SILENT });
}

async function startEmbedded() {
  const dataDir = await makeScratchFolder('postgres');
  const settings = { max_prepared_transactions: 64 };
  const server = await startPostgres({ dataDir, port: 0, log: SILENT, settings });
  const spare = killAtExit(server.kill);
  const stop = async () => {
    await server.stop();
    spare();
    removeScratchFolder(dataDir);
  };
  return { url: server.url, pid: server.pid, stop };
}
