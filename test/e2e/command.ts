import { execFile } from 'node:child_process';

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Why nothing can be tried at all; the message says what to do. Exit code 2. */
export class SetupError extends Error {
  override readonly name = 'SetupError';
}

/** A command that had to succeed did not. */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure';

  constructor(program: string, args: readonly string[], outcome: Outcome) {
    const shown = [program, ...args].join(' ').slice(0, 120);
    super(`${shown}: exit code ${outcome.code}: ${lastLine(outcome.stderr || outcome.stdout)}`);
  }
}

const MAX_BUFFER_BYTES = 64 * 1024 * 1024;

/**
 * Runs a program to its end, without a shell; stdin holds `input` and is closed after it.
 * @returns whatever its exit code is.
 * @throws {SetupError} when it is not on the PATH; the signal's reason when that ends it.
 */
export function runProgram(
  program: string,
  args: readonly string[],
  how: { readonly signal: AbortSignal; readonly input?: string },
): Promise<Outcome> {
  const settings = { signal: how.signal, maxBuffer: MAX_BUFFER_BYTES };
  return new Promise((resolve, reject) => {
    const child = execFile(program, [...args], settings, (error, stdout, stderr) => {
      if (error === null) return resolve({ code: 0, stdout, stderr });
      if (how.signal.aborted) return reject(how.signal.reason);
      if (error.code === 'ENOENT') return reject(new SetupError(`${program} is not on the PATH: install it`));
      const code = typeof error.code === 'number' ? error.code : 1;
      resolve({ code, stdout, stderr: stderr || error.message });
    });
    // A command that ends before it read everything says so by its exit code, not by EPIPE here.
    child.stdin?.on('error', () => {});
    child.stdin?.end(how.input);
  });
}

export function lastLine(text: string): string {
  return text.trim().split('\n').at(-1)?.trim() ?? '';
}
