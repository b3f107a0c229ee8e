import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';

const ROOT = resolve(import.meta.dirname, '../..');
const PATIENCE_MS = 30_000;

export interface LogLine {
  readonly msg?: string;
  readonly level?: string;
  readonly [field: string]: unknown;
}

const running = new Set<ChildProcess>();
// A test process that the runner's time limit ends runs no hooks: its services must not outlive it.
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
process.once('SIGTERM', () => process.exit(143));

/** A real process of one of the services, with the log lines it has written so far. */
export class ServiceProcess {
  readonly lines: LogLine[] = [];
  /** What was no JSON: errors before the log begins. */
  readonly stray: string[] = [];
  readonly #child: ChildProcess;
  readonly #exit: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
  #onLine: (() => void)[] = [];
  #isOver = false;

  /** `root`: the checkout that the script is taken from. @default this one */
  constructor(
    script: string,
    args: readonly string[],
    environment: Readonly<Record<string, string>>,
    root: string = ROOT,
  ) {
    this.#child = spawn(process.execPath, ['--import', 'tsx', script, ...args], {
      cwd: root,
      env: { PATH: process.env.PATH, HOME: process.env.HOME, LOG_FORMAT: 'json', ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    running.add(this.#child);
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      if (stream !== null) createInterface({ input: stream }).on('line', (line) => this.#take(line));
    }
    this.#exit = once(this.#child, 'close').then(([code, signal]) => {
      this.#isOver = true;
      running.delete(this.#child);
      this.#tell();
      return { code, signal };
    });
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error('the process did not start');
    return this.#child.pid;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** The exit code, or the signal's name. */
  async end(): Promise<number | NodeJS.Signals> {
    const { code, signal } = await within(this.#exit, 'the end of the process', () => this.tail());
    return code ?? signal ?? 'SIGKILL';
  }

  async kill(): Promise<void> {
    if (this.#isOver) return;
    // A stopped process takes its SIGKILL all the same.
    this.#child.kill('SIGKILL');
    await this.#exit;
  }

  /** The first line, from index `from` on, that fits; waits for it. */
  async waitFor(what: string, fits: (line: LogLine) => boolean, from = 0): Promise<LogLine> {
    const found = () => this.lines.slice(from).find(fits);
    const line = new Promise<LogLine>((done, fail) => {
      const look = () => {
        const hit = found();
        if (hit !== undefined) done(hit);
        else if (this.#isOver) fail(new Error(`the process ended before ${what}\n${this.tail()}`));
        else this.#onLine.push(look);
      };
      look();
    });
    return within(line, what, () => this.tail());
  }

  tail(): string {
    return [...this.lines.slice(-12).map((line) => JSON.stringify(line).slice(0, 300)), ...this.stray.slice(-12)].join(
      '\n',
    );
  }

  #take(line: string): void {
    try {
      this.lines.push(JSON.parse(line));
    } catch {
      this.stray.push(line);
    }
    this.#tell();
  }

  #tell(): void {
    const waiting = this.#onLine;
    this.#onLine = [];
    for (const look of waiting) look();
  }
}

/** Waits for a condition, asking again every 50 ms. */
export async function eventually<Value>(
  what: string,
  ask: () => Promise<Value | null | false> | Value | null | false,
  explain: () => string = () => '',
): Promise<Value> {
  const endMs = performance.now() + PATIENCE_MS;
  for (;;) {
    const value = await ask();
    if (value !== null && value !== false) return value;
    if (performance.now() > endMs) throw new Error(`waited ${PATIENCE_MS} ms in vain for ${what} ${explain()}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

async function within<Value>(promise: Promise<Value>, what: string, explain: () => string): Promise<Value> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, fail) => {
    timer = setTimeout(
      () => fail(new Error(`waited ${PATIENCE_MS} ms in vain for ${what}\n${explain()}`)),
      PATIENCE_MS,
    );
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
