import { setTimeout as wait } from 'node:timers/promises';
import type { Logger } from 'pino';
import { LocalError } from './local-error.ts';
import { type LocalServer, Tail } from './local-server.ts';
import { findFreePort } from './ports.ts';
import { makeDatabase } from './postgres-database.ts';
import { readLock, removeDeadLock } from './postgres-lock.ts';
import {
  findPostgresPrograms,
  type PostgresPrograms,
  type PostgresUser,
  serverEnvironment,
} from './postgres-programs.ts';
import { choosePostgresUser } from './postgres-user.ts';
import { describeEnding, type RunningProcess, startProcess } from './process.ts';
import { sayWhileWaiting } from './progress.ts';

export interface PostgresServerOptions {
  /** Made when it is missing; the database of an earlier start goes on. */
  readonly dataDir: string;
  /** 0: any free one. */
  readonly port: number;
  readonly log: Logger;
  /** More of the server's settings. */
  readonly settings?: Readonly<Record<string, string | number>>;
}

const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 30_000;
/** After a crash, the last processes of the old server may hold its shared memory for a moment longer. */
const RETRY_LIMIT_MS = 10_000;
const RETRY_REASONS = /shared memory block .* is still in use|Address already in use/;

/**
 * Runs a Postgres on loopback only, where it trusts everybody: database `postgres`, roles `postgres` and the current
 * user's name. Resolves when it takes connections.
 * @throws {LocalError} `no-postgres` where its programs do not run; `server-failed` with its last words.
 */
export async function startPostgres(options: PostgresServerOptions): Promise<LocalServer> {
  const { dataDir } = options;
  const log = options.log.child({ service: 'postgres' });
  const user = await choosePostgresUser(dataDir);
  const programs = await findPostgresPrograms({ user, log });
  await makeDatabase({ dataDir, programs, user, log });
  await removeDeadLock(dataDir, log);
  const work = startWithRetries({ ...options, log }, programs, user);
  const { server, port } = await sayWhileWaiting(log, 'waiting for Postgres', work);
  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    port,
    pid: server.pid,
    ended: server.ended,
    // "Fast": open transactions are rolled back, connections closed, and everything is written.
    stop: async () => void (await server.stop({ signal: 'SIGINT', limitMs: STOP_LIMIT_MS })),
    kill: server.kill,
  };
}

async function startWithRetries(
  options: PostgresServerOptions,
  programs: PostgresPrograms,
  user: PostgresUser,
): Promise<{ server: RunningProcess; port: number }> {
  const deadlineMs = performance.now() + RETRY_LIMIT_MS;
  for (;;) {
    const port = options.port === 0 ? await findFreePort() : options.port;
    try {
      return { server: await startOnce({ ...options, port }, programs, user), port };
    } catch (error) {
      const mayPass = error instanceof LocalError && RETRY_REASONS.test(error.message);
      if (!mayPass || performance.now() > deadlineMs) throw error;
      await wait(200);
    }
  }
}

async function startOnce(
  options: PostgresServerOptions,
  programs: PostgresPrograms,
  user: PostgresUser,
): Promise<RunningProcess> {
  const { dataDir, port, log } = options;
  const tail = new Tail();
  const server = await startProcess({
    command: programs.postgres,
    args: ['-D', dataDir, ...settings(port, options.settings)],
    environment: serverEnvironment(),
    orphanSignal: 'SIGINT',
    ...user,
    onLine: (line) => {
      tail.add(line);
      log.debug(line);
    },
  });
  try {
    await waitUntilReady(server, dataDir, tail);
    return server;
  } catch (error) {
    server.kill();
    throw error;
  }
}

function settings(port: number, others: PostgresServerOptions['settings'] = {}): string[] {
  const values = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    // A small machine's share; and each worker keeps a few connections of its own.
    shared_buffers: '256MB',
    max_connections: 300,
    // Messages are read here, and by people.
    lc_messages: 'C',
    log_line_prefix: '',
    logging_collector: 'off',
    log_destination: 'stderr',
    ...others,
  };
  return Object.entries(values).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

/** As pg_ctl does it: the server writes its state into its lock file. */
async function waitUntilReady(server: RunningProcess, dataDir: string, tail: Tail): Promise<void> {
  const over = server.ended.then((ending) => {
    throw new LocalError(
      'server-failed',
      `Postgres ${describeEnding(ending)} before it was ready; its last lines:${tail}`,
    );
  });
  over.catch(() => {});
  const deadlineMs = performance.now() + START_LIMIT_MS;
  while (performance.now() < deadlineMs) {
    const lock = await Promise.race([readLock(dataDir), over]);
    if (lock?.pid === server.pid && lock.state === 'ready') return;
    await Promise.race([wait(20), over]);
  }
  throw new LocalError(
    'server-failed',
    `Postgres was not ready after ${START_LIMIT_MS / 1000} s; its last lines:${tail}`,
  );
}
