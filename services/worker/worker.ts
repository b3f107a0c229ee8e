import { setTimeout as delay, setImmediate } from 'node:timers/promises';
import type { Logger } from 'pino';
import { Registry } from 'prom-client';
import { replyReadiness, Startup } from '../../shared/http/readiness.ts';
import { type HttpServer, json, type Routes, serveHttp } from '../../shared/http/server.ts';
import { stdoutState } from '../../shared/log/stdout.ts';
import { Driver } from '../../shared/machine/driver.ts';
import type { Step } from '../../shared/machine/machine.ts';
import { connectNats, type NatsLink } from '../../shared/nats/connection.ts';
import { LivenessBucket } from '../../shared/nats/liveness-bucket.ts';
import type { NatsNames } from '../../shared/nats/names.ts';
import { refuseForeignInstallation } from '../../shared/nats/neighbours.ts';
import { type ServedCommand, serveProbe } from '../../shared/nats/service.ts';
import { SnapshotStream } from '../../shared/nats/snapshot-stream.ts';
import { wantedBucket, wantedHistory } from '../../shared/nats/stream-settings.ts';
import { refuseForeignStreams } from '../../shared/nats/stream-setup.ts';
import { toNatsConnection, toStreamOptions } from '../../shared/options/nats.ts';
import { toPostgresConnection } from '../../shared/options/postgres.ts';
import { type Adoption, readAdoption } from '../../shared/postgres/adoption.ts';
import { connectPostgres, type PostgresLink } from '../../shared/postgres/connection.ts';
import { Fence } from '../../shared/postgres/fence.ts';
import {
  followInstallation,
  INSTALLATION_SETTLED_MS,
  type Installation,
  identifyInstallation,
  readInstallation,
} from '../../shared/postgres/installation.ts';
import { hasIncarnations, INCARNATIONS } from '../../shared/postgres/migrations.ts';
import { outlastOutages } from '../../shared/postgres/patience.ts';
import { type Ask, workerNeeds } from '../../shared/postgres/privileges.ts';
import { explainRefusal } from '../../shared/postgres/refusal.ts';
import { describeTable, parseTableNames, type TableNames } from '../../shared/postgres/table.ts';
import type { EndOfService } from '../../shared/process/run-service.ts';
import { VERSION } from '../../shared/process/version.ts';
import type { OnWait } from '../../shared/process/waiting-notice.ts';
import { rehearseHandover } from '../../shared/ring/rehearsal.ts';
import { makeClockSkewReport } from './clock-skew.ts';
import { performWorker } from './effects.ts';
import { findUnready, livenessOf, startWorker, stepWorker, type WorkerState } from './machine.ts';
import { makeWorkerMetrics, type WorkerMetrics } from './metrics.ts';
import type { WorkerOptions } from './options.ts';
import { PauseWatch } from './pause-watch.ts';
import type { WorkerConfig, WorkerEffect, WorkerEvent } from './protocol.ts';
import { makeWorkerReports } from './reports.ts';

const CHUNK_ROWS = 6_000;
const GRACE_MS = 10_000;
const COORDINATOR_RETRY_MS = 250;
/** One line every five seconds. */
const WAITS_A_LINE = 20;
/** Rounds begin in the first part of the second, so that even a slow one ends within it. */
const PHASES_MS = 800;

/**
 * Runs one worker until it has left or must give up; `leave` asks for the planned leave.
 * Waits for NATS, Postgres and the table's adoption for ever, saying so.
 * @throws what waiting cannot mend: wrong credentials, a table that does not fit, missing privileges.
 */
export async function runWorker(options: WorkerOptions, log: Logger, leave: AbortSignal): Promise<EndOfService> {
  const registry = new Registry();
  const metrics = makeWorkerMetrics(registry);
  const seen: Seen = { state: null, startup: new Startup() };
  // First of all, so that liveness probes are answered while the servers are still being waited for.
  const http = await serveHttp({ port: options.httpPort, routes: makeRoutes(registry, metrics, seen) });
  log.info({ port: http.port }, 'serving health and metrics');
  const waiting = { log, signal: leave, onWait: seen.startup.note };
  seen.startup.note('connecting to Postgres');
  const postgres = await connectPostgres(
    { ...toPostgresConnection(options), applicationName: options.workerId },
    waiting,
  );
  const table = parseTableNames(options);
  const adoption = await waitForAdoption(postgres, table, waiting);
  await waitForIncarnations(postgres, waiting);
  const installation = await waitForInstallation(postgres, { names: table, natsPrefix: options.natsPrefix }, waiting);
  const fence = new Fence(postgres, table, adoption);
  const incarnation = await outlastOutages(() => fence.drawIncarnation(options.workerId), waiting);
  seen.startup.note('preparing statements');
  // All that a handover needs is ready before the liveness key says that slots may come.
  await outlastOutages(() => fence.warm({ worker: options.workerId, incarnation }), waiting);
  await rehearseHandover(adoption.slots, setImmediate);
  seen.startup.note('connecting to NATS');
  const link = await connectNats({ ...toNatsConnection(options), name: options.workerId }, waiting);
  if (installation.identity !== null) link.installation.become(installation.identity);
  link.installation.onForeign((kind) => metrics.foreignMessages.inc({ kind }));
  const config = makeConfig(options, incarnation);
  const found = { table, adoption, installation };
  return serveUntilEnd(options, { log, metrics, leave, postgres, fence, ...found, config, link, http, seen });
}

