import { setTimeout as delay, setImmediate } from 'node:timers/promises';
import type { Logger } from 'pino';
import { Registry } from 'prom-client';
import { Startup } from '../../shared/http/readiness.ts';
import { type HttpServer, serveHttp } from '../../shared/http/server.ts';
import { Driver } from '../../shared/machine/driver.ts';
import { connectNats, type NatsLink } from '../../shared/nats/connection.ts';
import { watchDisconnects } from '../../shared/nats/disconnect-watch.ts';
import { LeadershipBucket } from '../../shared/nats/leadership-bucket.ts';
import { LivenessBucket, type LivenessChange } from '../../shared/nats/liveness-bucket.ts';
import { ForeignInstallationError, refuseForeignInstallation } from '../../shared/nats/neighbours.ts';
import { RecoveryStream } from '../../shared/nats/recovery-stream.ts';
import { subscribeApplied } from '../../shared/nats/ring-applied.ts';
import { serveProbe } from '../../shared/nats/service.ts';
import { SnapshotStream } from '../../shared/nats/snapshot-stream.ts';
import { wantedStreams } from '../../shared/nats/stream-settings.ts';
import { refuseForeignStreams } from '../../shared/nats/stream-setup.ts';
import { TableStream } from '../../shared/nats/table-stream.ts';
import { toNatsConnection, toStreamOptions } from '../../shared/options/nats.ts';
import { toNatsSystemConnection } from '../../shared/options/nats-system.ts';
import { toPostgresConnection } from '../../shared/options/postgres.ts';
import { type Adoption, adoptTable } from '../../shared/postgres/adoption.ts';
import { checkAdoption } from '../../shared/postgres/adoption-check.ts';
import { connectPostgres, type PostgresLink } from '../../shared/postgres/connection.ts';
import { Fence } from '../../shared/postgres/fence.ts';
import {
  followInstallation,
  INSTALLATION_SETTLED_MS,
  type Installation,
  identifyInstallation,
  readInstallation,
  settleInstallation,
} from '../../shared/postgres/installation.ts';
import { outlastOutages } from '../../shared/postgres/patience.ts';
import { type Ask, coordinatorNeeds } from '../../shared/postgres/privileges.ts';
import { explainRefusal } from '../../shared/postgres/refusal.ts';
import { parseTableNames, type TableNames } from '../../shared/postgres/table.ts';
import { TableWatch } from '../../shared/postgres/table-watch.ts';
import { TickProgress } from '../../shared/postgres/tick-progress.ts';
import type { EndOfService } from '../../shared/process/run-service.ts';
import { VERSION } from '../../shared/process/version.ts';
import { rehearseHandover } from '../../shared/ring/rehearsal.ts';
import { type CoordinatorOutside, performCoordinator } from './effects.ts';
import { type CoordinatorState, startCoordinator, stepCoordinator } from './machine.ts';
import { type CoordinatorMetrics, makeCoordinatorMetrics } from './metrics.ts';
import type { CoordinatorOptions } from './options.ts';
import type { CoordinatorConfig, CoordinatorEffect, CoordinatorEvent } from './protocol.ts';
import { makeCoordinatorReports } from './reports.ts';
import { makeRoutes } from './routes.ts';

/** What is under way when the service ends, the key's deletion above all, gets this long. */
const LAST_EFFECTS_MS = 1_000;

/**
 * Runs one coordinator, leading or standing by, until it is asked to leave or must give up.
 * Waits for NATS and Postgres for ever, saying so.
 * @throws what waiting cannot mend: wrong credentials, a table that does not fit, missing privileges.
 */
export async function runCoordinator(
  options: CoordinatorOptions,
  log: Logger,
  leave: AbortSignal,
): Promise<EndOfService> {
  const registry = new Registry();
  const metrics = makeCoordinatorMetrics(registry);
  const seen: Seen = { state: null, sizes: null, startup: new Startup() };
  const { startup } = seen;
  // First of all, so that liveness probes are answered while the servers are still being waited for.
  const routes = makeRoutes({
    registry,
    metrics,
    scaling: options,
    startup,
    state: () => seen.state,
    publishedRows: async () => (await seen.sizes?.newest())?.rows ?? null,
  });
  const http = await serveHttp({ port: options.httpPort, routes });
  log.info({ port: http.port }, 'serving the API, health and metrics');
  const waiting = { log, signal: leave, onWait: startup.note };
  startup.note('connecting to Postgres');
  const postgres = await connectPostgres(
    { ...toPostgresConnection(options), applicationName: options.coordinatorId },
    waiting,
  );
  const table = parseTableNames(options);
  const { natsPrefix, keepStorageSettings: keepsStorageSettings } = options;
  const ask: Ask = (statement) => postgres.query('control', statement);
  const identified = await outlastOutages(() => identifyInstallation(ask, { names: table, natsPrefix }), waiting);
  const identity = { natsPrefix, identity: identified.expected };
  const request = { names: table, slots: Number(options.slots), keepsStorageSettings, ...identity, ...waiting };
  startup.note('connecting to NATS');
  const link = await connectNats({ ...toNatsConnection(options), name: options.coordinatorId }, waiting);
  link.installation.become(identified.expected);
  link.installation.onForeign((kind) => metrics.foreignMessages.inc({ kind }));
  // Before the table is adopted, which workers wait for: they may have no right to make what is missing in NATS.
  startup.note('opening the buckets and streams of NATS');
  const streams = await openStreams(options, link, identified);
  startup.note('adopting the table');
  const adoption = await outlastOutages(() => adoptTable(postgres, request), waiting);
  const settled = await outlastOutages(() => readInstallation(ask), waiting);
  if (settled.identity !== null) link.installation.become(settled.identity);
  startup.note('subscribing to NATS');
  await rehearseHandover(adoption.slots, setImmediate);
  return serveUntilEnd(options, { log, metrics, leave, postgres, table, adoption, link, streams, http, seen });
}

