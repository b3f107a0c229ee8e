import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { runCommand } from './command.ts';
import { LocalError } from './local-error.ts';

/** What a Postgres server writes about itself into its data folder (postmaster.pid). */
export interface Lock {
  readonly pid: number;
  /** "starting", "ready", "stopping"; absent while the file is being written. */
  readonly state: string | undefined;
}

/** Null where no server has run, or the last one ended in order. */
export async function readLock(dataDir: string): Promise<Lock | null> {
  const text = await readFile(lockPath(dataDir), 'utf8').catch(() => null);
  if (text === null) return null;
  const lines = text.split('\n');
  return { pid: Number(lines[0]), state: lines[7]?.trim() };
}

/**
 * The lock that a killed server left behind: Postgres takes it away itself, unless the process id in it has meanwhile gone to
 * another process of the same user, as is likely in a container. Then it is taken away here. The shared memory, which is
 * found by the folder, still keeps a second server out.
 * @throws {LocalError} `server-failed` when a server runs on this data.
 */
export async function removeDeadLock(dataDir: string, log: Logger): Promise<void> {
  const lock = await readLock(dataDir);
  if (lock === null || !isAlive(lock.pid)) return;
  const command = await readCommand(lock.pid);
  // Where nothing can be learnt about the process, it is for Postgres to decide.
  if (command === null) return;
  if (/(^|\/)postgres(\0|\s|$)/.test(command)) {
    throw new LocalError(
      'server-failed',
      `the database in ${dataDir} is in use by process ${lock.pid}. End that one (kill -INT ${lock.pid}), or choose another folder.`,
    );
  }
  log.warn({ pid: lock.pid }, 'removing the lock file that a killed Postgres left behind');
  await rm(lockPath(dataDir), { force: true });
}

function lockPath(dataDir: string): string {
  return join(dataDir, 'postmaster.pid');
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** The command line of a process, empty for one that is dead but not yet taken note of. */
async function readCommand(pid: number): Promise<string | null> {
  const fromProc = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => null);
  if (fromProc !== null) return fromProc;
  const fromPs = await runCommand('ps', ['-o', 'command=', '-p', String(pid)], { limitMs: 5_000 });
  return fromPs.ok ? fromPs.stdout.trim() : null;
}
