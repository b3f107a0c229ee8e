import { setTimeout as wait } from 'node:timers/promises';
import type { Logger } from 'pino';
import { makeLogger } from '../../shared/log/logger.ts';
import { parseTableNames, TableError } from '../../shared/postgres/table.ts';
import { type Addresses, describeAnnouncement, makeAnnouncement } from './announcement.ts';
import { type DataDirectory, openDataDirectory } from './data-directory.ts';
import { fillTable } from './fill-table.ts';
import { LocalError } from './local-error.ts';
import type { LocalServer } from './local-server.ts';
import type { LocalOptions } from './options.ts';
import { type Output, openOutput } from './output.ts';
import { expectFreePorts, findFreePort } from './ports.ts';
import { describeEnding } from './process.ts';
import { sayWhileWaiting } from './progress.ts';
import { type Servers, startServers } from './servers.ts';
import { listCoordinators, listWorkers } from './services.ts';
import { Supervisor } from './supervisor.ts';

interface Session {
  readonly options: LocalOptions;
  readonly log: Logger;
  readonly output: Output;
  readonly supervisor: Supervisor;
  readonly servers: Servers;
  data: DataDirectory | null;
  /** Aborted when everything is to end: with a LocalError as its reason when something went wrong. */
  readonly end: AbortController;
  /** Until then a coordinator's end is fatal: nobody else would make the table. */
  isReady: boolean;
}

export interface LocalRun {
  /** The exit code, when all has ended. Never rejects. */
  readonly done: Promise<0 | 1>;
  /** Ends at once all that still runs. */
  kill(): void;
}

/** Runs everything until `end` is aborted or a server ends unasked, then ends workers, coordinators, Postgres and NATS. */
export function runLocal(options: LocalOptions, end: AbortController): LocalRun {
  const log = makeLogger({ level: options.logLevel, base: {} });
  const output = openOutput(() => end.abort());
  const supervisor = new Supervisor({
    log,
    output,
    restart: options.restart,
    onLost: (service, ending) => {
      if (session.isReady || supervisor.count('coordinator') > 0) return;
      const what = `${service.name} ${describeEnding(ending)} before the table was ready; its lines above say why.`;
      end.abort(new LocalError('service-failed', what));
    },
  });
  const servers: Servers = { nats: null, postgres: null };
  const session: Session = { options, log, output, supervisor, servers, data: null, end, isReady: false };
  return { done: runSession(session), kill: () => killAll(session) };
}

/** How long a start under way may take to notice that everything is to end. */
const START_STOP_LIMIT_MS = 5_000;

async function runSession(session: Session): Promise<0 | 1> {
  const { end, log } = session;
  const ended = new Promise((resolve) => end.signal.addEventListener('abort', resolve, { once: true }));
  const started = startAll(session).catch((error) => end.abort(error));
  await ended;
  const code = reportEnd(end.signal.reason, log);
  await Promise.race([started, wait(START_STOP_LIMIT_MS, undefined, { ref: false })]);
  await endAll(session);
  return code;
}

function reportEnd(reason: unknown, log: Logger): 0 | 1 {
  if (reason instanceof LocalError || reason instanceof TableError) {
    process.stderr.write(`${reason.message}\n`);
    return 1;
  }
  const wasAsked = reason instanceof DOMException && reason.name === 'AbortError';
  if (!wasAsked) log.error({ err: reason }, 'unexpected error');
  else log.info('ending everything: workers, coordinators, Postgres, NATS');
  return wasAsked ? 0 : 1;
}

async function startAll(session: Session): Promise<void> {
  const { options, log, supervisor, end, output } = session;
  const names = parseTableNames(options);
  await expectFreePorts([
    { name: 'NATS', port: options.natsPort, flag: '--nats-port', host: '127.0.0.1' },
    { name: 'Postgres', port: options.postgresPort, flag: '--postgres-port', host: '127.0.0.1' },
    { name: 'HTTP', port: options.httpPort, flag: '--http-port' },
  ]);
  session.data = await openDataDirectory(options.data);
  const { nats, postgres } = await startServers(session.servers, { options, data: session.data, log });
  watchServer(session, 'NATS', nats);
  watchServer(session, 'Postgres', postgres);
  const httpPort = options.httpPort === 0 ? await findFreePort() : options.httpPort;
  const around = { options, natsUrl: nats.url, systemUrl: nats.systemUrl, databaseUrl: postgres.url, httpPort };
  for (const service of listCoordinators(around)) {
    end.signal.throwIfAborted();
    await supervisor.start(service);
  }
  const filled = fillTable({ databaseUrl: postgres.url, names, rows: options.rows, log, signal: end.signal });
  await sayWhileWaiting(log, 'waiting for a coordinator to adopt the table', filled);
  for (const service of listWorkers(around)) {
    end.signal.throwIfAborted();
    await supervisor.start(service);
  }
  const addresses: Addresses = { nats: nats.url, postgres: postgres.url, http: `http://127.0.0.1:${httpPort}` };
  await sayWhileWaiting(log, 'waiting for coordinator-1 to be ready', waitUntilReady(addresses.http, end.signal));
  session.isReady = true;
  const announcement = makeAnnouncement(options, addresses);
  if (!output.isPretty) log.info({ ...announcement }, 'everything is started');
  output.say(describeAnnouncement(announcement));
}

function watchServer(session: Session, name: string, server: LocalServer): void {
  session.log.info({ name, pid: server.pid, port: server.port }, 'started');
  void server.ended.then((ending) => {
    const what = `${name} ${describeEnding(ending)}; nothing works without it, so everything ends.`;
    session.end.abort(new LocalError('server-failed', what));
  });
}

async function waitUntilReady(url: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    const isReady = await fetch(`${url}/readyz`, { signal }).then(
      (response) => response.ok,
      () => false,
    );
    if (isReady) return;
    await wait(50, undefined, { signal });
  }
}

async function endAll({ supervisor, servers, data }: Session): Promise<void> {
  await supervisor.stop('worker');
  await supervisor.stop('coordinator');
  await servers.postgres?.stop();
  await servers.nats?.stop();
  data?.remove();
}

function killAll({ supervisor, servers, data }: Session): void {
  supervisor.kill();
  servers.postgres?.kill();
  servers.nats?.kill();
  data?.remove();
}
