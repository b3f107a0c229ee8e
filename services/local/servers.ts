import type { Logger } from 'pino';
import type { DataDirectory } from './data-directory.ts';
import type { LocalServer } from './local-server.ts';
import { type LocalNatsServer, startNatsServer } from './nats-server.ts';
import { findNatsServer } from './nats-server-source.ts';
import type { LocalOptions } from './options.ts';
import { startPostgres } from './postgres.ts';

/** Filled in as they come up, so that what came up can be ended even when the other did not. */
export interface Servers {
  nats: LocalNatsServer | null;
  postgres: LocalServer | null;
}

/** Starts both at once, as the first start of each takes seconds. Settles when both have come up or failed. */
export async function startServers(
  servers: Servers,
  context: { readonly options: LocalOptions; readonly data: DataDirectory; readonly log: Logger },
): Promise<{ nats: LocalNatsServer; postgres: LocalServer }> {
  const { options, data, log } = context;
  const startNats = async () => {
    const { path } = await findNatsServer({ log });
    const settings = { binary: path, port: options.natsPort, dataDir: data.nats, log, systemAccount: true };
    servers.nats = await startNatsServer(settings);
    return servers.nats;
  };
  const startDatabase = async () => {
    servers.postgres = await startPostgres({ dataDir: data.postgres, port: options.postgresPort, log });
    return servers.postgres;
  };
  const [nats, postgres] = await Promise.allSettled([startNats(), startDatabase()]);
  if (nats.status === 'rejected') throw nats.reason;
  if (postgres.status === 'rejected') throw postgres.reason;
  return { nats: nats.value, postgres: postgres.value };
}
