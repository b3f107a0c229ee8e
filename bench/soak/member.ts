import { createWriteStream, type WriteStream } from 'node:fs';
import { join } from 'node:path';
import { describeEnding, type RunningProcess, startProcess } from '../../services/local/process.ts';
import type { Role } from '../../services/local/supervisor.ts';
import type { TcpProxy } from '../../test/support/tcp-proxy.ts';
import { compiledService } from '../support/compiled-services.ts';

export interface MemberOptions {
  readonly name: string;
  readonly role: Role;
  readonly environment: NodeJS.ProcessEnv;
  /** Its own stretches of network. */
  readonly nats: TcpProxy;
  readonly postgres: TcpProxy;
  /** The plan never ends it: its memory is judged over the whole run. */
  readonly isSpared: boolean;
  readonly logFolder: string | undefined;
  readonly onLine: (member: Member, line: string) => void;
  readonly onLost: (what: string) => void;
}

/** A planned leave takes 10 s at most. */
const STOP_LIMIT_MS = 15_000;
const LAST_LINES = 12;

/** One worker or coordinator over the whole run: a process, or the place of one that is away just now. */
export class Member {
  readonly name: string;
  readonly role: Role;
  readonly isSpared: boolean;
  readonly nats: TcpProxy;
  readonly postgres: TcpProxy;
  /** A fault has it: no other may. */
  isTaken = false;
  readonly #options: MemberOptions;
  readonly #log: WriteStream | null;
  #process: RunningProcess | null = null;
  /** Before its first line a process is still being loaded, and SIGTERM ends it as it ends any program. */
  #hasSpoken = false;
  #lastLines: string[] = [];

  constructor(options: MemberOptions) {
    this.#options = options;
    this.name = options.name;
    this.role = options.role;
    this.isSpared = options.isSpared;
    this.nats = options.nats;
    this.postgres = options.postgres;
    const { logFolder, name } = options;
    this.#log = logFolder === undefined ? null : createWriteStream(join(logFolder, `${name}.log`), { flags: 'a' });
  }

  /** Null while it is away. */
  get pid(): number | null {
    return this.#process?.pid ?? null;
  }

  async start(): Promise<void> {
    this.#hasSpoken = false;
    const started = await startProcess({
      command: process.execPath,
      args: await compiledService(this.role),
      environment: this.#options.environment,
      onLine: (line) => this.#take(line),
    });
    this.#process = started;
    void started.ended.then((ending) => {
      if (this.#process !== started) return;
      this.#process = null;
      this.#options.onLost(`${this.name} ${describeEnding(ending)} unasked\n  ${this.#lastLines.join('\n  ')}`);
    });
  }

  async kill(): Promise<void> {
    const killed = this.#forget();
    killed?.kill();
    await killed?.ended;
  }

  /** The planned leave. One that does not end by itself is killed, and counts as lost. */
  async leave(): Promise<void> {
    const leaving = this.#forget();
    if (leaving === null) return;
    const { code, signal } = await leaving.stop({ signal: 'SIGTERM', limitMs: STOP_LIMIT_MS });
    if (code !== 0 && this.#hasSpoken)
      this.#options.onLost(`${this.name}, asked to leave, ${describeEnding({ code, signal })}`);
  }

  freeze(): void {
    if (this.#process !== null) process.kill(this.#process.pid, 'SIGSTOP');
  }

  thaw(): void {
    if (this.#process !== null) process.kill(this.#process.pid, 'SIGCONT');
  }

  /** At the end of the run. */
  async close(): Promise<void> {
    this.thaw();
    await this.leave();
    await Promise.all([this.nats.close(), this.postgres.close()]);
    this.#log?.end();
  }

  #forget(): RunningProcess | null {
    const forgotten = this.#process;
    this.#process = null;
    return forgotten;
  }

  #take(line: string): void {
    this.#hasSpoken = true;
    this.#log?.write(`${line}\n`);
    this.#lastLines = [...this.#lastLines.slice(1 - LAST_LINES), line.slice(0, 300)];
    this.#options.onLine(this, line);
  }
}
