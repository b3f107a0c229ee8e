import { randomBytes } from 'node:crypto';
import { sharedNats } from './nats-server.ts';
import { freshDatabase, sharedPostgres } from './postgres-server.ts';
import { eventually, type LogLine, ServiceProcess } from './service-process.ts';

type Environment = Readonly<Record<string, string>>;

/** A whole Notifi-Scaler of real processes, in a database and under a NATS prefix of its own. */
export class TestSystem {
  readonly environment: Environment;
  readonly databaseUrl: string;
  readonly natsUrl: string;
  readonly prefix: string;
  readonly #processes: ServiceProcess[] = [];
  readonly #dropDatabase: () => Promise<void>;

  private constructor(options: {
    readonly natsUrl: string;
    readonly databaseUrl: string;
    readonly environment: Environment;
    readonly drop: () => Promise<void>;
  }) {
    this.prefix = `t${randomBytes(4).toString('hex')}`;
    this.natsUrl = options.natsUrl;
    this.databaseUrl = options.databaseUrl;
    this.environment = {
      NATS_URL: options.natsUrl,
      NATS_PREFIX: this.prefix,
      DATABASE_URL: options.databaseUrl,
      HTTP_PORT: '0',
      ...options.environment,
    };
    this.#dropDatabase = options.drop;
  }

  /** `natsUrl`, `postgresUrl`: of servers other than the shared ones. `environment`: more of it, for every process. */
  static async start(
    options: { readonly natsUrl?: string; readonly postgresUrl?: string; readonly environment?: Environment } = {},
  ): Promise<TestSystem> {
    const natsUrl = options.natsUrl ?? (await sharedNats()).url;
    const database = await freshDatabase(options.postgresUrl ?? (await sharedPostgres()).url);
    const { environment = {} } = options;
    return new TestSystem({ natsUrl, databaseUrl: database.url, environment, drop: () => database.drop() });
  }

  coordinator(id: string, args: readonly string[] = [], environment: Environment = {}): ServiceProcess {
    return this.#start('services/coordinator/main.ts', ['--coordinator-id', id, ...args], environment);
  }

  /** The environment replaces the system's own where it names the same: a way to a server of its own, another clock. */
  worker(id: string, args: readonly string[] = [], environment: Environment = {}): ServiceProcess {
    return this.#start('services/worker/main.ts', ['--worker-id', id, ...args], environment);
  }

  /** `root`: the checkout whose service runs, such as a former version's. @default this one */
  start(service: 'coordinator' | 'worker', id: string, root?: string): ServiceProcess {
    return this.#start(`services/${service}/main.ts`, [`--${service}-id`, id], {}, root);
  }

  /** Starts a command that ends by itself, or by a signal. */
  command(...args: readonly string[]): ServiceProcess {
    return this.#start('services/cli/main.ts', [...args]);
  }

  /** Runs a command to its end. */
  async cli(
    ...args: readonly string[]
  ): Promise<{ readonly code: number; readonly json: readonly LogLine[]; readonly text: string }> {
    const command = this.command(...args);
    const code = await command.end();
    return { code: Number(code), json: command.lines, text: command.stray.join('\n') };
  }

  /** Waits until these workers share that many rows as evenly as they go, each by its own last line. */
  async watching(workers: Iterable<ServiceProcess>, rows: number): Promise<void> {
    const list = [...workers];
    const counts = () =>
      list.map((worker) => Number(worker.lines.findLast(({ msg }) => msg === 'watching')?.count ?? 0));
    const isShared = () => {
      const sum = counts().reduce((total, count) => total + count, 0);
      return sum === rows && Math.max(...counts()) - Math.min(...counts()) <= 1;
    };
    await eventually(
      `${rows} rows shared evenly by ${list.length} workers`,
      isShared,
      () => `they have ${counts().join(', ')}`,
    );
  }

  async stop(): Promise<void> {
    await Promise.all(this.#processes.map((process) => process.kill()));
    await this.#dropDatabase();
  }

  #start(script: string, args: readonly string[], environment: Environment = {}, root?: string): ServiceProcess {
    const started = new ServiceProcess(script, args, { ...this.environment, ...environment }, root);
    this.#processes.push(started);
    return started;
  }
}
