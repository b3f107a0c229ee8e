import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { type DataDirectory, openDataDirectory } from '../../services/local/data-directory.ts';
import { fillTable } from '../../services/local/fill-table.ts';
import { type LocalOptions, localOptions } from '../../services/local/options.ts';
import { type RunningProcess, startProcess } from '../../services/local/process.ts';
import { type Servers, startServers } from '../../services/local/servers.ts';
import { listCoordinators, listWorkers } from '../../services/local/services.ts';
import type { Service } from '../../services/local/supervisor.ts';
import { connectNats, type NatsLink } from '../../shared/nats/connection.ts';
import { subjectOfKey } from '../../shared/nats/names.ts';
import { SnapshotStream } from '../../shared/nats/snapshot-stream.ts';
import { readOptions } from '../../shared/options/read-options.ts';
import { type Adoption, readAdoption } from '../../shared/postgres/adoption.ts';
import { connectPostgres, type PostgresLink } from '../../shared/postgres/connection.ts';
import { Fence } from '../../shared/postgres/fence.ts';
import { Inspection } from '../../shared/postgres/inspection.ts';
import { parseTableNames, type TableNames } from '../../shared/postgres/table.ts';
import { compareOrder, type Snapshot, toAssignment } from '../../shared/ring/snapshot.ts';
import { compiledService } from '../support/compiled-services.ts';

/** A log line of a service, with when it was read here. */
export interface FleetLine {
  readonly service: string;
  readonly atMs: number;
  readonly msg: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export interface FleetOptions {
  readonly workers: number;
  readonly coordinators: number;
  readonly rows: number;
  /** Coordinators have no login in NATS' system account. */
  readonly probesOnly: boolean;
}

/** Looked for in the text: to read every list of ids that every worker prints would take the processor from them. */
const KEPT_MESSAGES = /"msg":"(leading|stepped down|recovered|registered|serving|ring published)/;
const PATIENCE_MS = 60_000;
const STOP_LIMIT_MS = 15_000;
/** The whole fence and table are looked at: not too often. */
const LOOK_EVERY_MS = 50;
/** What is settled must stay so for this long. */
const CALM_MS = 250;
const silent = pino({ level: 'silent' });

/** Servers and services as `npm start` runs them, each a process of its own, and this process's own view of them. */
export class Fleet {
  readonly options: FleetOptions;
  readonly lines: FleetLine[] = [];
  readonly snapshots: { readonly atMs: number; readonly snapshot: Snapshot }[] = [];
  /** When each worker's key was first put since `awaitPut`. */
  readonly puts = new Map<string, number>();
  readonly #servers: Servers = { nats: null, postgres: null };
  readonly #processes = new Map<string, RunningProcess>();
  readonly #services = new Map<string, Service>();
  #data: DataDirectory | null = null;
  #nats: NatsLink | null = null;
  #postgres: PostgresLink | null = null;
  #adoption: Adoption | null = null;
  #table: TableNames | null = null;

  private constructor(options: FleetOptions) {
    this.options = options;
  }

  static async start(options: FleetOptions, signal: AbortSignal): Promise<Fleet> {
    const fleet = new Fleet(options);
    try {
      await fleet.#start(signal);
    } catch (error) {
      await fleet.stop();
      throw error;
    }
    return fleet;
  }

