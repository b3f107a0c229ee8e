import type { Ending } from './process.ts';

/** A server that runs on this machine as a process of its own. */
export interface LocalServer {
  /** What a client connects to. */
  readonly url: string;
  /** The port listened on, also where any free one was asked for. */
  readonly port: number;
  readonly pid: number;
  /** Resolves when it has ended, asked or not. Never rejects. */
  readonly ended: Promise<Ending>;
  /** Ends it in order and waits. Idempotent. */
  stop(): Promise<void>;
  /** Ends it at once. */
  kill(): void;
}

/** The last lines of a server's output, for when it does not come up. */
export class Tail {
  readonly #lines: string[] = [];
  static readonly LINES_MAX = 20;

  add(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length > Tail.LINES_MAX) this.#lines.shift();
  }

  toString(): string {
    return this.#lines.map((line) => `\n  ${line}`).join('') || ' it wrote nothing';
  }
}
