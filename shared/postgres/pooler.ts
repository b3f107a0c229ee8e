import { stateOf } from './failure.ts';
import type { Session } from './session.ts';

/**
 * Poolers such as PgBouncer stand between a program and Postgres. One that pools by transaction hands each transaction to any
 * of its server connections: settings of the session, prepared statements and locks then belong to somebody else a moment
 * later. Versions from 1.21 on keep track of prepared statements, but of nothing else. Ticks need all of it.
 *
 * Seen from outside: a pooler announces a process id of its own at login, which is not the one that Postgres then names.
 * That it pools by transaction is proven when one server connection serves two of ours at once. A pooler that pools by
 * session keeps them apart, and does no harm.
 */
export type Pooling = 'none' | 'by-session' | 'by-transaction';

/** The application's own traffic may come between; each round is a new chance to meet. */
const ROUNDS = 5;
/** The pooler's way to refuse a transaction where it pools by statement. */
const PROTOCOL_VIOLATION = '08P01';

/**
 * @param open another connection to the same place.
 * @throws as `Session.query` and `open` do.
 */
export async function findPooling(session: Session, open: () => Promise<Session>): Promise<Pooling> {
  if ((await readServerPid(session)) === session.announcedPid) return 'none';
  const other = await open();
  try {
    for (let round = 0; round < ROUNDS; round += 1) {
      if (await isShared(session, other)) return 'by-transaction';
    }
    return 'by-session';
  } catch (error) {
    const isByStatement = stateOf((error as Error).cause ?? error) === PROTOCOL_VIOLATION;
    if (isByStatement) return 'by-transaction';
    throw error;
  } finally {
    await other.end();
  }
}

/** While the other one is in a transaction, its server connection is taken: who had it before now gets another. */
async function isShared(session: Session, other: Session): Promise<boolean> {
  const before = await readServerPid(session);
  await other.query({ text: 'BEGIN' });
  if ((await readServerPid(other)) === before) return true;
  const after = await readServerPid(session);
  await other.query({ text: 'COMMIT' });
  return after !== before;
}

async function readServerPid(session: Session): Promise<number> {
  const { rows } = await session.query<{ pid: number }>({ text: 'SELECT pg_catalog.pg_backend_pid() AS pid' });
  return rows[0]!.pid;
}
