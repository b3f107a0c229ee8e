import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import type { LocalServer } from '../../services/local/local-server.ts';
import { type LocalNatsServer, startNatsServer } from '../../services/local/nats-server.ts';
import { findNatsServer } from '../../services/local/nats-server-source.ts';
import { startPostgres } from '../../services/local/postgres.ts';
import { describeEnding } from '../../services/local/process.ts';

export interface ServerOutage {
  readonly how: 'in order' | 'killed';
  /** Over when it is to be started again. */
  readonly rest: () => Promise<void>;
}

type Start = (port: number) => Promise<LocalServer & Pick<LocalNatsServer, 'systemUrl'>>;

/** A server that is started again and again, on one port and one store. */
export class SoakServer {
  readonly name: string;
  readonly url: string;
  /** Where NATS' system account is read; undefined for Postgres. */
  readonly systemUrl: string | undefined;
  readonly #start: Start;
  readonly #onLost: (what: string) => void;
  #current: LocalServer;
  /** Outages of one server wait for each other. */
  #outages: Promise<void> = Promise.resolve();
  #isEnding = false;

  private constructor(options: {
    readonly name: string;
    readonly start: Start;
    readonly first: Awaited<ReturnType<Start>>;
    readonly onLost: (what: string) => void;
  }) {
    this.name = options.name;
    this.url = options.first.url;
    this.systemUrl = options.first.systemUrl;
    this.#start = options.start;
    this.#onLost = options.onLost;
    this.#current = options.first;
    this.#watch();
  }

  /** `onLost` is told of an end that nobody asked for. */
  static async nats(dataDir: string, onLost: (what: string) => void): Promise<SoakServer> {
    const log = pino({ level: 'silent' });
    const { path: binary } = await findNatsServer({ log });
    // With the system account, as for `npm start`; its password outlives the restarts.
    const account = { systemAccount: true, systemPassword: randomBytes(16).toString('hex') };
    const start: Start = (port) => startNatsServer({ binary, port, dataDir, log, ...account });
    return new SoakServer({ name: 'nats', start, first: await start(0), onLost });
  }

  static async postgres(dataDir: string, onLost: (what: string) => void): Promise<SoakServer> {
    const log = pino({ level: 'silent' });
    const start: Start = (port) => startPostgres({ dataDir, port, log });
    return new SoakServer({ name: 'postgres', start, first: await start(0), onLost });
  }

  get pid(): number {
    return this.#current.pid;
  }

  /** Resolves when it answers again. */
  suffer(outage: ServerOutage): Promise<void> {
    const suffered = this.#outages.then(() => this.#restart(outage));
    this.#outages = suffered.catch(() => {});
    return suffered;
  }

  async stop(): Promise<void> {
    this.#isEnding = true;
    await this.#outages;
    await this.#current.stop();
  }

  async #restart({ how, rest }: ServerOutage): Promise<void> {
    if (this.#isEnding) return;
    const { port } = this.#current;
    this.#isEnding = true;
    if (how === 'killed') this.#current.kill();
    else await this.#current.stop();
    await this.#current.ended;
    await rest();
    this.#current = await this.#start(port);
    this.#isEnding = false;
    this.#watch();
  }

  #watch(): void {
    const watched = this.#current;
    void watched.ended.then((ending) => {
      if (!this.#isEnding && watched === this.#current) this.#onLost(`${this.name} ${describeEnding(ending)}`);
    });
  }
}
