/** Scripts of a benchmark that run as processes of their own: told what they are at their start, and ended with who forked them. */
import { type ChildProcess, fork, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';

/**
 * The setup is the script's first argument, as JSON. Resolves with its first message, which says that it is ready. What a silent
 * one prints is read and dropped.
 */
export async function forkScript(
  script: string,
  setup: object,
  { isSilent }: { readonly isSilent: boolean } = { isSilent: false },
): Promise<ChildProcess> {
  const execArgv = script.endsWith('.js') ? [] : ['--import', import.meta.resolve('tsx')];
  const stdio: StdioOptions = isSilent ? ['ignore', 'pipe', 'inherit', 'ipc'] : 'inherit';
  const child = fork(script, [JSON.stringify(setup)], { execArgv, stdio });
  child.stdout?.resume();
  await nextMessage(child);
  return child;
}

/** @throws {Error} where it ends without one. */
export function nextMessage(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const over = (code: number | null) => reject(new Error(`${child.spawnargs.at(-2)} ended with code ${code}`));
    child.once('exit', over);
    child.once('message', (message) => {
      child.off('exit', over);
      resolve(message);
    });
  });
}

/** Harmless for one that has ended. */
export async function stopForked(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  if (child.connected) child.disconnect();
  await ended;
}
