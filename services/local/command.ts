import { execFile } from 'node:child_process';

export type CommandOutcome =
  | { readonly ok: true; readonly stdout: string }
  | { readonly ok: false; readonly isMissing: boolean; readonly reason: string };

/** Runs a command to its end, without a shell. Never rejects: a reason is short enough to stand in a message. */
export function runCommand(
  command: string,
  args: readonly string[],
  options: {
    readonly limitMs: number;
    readonly cwd?: string;
    readonly environment?: NodeJS.ProcessEnv;
    readonly input?: string;
    readonly uid?: number;
    readonly gid?: number;
  },
): Promise<CommandOutcome> {
  const { limitMs, environment, input, ...rest } = options;
  const settings = { ...rest, env: environment ?? process.env, timeout: limitMs, maxBuffer: 16 * 1024 * 1024 };
  return new Promise((resolve) => {
    const child = execFile(command, [...args], settings, (error, stdout, stderr) => {
      if (error === null) return resolve({ ok: true, stdout });
      if (error.code === 'ENOENT')
        return resolve({ ok: false, isMissing: true, reason: `${command} is not installed` });
      const why = error.killed ? `took longer than ${limitMs / 1000} s` : (lastLine(stderr) ?? error.message);
      resolve({ ok: false, isMissing: false, reason: `${command} ${args[0] ?? ''}: ${why}` });
    });
    // A command that ends before it read everything says so by its exit code, not by EPIPE here.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}

function lastLine(text: string): string | undefined {
  return text.trim().split('\n').at(-1)?.trim() || undefined;
}
