import { lstat, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Where downloads are kept between starts: $XDG_CACHE_HOME or ~/.cache, else the system's folder for temporary files,
 * for users whose home is missing or not theirs to write.
 */
export async function openCacheDirectory(environment: NodeJS.ProcessEnv): Promise<string> {
  const candidates = [
    join(environment.XDG_CACHE_HOME || join(environment.HOME || findHome(), '.cache'), 'notifi-scaler'),
    join(tmpdir(), `notifi-scaler-${process.getuid?.() ?? 'user'}`),
  ];
  for (const directory of candidates) {
    if (await isOurs(directory)) return directory;
  }
  return mkdtemp(join(tmpdir(), 'notifi-scaler-'));
}

function findHome(): string {
  try {
    return homedir();
  } catch {
    // A user id without an entry among the system's users: not a place where anything can be kept.
    return '/nonexistent';
  }
}

/** Programs are run from here: a folder that another user made or may write to is not used. */
export async function isOurs(directory: string): Promise<boolean> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o755 });
    const stats = await lstat(directory);
    const mayOthersWrite = (stats.mode & 0o022) !== 0;
    if (!stats.isDirectory() || stats.uid !== (process.getuid?.() ?? stats.uid) || mayOthersWrite) return false;
    await rm(await mkdtemp(join(directory, '.writable-')), { recursive: true });
    return true;
  } catch {
    return false;
  }
}
