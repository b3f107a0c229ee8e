import { chown, mkdir, rename, rm, stat } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import { runCommand } from './command.ts';
import { LocalError } from './local-error.ts';
import { type PostgresPrograms, type PostgresUser, serverEnvironment } from './postgres-programs.ts';
import { sayWhileWaiting } from './progress.ts';

const INIT_LIMIT_MS = 120_000;

interface Surroundings {
  readonly dataDir: string;
  readonly programs: PostgresPrograms;
  readonly user: PostgresUser;
  readonly log: Logger;
}

/** One collation on every platform, whatever libraries it has; the same order of texts as in the services. */
const INIT_ARGS = [
  ...['--username=postgres', '--auth=trust', '--encoding=UTF8'],
  ...['--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'],
];

/**
 * Makes a new database in the folder, unless there is one. Made under another name and renamed when it is whole: one that
 * was cut short would never start.
 * @throws {LocalError} `server-failed` saying why it cannot be made there.
 */
export async function makeDatabase(surroundings: Surroundings): Promise<void> {
  const { dataDir, log } = surroundings;
  const isDone = await stat(join(dataDir, 'PG_VERSION')).then(
    () => true,
    () => false,
  );
  if (isDone) return;
  const draft = `${dataDir}.making`;
  await rm(draft, { recursive: true, force: true });
  await sayWhileWaiting(log, 'making a new database', initialize({ ...surroundings, dataDir: draft }));
  await rename(draft, dataDir).catch((error: NodeJS.ErrnoException) => {
    throw new LocalError(
      'server-failed',
      `${dataDir} holds something else than a database (${error.code}): empty it, or choose another folder.`,
    );
  });
}

async function initialize({ dataDir, programs, user }: Surroundings): Promise<void> {
  await mkdir(dataDir, { recursive: true });
  if (user.uid !== undefined) await chown(dataDir, user.uid, user.gid);
  const command = { ...user, limitMs: INIT_LIMIT_MS, environment: serverEnvironment() };
  const made = await runCommand(programs.initdb, [...INIT_ARGS, '--pgdata', dataDir], command);
  if (!made.ok) throw new LocalError('server-failed', describeInitFailure({ reason: made.reason, dataDir, user }));
  // So that clients which name no user, as psql and the services' default, come in as who they are.
  const roles = ownNames().map((name) => `CREATE ROLE "${name.replaceAll('"', '""')}" SUPERUSER LOGIN\n`);
  await runCommand(programs.postgres, ['--single', '-D', dataDir, 'postgres'], { ...command, input: roles.join('') });
}

function ownNames(): string[] {
  const names = new Set([process.env.USER ?? '']);
  try {
    names.add(userInfo().username);
  } catch {
    // A user id without an entry among the system's users has no name.
  }
  return [...names].filter((name) => name !== '' && name !== 'postgres');
}

function describeInitFailure(context: { reason: string; dataDir: string; user: PostgresUser }): string {
  const { reason, dataDir, user } = context;
  const isClosed = user.uid !== undefined && /permission denied/i.test(reason);
  const advice = isClosed
    ? ` Postgres refuses to run as root, so it runs as user ${user.uid}, who must be able to reach ${dirname(dataDir)}: choose a folder outside closed homes, such as one below /var/tmp.`
    : '';
  return `cannot make a new database in ${dataDir}: ${reason}.${advice}`;
}
