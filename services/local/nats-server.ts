import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { Logger } from 'pino';
import { LocalError } from './local-error.ts';
import { type LocalServer, Tail } from './local-server.ts';
import { describeEnding, type RunningProcess, startProcess } from './process.ts';

export interface NatsServerOptions {
  /** From `findNatsServer`. */
  readonly binary: string;
  /** 0: any free one. */
  readonly port: number;
  /** Made when it is missing; streams and buckets of an earlier start are kept. */
  readonly dataDir: string;
  readonly log: Logger;
  /**
   * With a system account, whose events tell of lost connections at once. Clients need no credentials then either: they
   * are put into a named account, because the server publishes no events for the default one. @default false
   */
  readonly systemAccount?: boolean;
  /** The system account's, for a server that is started again under the eyes of its clients. @default a new one for each start */
  readonly systemPassword?: string;
}

export interface LocalNatsServer extends LocalServer {
  /** Where the system account's events are read; undefined without one. */
  readonly systemUrl?: string;
}

const READY_LIMIT_MS = 30_000;
const STOP_LIMIT_MS = 10_000;

/**
 * Runs a NATS server with JetStream on files, on loopback only. Resolves when it answers.
 * @throws {LocalError} `server-failed` with the server's last words.
 */
export async function startNatsServer(options: NatsServerOptions): Promise<LocalNatsServer> {
  const { binary, dataDir } = options;
  const log = options.log.child({ service: 'nats' });
  const portsDir = join(dataDir, 'ports');
  await rm(portsDir, { recursive: true, force: true });
  await mkdir(portsDir, { recursive: true });
  const systemPassword = options.systemAccount ? (options.systemPassword ?? randomBytes(16).toString('hex')) : null;
  const configPath = join(dataDir, 'nats-server.conf');
  await rm(configPath, { force: true });
  // Readable for its owner only: it holds the passwords.
  await writeFile(configPath, makeConfig(options, systemPassword), { mode: 0o600 });
  const tail = new Tail();
  const server = await startProcess({
    command: binary,
    args: ['--config', configPath],
    onLine: (line) => {
      tail.add(line);
      log.debug(line);
    },
  });
  try {
    const port = await waitUntilReady(server, portsDir, tail);
    const address = `127.0.0.1:${port}`;
    return {
      url: `nats://${address}`,
      ...(systemPassword !== null && { systemUrl: `nats://system:${systemPassword}@${address}` }),
      port,
      pid: server.pid,
      ended: server.ended,
      stop: async () => void (await server.stop({ signal: 'SIGTERM', limitMs: STOP_LIMIT_MS })),
      kill: server.kill,
    };
  } catch (error) {
    server.kill();
    throw error;
  }
}

/** Configuration files of NATS may be JSON. */
function makeConfig(options: NatsServerOptions, systemPassword: string | null): string {
  const { port, dataDir } = options;
  const accounts = {
    APP: { jetstream: 'enabled', users: [{ user: 'app', password: randomBytes(16).toString('hex') }] },
    SYSTEM: { users: [{ user: 'system', password: systemPassword }] },
  };
  return JSON.stringify({
    host: '127.0.0.1',
    port: port === 0 ? -1 : port,
    server_name: 'notifi-scaler-local',
    jetstream: { store_dir: dataDir },
    ports_file_dir: join(dataDir, 'ports'),
    ...(systemPassword !== null && { accounts, system_account: 'SYSTEM', no_auth_user: 'app' }),
  });
}

/** Ready is what lets a client in: the port answers with the server's INFO. */
async function waitUntilReady(server: RunningProcess, portsDir: string, tail: Tail): Promise<number> {
  const over = server.ended.then((ending) => {
    throw new LocalError(
      'server-failed',
      `nats-server ${describeEnding(ending)} before it was ready; its last lines:${tail}`,
    );
  });
  over.catch(() => {});
  const deadlineMs = performance.now() + READY_LIMIT_MS;
  while (performance.now() < deadlineMs) {
    const port = await Promise.race([readPort(portsDir), over]);
    if (port !== null && (await Promise.race([isAnswering(port), over]))) return port;
    await Promise.race([wait(20), over]);
  }
  throw new LocalError(
    'server-failed',
    `nats-server was not ready after ${READY_LIMIT_MS / 1000} s; its last lines:${tail}`,
  );
}

/** The server writes the ports it listens on into a file there: the only way to learn one that it chose itself. */
async function readPort(portsDir: string): Promise<number | null> {
  try {
    const [name] = await readdir(portsDir);
    const { nats } = JSON.parse(await readFile(join(portsDir, name!), 'utf8')) as { nats: string[] };
    return Number(new URL(nats[0]!).port);
  } catch {
    // Not there yet, or half written.
    return null;
  }
}

/** Does a NATS server greet on this port of loopback, within a second? */
export async function isAnswering(port: number): Promise<boolean> {
  const socket = createConnection({ host: '127.0.0.1', port });
  try {
    const [greeting] = await once(socket, 'data', { signal: AbortSignal.timeout(1_000) });
    return String(greeting).startsWith('INFO ');
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
