import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { runCommand } from './command.ts';
import { LocalError } from './local-error.ts';
import type { PostgresUser } from './postgres-programs.ts';

/** Users that systems have anyway; none is made. */
const UNPRIVILEGED = ['postgres', 'nobody'] as const;

/**
 * Whom Postgres is to run as: nobody else for an ordinary user. It refuses to run as root, so there it is the owner of the
 * data where there are any, else an unprivileged user of the system.
 */
export async function choosePostgresUser(dataDir: string): Promise<PostgresUser> {
  if (process.getuid?.() !== 0) return {};
  const owner = await stat(join(dataDir, 'PG_VERSION')).catch(() => null);
  if (owner !== null && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
  for (const name of UNPRIVILEGED) {
    const uid = await runCommand('id', ['-u', name], { limitMs: 5_000 });
    const gid = await runCommand('id', ['-g', name], { limitMs: 5_000 });
    if (uid.ok && gid.ok) return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
  }
  throw new LocalError(
    'no-postgres',
    `Postgres refuses to run as root, and there is no user ${UNPRIVILEGED.join(' or ')} to run it as. Start as an ordinary user.`,
  );
}