interface Surroundings {
  readonly log: Logger;
  readonly metrics: WorkerMetrics;
  readonly leave: AbortSignal;
  readonly postgres: PostgresLink;
  readonly fence: Fence;
  readonly table: TableNames;
  readonly adoption: Adoption;
  readonly installation: Installation;
  readonly config: WorkerConfig;
  readonly link: NatsLink;
  readonly http: HttpServer;
  readonly seen: Seen;
}

/** Where the health endpoints look. */
interface Seen {
  state: WorkerState | null;
  readonly startup: Startup;
}

async function serveUntilEnd(options: WorkerOptions, around: Surroundings): Promise<EndOfService> {
  const { log, metrics, link, postgres, adoption, config } = around;
  const settings = toStreamOptions(options);
  const ttl = { ttlMs: options.leaseTtlMs, ...settings };
  const wanted = [wantedBucket(link.names, 'liveness', ttl), wantedHistory(link.names, 'snapshots', settings)];
  around.seen.startup.note('opening the buckets and streams of NATS');
  await refuseForeignStreams(link, wanted);
  const former = { identity: around.installation.formerIdentity, settledMs: INSTALLATION_SETTLED_MS };
  await refuseForeignInstallation(link, { ttlMs: options.leaseTtlMs, former, readsLeader: false });
  const liveness = await LivenessBucket.open(link, ttl);
  const snapshots = await SnapshotStream.open(link, settings);
  const subject = link.names.snapshotSubject;
  const reject = (reason: string) => {
    metrics.rejectedSnapshots.inc();
    log.warn({ subject, reason }, 'snapshot rejected');
  };
  const pauses = new PauseWatch();
  let unserve = async () => {};
  let isEnding = false;
  return new Promise<EndOfService>((resolve, fail) => {
    const driver = new Driver<WorkerState, WorkerEvent, WorkerEffect>({
      initial: startWorker(config),
      step: (state, event, nowMs) => {
        const step = stepAfterPause(state, event, { nowMs, isPaused: pauses.look(nowMs) });
        around.seen.state = step.state;
        return step;
      },
      wake: { kind: 'wake' },
      perform: performWorker(config, {
        link,
        liveness,
        snapshots,
        fence: around.fence,
        explain: (error) =>
          explainRefusal((statement) => postgres.query('control', statement), workerNeeds(around.table), error),
        slots: adoption.slots,
        serveProbe: async () => {
          const answer = () => livenessOf(driver.state);
          const commands = listCommands(link.names, config.id, (event) => driver.dispatch(event));
          const onRefused = () => metrics.refusedRequests.inc();
          const served = { role: 'worker', id: config.id, version: VERSION, answer, commands, onRefused } as const;
          unserve = await serveProbe(link, served);
        },
        compareClocks: makeClockSkewReport({ log, metrics }),
        report: makeWorkerReports({ log, metrics, subject, logIdsMax: options.logIdsMax, output: stdoutState }),
        reject,
        stop: (code, reason) => void end({ code, reason }),
      }),
      onCrash: fail,
    });
    const unsubscribe = snapshots.subscribe(adoption.slots, (received) => {
      if (received.ok) driver.dispatch({ kind: 'snapshot-received', snapshot: received.snapshot });
      else if (received.isForeign !== true) reject(received.reason);
    });
    const unfollow = followInstallation(
      () => readInstallation((statement) => postgres.query('control', statement)),
      (identity) => link.installation.become(identity),
    );
    link.onStatus((status) => {
      log.debug({ status }, 'NATS connection');
      driver.dispatch({ kind: status });
    });
    void link.closed.then((error) => {
      if (!isEnding) fail(error ?? new Error('the NATS connection was closed'));
    });
    const requestLeave = () => driver.dispatch({ kind: 'leave-requested' });
    if (around.leave.aborted) requestLeave();
    else around.leave.addEventListener('abort', requestLeave, { once: true });
    driver.dispatch({ kind: 'wake' });

    async function end(outcome: EndOfService): Promise<void> {
      isEnding = true;
      driver.stop();
      unsubscribe();
      unfollow();
      await unserve();
      await link.drain();
      await postgres.close();
      await around.http.close();
      resolve(outcome);
    }
  });
}