/** Where the health endpoints and the API look. */
interface Seen {
  state: CoordinatorState | null;
  sizes: TableStream | null;
  readonly startup: Startup;
}

interface Surroundings {
  readonly log: Logger;
  readonly metrics: CoordinatorMetrics;
  readonly leave: AbortSignal;
  readonly postgres: PostgresLink;
  readonly table: TableNames;
  readonly adoption: Adoption;
  readonly link: NatsLink;
  readonly streams: Streams;
  readonly http: HttpServer;
  readonly seen: Seen;
}

async function serveUntilEnd(options: CoordinatorOptions, around: Surroundings): Promise<EndOfService> {
  const { log, metrics, link, postgres, table, adoption } = around;
  const config = makeConfig(options, adoption);
  // Schema scaler may be lost: the services keep the identity they have.
  const identified = () => {
    const { own } = link.installation;
    return { names: table, log, natsPrefix: options.natsPrefix, ...(own !== null && { identity: own }) };
  };
  const outside: Outside = {
    link,
    ...around.streams,
    fence: new Fence(postgres, table, adoption),
    progress: new TickProgress(postgres, table, adoption),
    table: new TableWatch(postgres, table, adoption),
    checkAdoption: () => checkAdoption(postgres, table),
    adopt: () =>
      adoptTable(postgres, {
        ...identified(),
        slots: adoption.slots,
        keepsStorageSettings: options.keepStorageSettings,
        signal: around.leave,
      }),
    explain: (error) =>
      explainRefusal((statement) => postgres.query('control', statement), coordinatorNeeds(table), error),
  };
  around.seen.sizes = outside.sizes;
  let isEnding = false;
  return new Promise<EndOfService>((resolve, fail) => {
    const underWay = new Set<Promise<unknown>>();
    const perform = performCoordinator(config, {
      ...outside,
      report: makeCoordinatorReports({ log, metrics, scaling: options, subject: link.names.snapshotSubject }),
      stop: (code, reason) => void end({ code, reason }),
    });
    const driver = new Driver<CoordinatorState, CoordinatorEvent, CoordinatorEffect>({
      initial: startCoordinator(config),
      step: (state, event, nowMs) => {
        const step = stepCoordinator(state, event, nowMs);
        around.seen.state = step.state;
        return step;
      },
      wake: { kind: 'wake' },
      perform: (effect) => {
        const outcome = perform(effect);
        if (outcome instanceof Promise) {
          underWay.add(outcome);
          void outcome.finally(() => underWay.delete(outcome)).catch(() => {});
        }
        return outcome;
      },
      onCrash: fail,
    });
    // Nothing is acted on before probes are answered and all is listened to: no term begins whose leader seems dead, and no change
    // falls between. What was told before that, the first reads tell again; what cannot be listened to is asked for now and then.
    let isListening = false;
    let unwatchDisconnects = async () => {};
    const dispatch = (event: CoordinatorEvent) => void (isListening && driver.dispatch(event));
    const unfollow = followInstallation(
      () => settleInstallation((statement) => postgres.query('control', statement), identified()),
      (identity) => link.installation.become(identity),
    );
    const hear: Hearing = { dispatch, refuse: fail };
    listen(config, outside, around, hear).then(() => {
      if (isEnding) return;
      isListening = true;
      unwatchDisconnects = watchSystemAccount(options, log, dispatch);
      dispatch({ kind: 'wake' });
    }, fail);
    void link.closed.then((error) => {
      if (!isEnding) fail(error ?? new Error('the NATS connection was closed'));
    });
    const requestLeave = () => driver.dispatch({ kind: 'leave-requested' });
    if (around.leave.aborted) requestLeave();
    else around.leave.addEventListener('abort', requestLeave, { once: true });

    async function end(outcome: EndOfService): Promise<void> {
      const patience = new Promise((done) => setTimeout(done, LAST_EFFECTS_MS).unref());
      await Promise.race([Promise.allSettled(underWay), patience]);
      driver.stop();
      unfollow();
      isEnding = true;
      await Promise.all([unwatchDisconnects(), link.drain()]);
      await postgres.close();
      await around.http.close();
      resolve(outcome);
    }
  });
}

