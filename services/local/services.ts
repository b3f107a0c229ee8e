import { tableOptions } from '../../shared/options/table.ts';
import type { LocalOptions } from './options.ts';
import { findScript, type Service } from './supervisor.ts';

export interface ServiceSurroundings {
  readonly options: LocalOptions;
  readonly natsUrl: string;
  /** Where the system account's events are read. */
  readonly systemUrl: string | undefined;
  readonly databaseUrl: string;
  /** The first coordinator's; the others take any free one. */
  readonly httpPort: number;
}

export function listCoordinators(around: ServiceSurroundings): Service[] {
  return numbered('coordinator', around.options.coordinators).map((name, index) => ({
    name,
    role: 'coordinator',
    script: findScript('coordinator'),
    environment: {
      ...makeEnvironment(around),
      COORDINATOR_ID: name,
      HTTP_PORT: String(index === 0 ? around.httpPort : 0),
      NATS_SYSTEM_URL: around.systemUrl,
    },
  }));
}

export function listWorkers(around: ServiceSurroundings): Service[] {
  return numbered('worker', around.options.workers).map((name) => ({
    name,
    role: 'worker',
    script: findScript('worker'),
    environment: { ...makeEnvironment(around), WORKER_ID: name, HTTP_PORT: '0' },
  }));
}

function numbered(role: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${role}-${index + 1}`);
}

/** What the person's own environment says of other servers must not reach services that use the ones started here. */
const FOREIGN = /^(NATS_(URL|USER|PASSWORD|CREDS|CA|CERT|KEY|SYSTEM_(URL|USER|PASSWORD))|DATABASE_URL|PG[A-Z]+)$/;

function makeEnvironment({ options, natsUrl, databaseUrl }: ServiceSurroundings): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !FOREIGN.test(name));
  const table = Object.entries(tableOptions).map(([name, option]) => [
    option.variable,
    options[name as keyof typeof tableOptions],
  ]);
  return {
    ...Object.fromEntries(own),
    ...Object.fromEntries(table),
    NATS_URL: natsUrl,
    DATABASE_URL: databaseUrl,
    LOG_LEVEL: options.logLevel,
    // It is this process that makes the lines readable, where somebody reads them.
    LOG_FORMAT: 'json',
  };
}