/** A pause is an event of its own, before the one that found the machine awake again. */
function stepAfterPause(
  state: WorkerState,
  event: WorkerEvent,
  { nowMs, isPaused }: { readonly nowMs: number; readonly isPaused: boolean },
): Step<WorkerState, WorkerEffect> {
  if (!isPaused) return stepWorker(state, event, nowMs);
  const paused = stepWorker(state, { kind: 'pause-noticed' }, nowMs);
  const step = stepWorker(paused.state, event, nowMs);
  return { ...step, effects: [...paused.effects, ...step.effects] };
}

function listCommands(names: NatsNames, id: string, dispatch: (event: WorkerEvent) => void): ServedCommand[] {
  return [
    { name: 'drain', subject: names.workerDrain(id), act: () => dispatch({ kind: 'drain-requested' }) },
    { name: 'undrain', subject: names.workerUndrain(id), act: () => dispatch({ kind: 'undrain-requested' }) },
  ];
}

interface Waiting {
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly onWait: OnWait;
}

/** The table is adopted by a coordinator: made, checked, given its slots. */
function waitForAdoption(postgres: PostgresLink, table: TableNames, waiting: Waiting): Promise<Adoption> {
  return waitForCoordinator(waiting, {
    find: () => readAdoption(postgres, table),
    fields: { table: describeTable(table) },
    message: 'waiting for a coordinator to adopt the table',
  });
}

/** A rollout replaces workers and coordinators at the same time: the first worker may come before the first coordinator. */
async function waitForIncarnations(postgres: PostgresLink, waiting: Waiting): Promise<void> {
  const { number, name } = INCARNATIONS;
  await waitForCoordinator(waiting, {
    find: async () => (await hasIncarnations((statement) => postgres.query('control', statement))) || null,
    fields: { migration: number, name },
    message: 'waiting for a coordinator of this version to upgrade schema scaler',
  });
}

/**
 * A copied database still says whose copy it is, until a coordinator adopts its table. Databases of former versions say nothing:
 * then this worker learns it later.
 */
async function waitForInstallation(
  postgres: PostgresLink,
  of: { readonly names: TableNames; readonly natsPrefix: string },
  waiting: Waiting,
): Promise<Installation> {
  const ask: Ask = (statement) => postgres.query('control', statement);
  return waitForCoordinator(waiting, {
    find: async () => {
      const { isCopy, ...installation } = await identifyInstallation(ask, of);
      return isCopy ? null : installation;
    },
    fields: { table: `${of.names.schema}.${of.names.table}` },
    message: 'waiting for a coordinator to give this copied database an identity of its own',
  });
}

async function waitForCoordinator<Found>(
  waiting: Waiting,
  made: { readonly find: () => Promise<Found | null>; readonly fields: object; readonly message: string },
): Promise<Found> {
  for (let attempt = 0; ; attempt += 1) {
    const found = await outlastOutages(made.find, waiting);
    if (found !== null) return found;
    waiting.onWait(made.message);
    if (attempt % WAITS_A_LINE === 0) waiting.log.warn(made.fields, made.message);
    await delay(COORDINATOR_RETRY_MS, undefined, { signal: waiting.signal });
  }
}

function makeConfig(options: WorkerOptions, incarnation: number): WorkerConfig {
  return {
    id: options.workerId,
    startedAt: new Date().toISOString(),
    incarnation,
    heartbeatMs: options.heartbeatMs,
    leaseTtlMs: options.leaseTtlMs,
    phaseMs: spreadPhase(options.workerId),
    chunkRows: CHUNK_ROWS,
    graceMs: GRACE_MS,
    natsPrefix: options.natsPrefix,
  };
}

/** Another phase for each id, the same after a restart. */
function spreadPhase(id: string): number {
  let hash = 0;
  for (const char of id) hash = (Math.imul(hash, 31) + (char.codePointAt(0) ?? 0)) >>> 0;
  return (Math.imul(hash, 0x9e3779b1) >>> 0) % PHASES_MS;
}

function makeRoutes(registry: Registry, metrics: WorkerMetrics, seen: Seen): Routes {
  const unready = () => (seen.state === null ? seen.startup.describe() : findUnready(seen.state, performance.now()));
  return {
    '/healthz': () => json({ status: 'alive' }),
    '/readyz': () => replyReadiness(unready(), seen.state === null ? {} : livenessOf(seen.state)),
    '/metrics': async () => {
      metrics.ready.set(unready() === null ? 1 : 0);
      return { contentType: registry.contentType, body: await registry.metrics() };
    },
  };
}
