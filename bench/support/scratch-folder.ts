import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const folders = new Set<string>();
const kills = new Set<() => void>();

/** A new folder for a server's data, removed when the benchmark ends: also when it is cut off. */
export async function makeScratchFolder(name: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), `notifi-scaler-bench-${name}-`));
  folders.add(folder);
  return folder;
}

export function removeScratchFolder(folder: string): void {
  folders.delete(folder);
  // A server killed a moment ago may still be writing.
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
}

/**
 * Kills a server if the benchmark is cut off, before its folder is removed: a running one writes new files into it.
 * @returns the end of that, to be called when the server has stopped.
 */
export function killAtExit(kill: () => void): () => void {
  kills.add(kill);
  return () => void kills.delete(kill);
}

process.once('exit', () => {
  for (const kill of kills) kill();
  for (const folder of folders) removeScratchFolder(folder);
});
// By default a signal ends a process without its exit handlers.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
