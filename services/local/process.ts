import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';
import { guard } from './guard.ts';

export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface RunningProcess {
  readonly pid: number;
  /** Resolves once it has ended and its output was read. Never rejects. */
  readonly ended: Promise<Ending>;
  /** Asks it to end and waits; kills it when it has not by then. Harmless for one that has ended. */
  stop(how: { readonly signal: NodeJS.Signals; readonly limitMs: number }): Promise<Ending>;
  kill(): void;
}

export interface ProcessOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly environment?: NodeJS.ProcessEnv;
  readonly uid?: number;
  readonly gid?: number;
  /** Sent to it when this process itself dies without having stopped it. @default SIGTERM */
  readonly orphanSignal?: NodeJS.Signals;
  /** Each line that it writes, without the line end. */
  readonly onLine: (line: string, stream: 'stdout' | 'stderr') => void;
}

/**
 * Starts a process in a group of its own: Ctrl-C on the terminal reaches this process only, which ends the others in order.
 * @throws {Error} when it cannot be started (ENOENT, EACCES).
 */
export async function startProcess(options: ProcessOptions): Promise<RunningProcess> {
  const { command, args, environment = process.env, uid, gid } = options;
  const user = { ...(uid !== undefined && { uid }), ...(gid !== undefined && { gid }) };
  const child = spawn(command, args, { ...user, env: environment, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = waitForEnd(child, options.onLine);
  await once(child, 'spawn');
  const pid = child.pid!;
  const release = guard(pid, options.orphanSignal ?? 'SIGTERM');
  void ended.then(release);
  return {
    pid,
    ended,
    stop: async ({ signal, limitMs }) => {
      child.kill(signal);
      const patience = new AbortController();
      const kill = wait(limitMs, undefined, { signal: patience.signal }).then(
        () => child.kill('SIGKILL'),
        () => {},
      );
      const ending = await ended;
      patience.abort();
      await kill;
      return ending;
    },
    kill: () => void child.kill('SIGKILL'),
  };
}

/** Grandchildren may hold the pipes for longer; what comes after this is not waited for. */
const LAST_OUTPUT_MS = 500;

async function waitForEnd(child: ChildProcess, onLine: ProcessOptions['onLine']): Promise<Ending> {
  createInterface({ input: child.stdout! }).on('line', (line) => onLine(line, 'stdout'));
  createInterface({ input: child.stderr! }).on('line', (line) => onLine(line, 'stderr'));
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const ending = await new Promise<Ending>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
    child.once('error', () => resolve({ code: null, signal: null }));
  });
  await Promise.race([closed, wait(LAST_OUTPUT_MS, undefined, { ref: false })]);
  return ending;
}

export function describeEnding({ code, signal }: Ending): string {
  return signal === null ? `ended with exit code ${code}` : `ended by ${signal}`;
}