  get postgres(): PostgresLink {
    return required(this.#postgres);
  }

  get table(): TableNames {
    return required(this.#table);
  }

  get adoption(): Adoption {
    return required(this.#adoption);
  }

  get inspection(): Inspection {
    return new Inspection(this.postgres, this.table, this.adoption);
  }

  get natsVersion(): string {
    return required(this.#nats).connection.info?.version ?? 'of unknown version';
  }

  get workerIds(): string[] {
    return Array.from({ length: this.options.workers }, (_, index) => `worker-${index + 1}`);
  }

  /** One more than the fleet has: it is started for a join only. */
  get spareId(): string {
    return `worker-${this.options.workers + 1}`;
  }

  /** Whoever of the living said last that it leads. */
  get leader(): string {
    const line = this.lines.findLast(({ service, msg }) => /^leading/.test(msg) && this.#processes.has(service));
    return required(line?.service);
  }

  async launch(id: string): Promise<void> {
    const { role, environment } = required(this.#services.get(id));
    const process_ = await startProcess({
      command: process.execPath,
      args: await compiledService(role),
      environment: { ...environment, HTTP_PORT: '0' },
      orphanSignal: 'SIGKILL',
      onLine: (line) => this.#take(id, line),
    });
    this.#processes.set(id, process_);
    void process_.ended.then(() => {
      if (this.#processes.get(id) === process_) this.#processes.delete(id);
    });
  }

  isRunning(id: string): boolean {
    return this.#processes.has(id);
  }

  /** When it was sent, by this process's clock. */
  signal(id: string, name: NodeJS.Signals): number {
    const { pid } = required(this.#processes.get(id));
    const atMs = performance.now();
    process.kill(pid, name);
    return atMs;
  }

  async ended(id: string): Promise<void> {
    await this.#processes.get(id)?.ended;
  }

  /** Forgets a worker's puts and waits for the next: from then on the coordinator can know of it. */
  async awaitPut(id: string): Promise<number> {
    this.puts.delete(id);
    return this.until(`${id} to register`, () => this.puts.get(id) ?? null);
  }

  /** Waits for a coordinator that could lead. */
  async awaitStandby(id: string, from: number): Promise<void> {
    const port = await this.until(`${id} to serve`, () => {
      const line = this.lines.slice(from).find(({ service, msg }) => service === id && /^serving the API/.test(msg));
      return (line?.fields.port as number | undefined) ?? null;
    });
    await this.until(`${id} to be ready`, async () => {
      const isReady = await fetch(`http://127.0.0.1:${port}/readyz`)
        .then(({ ok }) => ok)
        .catch(() => false);
      return isReady || null;
    });
  }

  /** @throws {Error} after a minute. */
  async until<Value>(
    what: string,
    ask: () => Promise<Value | null> | Value | null,
    limitMs = PATIENCE_MS,
  ): Promise<Value> {
    const endMs = performance.now() + limitMs;
    for (;;) {
      const value = await ask();
      if (value !== null) return value;
      if (performance.now() > endMs) throw new Error(`waited ${limitMs} ms in vain for ${what}`);
      await delay(5);
    }
  }

  /** Waits until exactly these workers share all slots by ring and fence, every row is being ticked, and nothing changes. */
  async settle(workers: readonly string[] = this.workerIds): Promise<void> {
    const expected = [...workers].sort().join();
    let calm: { readonly snapshot: Snapshot; readonly sinceMs: number } | null = null;
    await this.until(`${expected} to share all slots`, async () => {
      await delay(LOOK_EVERY_MS);
      const snapshot = this.newest;
      const ids = snapshot?.workers.map(({ id }) => id).join();
      const isSettled = snapshot !== null && ids === expected && (await this.#agrees(snapshot));
      if (!isSettled) calm = null;
      else if (calm?.snapshot !== snapshot) calm = { snapshot, sinceMs: performance.now() };
      return calm !== null && performance.now() - calm.sinceMs >= CALM_MS ? true : null;
    });
  }

  get newest(): Snapshot | null {
    let newest: Snapshot | null = null;
    for (const { snapshot } of this.snapshots) {
      if (newest === null || compareOrder(snapshot, newest) > 0) newest = snapshot;
    }
    return newest;
  }

  /** Slots that have rows, ascending. */
  async filledSlots(): Promise<number[]> {
    const { rows } = await this.inspection.sampleRows();
    return [...new Set(rows.map(({ slot }) => slot))].sort((a, b) => a - b);
  }

  /** After a repetition that failed amidst: thaws and starts whatever is not there. */
  async restore(): Promise<void> {
    for (const { pid } of this.#processes.values()) process.kill(pid, 'SIGCONT');
    for (const id of this.#services.keys()) if (id !== this.spareId && !this.isRunning(id)) await this.launch(id);
    if (!this.isRunning(this.spareId)) return;
    this.signal(this.spareId, 'SIGKILL');
    await this.ended(this.spareId);
  }

  /** Ends all that was started here, in whatever state it is. */
  async stop(): Promise<void> {
    const processes = [...this.#processes.values()];
    for (const { pid } of processes) process.kill(pid, 'SIGCONT');
    await Promise.all(processes.map((one) => one.stop({ signal: 'SIGKILL', limitMs: STOP_LIMIT_MS })));
    await this.#nats?.drain();
    await this.#postgres?.close();
    await this.#servers.postgres?.stop();
    await this.#servers.nats?.stop();
    this.#data?.remove();
  }

  async #start(signal: AbortSignal): Promise<void> {
    const local = readLocalOptions(this.options);
    this.#table = parseTableNames(local);
    this.#data = await openDataDirectory(undefined);
    const { nats, postgres } = await startServers(this.#servers, { options: local, data: this.#data, log: silent });
    const around = {
      options: { ...local, workers: local.workers + 1 },
      natsUrl: nats.url,
      systemUrl: this.options.probesOnly ? undefined : nats.systemUrl,
      databaseUrl: postgres.url,
      httpPort: 0,
    };
    for (const service of [...listCoordinators(around), ...listWorkers(around)]) {
      this.#services.set(service.name, service);
    }
    for (const { name } of listCoordinators(around)) await this.launch(name);
    await fillTable({ databaseUrl: postgres.url, names: this.table, rows: local.rows, log: silent, signal });
    const waiting = { log: silent, signal };
    const connection = { connectionString: postgres.url, applicationName: 'bench' };
    this.#postgres = await connectPostgres(connection, waiting);
    this.#adoption = required(await readAdoption(this.postgres, this.table));
    this.#nats = await connectNats({ servers: [nats.url], name: 'bench', prefix: '' }, waiting);
    await this.#listen(this.#nats);
    for (const id of this.workerIds) await this.launch(id);
    await this.settle();
  }

  async #listen(link: NatsLink): Promise<void> {
    const snapshots = await SnapshotStream.open(link);
    snapshots.subscribe(null, (received) => {
      if (received.ok) this.snapshots.push({ atMs: performance.now(), snapshot: received.snapshot });
    });
    const newest = await snapshots.newest(null);
    if (newest?.snapshot != null) this.snapshots.push({ atMs: performance.now(), snapshot: newest.snapshot });
    const keys = subjectOfKey(link.names.livenessBucket, '');
    link.connection.subscribe(`${keys}>`, {
      callback: (error, { subject, data }) => {
        const worker = subject.slice(keys.length);
        if (error === null && data.length > 0 && !this.puts.has(worker)) this.puts.set(worker, performance.now());
      },
    });
  }

  async #agrees(snapshot: Snapshot): Promise<boolean> {
    const fence = new Fence(this.postgres, this.table, this.adoption);
    const [owners, sample] = await Promise.all([fence.owners(), this.inspection.sampleRows()]);
    const assignment = toAssignment(snapshot);
    const isFenced = owners.every(({ slot, worker }) => worker === assignment.workers[assignment.owners[slot] ?? -1]);
    return isFenced && sample.rows.every(({ lastTick }) => sample.atSeconds - lastTick < 2.5);
  }

  #take(service: string, text: string): void {
    const atMs = performance.now();
    if (text.startsWith('{') && !KEPT_MESSAGES.test(text)) return;
    try {
      const { msg, ...fields } = JSON.parse(text) as { readonly msg: string };
      this.lines.push({ service, atMs, msg, fields });
    } catch {
      // What is no log line, and one that a kill cut off.
      process.stderr.write(`${service}: ${text}\n`);
    }
  }
}

export function readLocalOptions({
  workers,
  coordinators,
  rows,
}: Pick<FleetOptions, 'workers' | 'coordinators' | 'rows'>): LocalOptions {
  const given = {
    workers: String(workers),
    coordinators: String(coordinators),
    rows: String(rows),
    'nats-port': '0',
    'postgres-port': '0',
    'http-port': '0',
  };
  const read = readOptions(localOptions, { given, environment: {} });
  if (!read.ok) throw new Error(read.problems.join('\n'));
  return read.values;
}

function required<Value>(value: Value | null | undefined): Value {
  if (value === null || value === undefined) throw new Error('the fleet is not up');
  return value;
}
