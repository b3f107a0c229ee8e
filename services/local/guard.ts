import { spawn } from 'node:child_process';

/**
 * Sees to it that a process does not outlive this one, whatever this one dies of: a tiny shell waits on a pipe that the
 * system closes at our death, and then sends the signal. A server left over would hold its port and its files.
 * @returns what ends the watch, to be called when the process has ended.
 */
export function guard(pid: number, signal: NodeJS.Signals): () => void {
  const script = `read -r _ || kill -s ${signal.replace('SIG', '')} ${pid}`;
  const shell = spawn('/bin/sh', ['-c', script], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
  // Without a shell there is no guard; everything else works.
  shell.on('error', () => {});
  shell.stdin.on('error', () => {});
  shell.unref();
  return () => shell.stdin.end('released\n');
}
