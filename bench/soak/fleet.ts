import type { Role } from '../../services/local/supervisor.ts';
import { TcpProxy } from '../../test/support/tcp-proxy.ts';
import { Member } from './member.ts';
import type { SoakServer } from './servers.ts';

export interface FleetOptions {
  readonly nats: SoakServer;
  readonly postgres: SoakServer;
  readonly logFolder: string | undefined;
  /** Told of each end that nobody asked for. */
  readonly onLost: (what: string) => void;
}

/** All workers and coordinators, each behind proxies of its own. */
export class Fleet {
  readonly members: Member[] = [];
  readonly #options: FleetOptions;
  /** How many of each role there ever were: no id comes twice. */
  readonly #added = { worker: 0, coordinator: 0 };
  /** The last to have said that it leads. */
  #leader: Member | null = null;

  constructor(options: FleetOptions) {
    this.#options = options;
  }

  get leader(): Member | null {
    return this.#leader?.pid == null ? null : this.#leader;
  }

  /** Those that run, frozen or cut off as they may be. */
  running(role: Role): Member[] {
    return this.members.filter((member) => member.role === role && member.pid !== null);
  }

  /** Starts one more; the first of its role is spared. */
  async add(role: Role): Promise<Member> {
    const { nats, postgres, logFolder, onLost } = this.#options;
    this.#added[role] += 1;
    const number = this.#added[role];
    const name = `${role}-${number}`;
    const proxies = { nats: await TcpProxy.before(nats.url), postgres: await TcpProxy.before(postgres.url) };
    const member = new Member({
      name,
      role,
      environment: {
        PATH: process.env.PATH,
        HOME: process.env.HOME,
        WORKER_ID: name,
        COORDINATOR_ID: name,
        NATS_URL: proxies.nats.through(nats.url),
        NATS_SYSTEM_URL: nats.systemUrl === undefined ? undefined : proxies.nats.through(nats.systemUrl),
        DATABASE_URL: proxies.postgres.through(postgres.url),
        HTTP_PORT: '0',
        LOG_FORMAT: 'json',
      },
      ...proxies,
      isSpared: number === 1,
      logFolder,
      onLine: (from, line) => this.#hear(from, line),
      onLost,
    });
    this.members.push(member);
    await member.start();
    return member;
  }

  /** Takes a member for good out of the fleet. */
  async remove(member: Member): Promise<void> {
    await member.close();
    this.members.splice(this.members.indexOf(member), 1);
  }

  /** Asks all workers to leave, then the coordinators, as `npm start` does. */
  async close(): Promise<void> {
    for (const role of ['worker', 'coordinator'] as const) {
      await Promise.all(this.members.filter((member) => member.role === role).map((member) => member.close()));
    }
  }

  #hear(member: Member, line: string): void {
    if (member.role === 'coordinator' && /"msg":"leading/.test(line)) this.#leader = member;
  }
}