type Outside = Omit<CoordinatorOutside, 'report' | 'stop'>;
type Streams = Pick<Outside, 'leadership' | 'liveness' | 'snapshots' | 'sizes' | 'recoveries'>;

async function openStreams(options: CoordinatorOptions, link: NatsLink, installation: Installation): Promise<Streams> {
  const settings = toStreamOptions(options);
  const ttl = { ttlMs: options.leaseTtlMs, ...settings };
  await refuseForeignStreams(link, wantedStreams(link.names, ttl));
  const former = { identity: installation.formerIdentity, settledMs: INSTALLATION_SETTLED_MS };
  await refuseForeignInstallation(link, { ttlMs: options.leaseTtlMs, former, readsLeader: true });
  return {
    leadership: await LeadershipBucket.open(link, ttl),
    liveness: await LivenessBucket.open(link, ttl),
    snapshots: await SnapshotStream.open(link, settings),
    sizes: await TableStream.open(link, settings),
    recoveries: await RecoveryStream.open(link, settings),
  };
}

interface Hearing {
  readonly dispatch: (event: CoordinatorEvent) => void;
  /** Ends the process. */
  readonly refuse: (error: Error) => void;
}

/** Everything that reaches a coordinator unasked. */
async function listen(
  config: CoordinatorConfig,
  outside: Outside,
  around: Surroundings,
  { dispatch, refuse }: Hearing,
): Promise<void> {
  const { link, log, metrics } = around;
  link.onStatus((status) => {
    log.debug({ status }, 'NATS connection');
    dispatch({ kind: status });
  });
  subscribeApplied(link, (received) => {
    if (received.ok) return dispatch({ kind: 'ring-applied', applied: received.value });
    metrics.rejectedApplied.inc();
    log.warn({ subject: link.names.appliedSubject, reason: received.reason }, "a worker's word was kept out");
  });
  outside.snapshots.subscribe(config.slots, (received) => {
    // Reading a snapshot is work, and only a leader compares it with its own.
    if (around.seen.state?.term == null) return;
    const order = received.ok ? { epoch: received.snapshot.epoch, version: received.snapshot.version } : null;
    dispatch({ kind: 'snapshot-heard', order });
  });
  const { id, startedAt } = config;
  const answer = () => ({ id, startedAt, epoch: around.seen.state?.term?.epoch ?? null });
  const onRefused = () => metrics.refusedRequests.inc();
  await serveProbe(link, { role: 'coordinator', id, version: VERSION, answer, onRefused });
  const watching = Promise.all([
    outside.liveness.watch((change) => {
      const event = livenessEvent(change);
      if (event !== null) return dispatch(event);
      if (change.kind === 'foreign') return;
      metrics.rejectedLiveness.inc();
      if (change.kind === 'rejected')
        log.warn({ key: change.id, reason: change.reason }, 'a liveness value was kept out');
    }),
    outside.leadership.watch((entry) => {
      const { own } = link.installation;
      const isForeign = entry !== null && !link.installation.admits('leader', entry);
      // It would stand by for another database. One that leads is deposed first.
      if (isForeign && own !== null && around.seen.state?.term == null) {
        const { prefix } = link.names;
        return refuse(new ForeignInstallationError({ own, foreign: entry.installation ?? '', prefix }));
      }
      dispatch({ kind: 'leader-observed', entry });
    }),
  ]);
  const patience = delay(config.leaseTtlMs, undefined, { ref: false });
  await Promise.race([watching, patience]);
}

/** Leading or not: a standby learns of its leader's end by the same events. Returns what ends it. */
function watchSystemAccount(
  options: CoordinatorOptions,
  log: Logger,
  dispatch: (event: CoordinatorEvent) => void,
): () => Promise<void> {
  const system = toNatsSystemConnection(options);
  if (system === null) return async () => {};
  // No worker or coordinator can have this name: the end of this connection accuses nobody.
  const name = `${options.coordinatorId}:system`;
  const onDisconnect = (client: string) => dispatch({ kind: 'connection-closed', client });
  const onCertain = (isCertain: boolean) => dispatch({ kind: 'disconnects-certain', isCertain });
  const logins = { system: { ...system, name }, main: toNatsConnection(options) };
  return watchDisconnects(logins, { log, onDisconnect, onCertain });
}

function livenessEvent(change: LivenessChange): CoordinatorEvent | null {
  switch (change.kind) {
    case 'heard':
      return { kind: 'worker-heard', value: change.value };
    case 'stored':
      return { kind: 'worker-stored', worker: change.value.id, revision: change.revision };
    case 'removed':
      return { kind: 'worker-removed', worker: change.id, revision: change.revision };
    case 'rejected':
    case 'foreign':
      return null;
  }
}

function makeConfig(options: CoordinatorOptions, adoption: Adoption): CoordinatorConfig {
  return {
    id: options.coordinatorId,
    startedAt: new Date().toISOString(),
    slots: adoption.slots,
    leaseTtlMs: options.leaseTtlMs,
    heartbeatMs: options.heartbeatMs,
    wallOffsetMs: Date.now() - performance.now(),
  };
}
