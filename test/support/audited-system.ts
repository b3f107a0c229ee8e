import assert from 'node:assert/strict';
import type { AuditResult } from '../../services/cli/audit-log.ts';
import { eventually, type ServiceProcess } from './service-process.ts';
import { TableAuditor } from './table-auditor.ts';
import { TcpProxy } from './tcp-proxy.ts';
import { TestSystem } from './test-system.ts';

/** Longer than any test that audits. */
const AUDIT_LIMIT_MS = 300_000;

export interface AuditedOptions {
  readonly rows: number;
  readonly workers: number;
  readonly coordinators: number;
  /** Servers of its own, to be stopped at will. @default those that all tests share */
  readonly natsUrl?: string;
  readonly postgresUrl?: string;
  /** The checkout whose services run. @default this one */
  readonly from?: string;
}

/** The ways of one process to the servers. */
export interface Ways {
  readonly nats: TcpProxy;
  readonly postgres: TcpProxy;
}

/** A whole system with an auditor, where any service may have ways to the servers that can be cut. */
export class AuditedSystem {
  readonly system: TestSystem;
  readonly rows: number;
  readonly workers = new Map<string, ServiceProcess>();
  readonly coordinators = new Map<string, ServiceProcess>();
  readonly auditor: TableAuditor;
  readonly #proxies: TcpProxy[] = [];

  private constructor(system: TestSystem, auditor: TableAuditor, rows: number) {
    this.system = system;
    this.auditor = auditor;
    this.rows = rows;
  }

  /** Resolves when all workers share the rows evenly. */
  static async start(options: AuditedOptions): Promise<AuditedSystem> {
    const system = await TestSystem.start(options);
    try {
      return await AuditedSystem.#begin(system, options);
    } catch (error) {
      // Nobody else can stop it, and its processes would keep the test's own from ending.
      await system.stop();
      throw error;
    }
  }

  static async #begin(system: TestSystem, options: AuditedOptions): Promise<AuditedSystem> {
    const leader = system.start('coordinator', 'coordinator-1', options.from);
    const auditor = await TableAuditor.open(system.databaseUrl, AbortSignal.timeout(AUDIT_LIMIT_MS));
    const audited = new AuditedSystem(system, auditor, options.rows);
    audited.coordinators.set('coordinator-1', leader);
    for (let number = 2; number <= options.coordinators; number += 1) {
      audited.add('coordinator', `coordinator-${number}`, options.from);
    }
    for (let number = 1; number <= options.workers; number += 1)
      audited.add('worker', `worker-${number}`, options.from);
    await auditor.addRows(options.rows);
    await audited.shared();
    return audited;
  }

  /** `root`: the checkout whose service runs. @default this one */
  add(service: 'coordinator' | 'worker', id: string, root?: string): ServiceProcess {
    const started = this.system.start(service, id, root);
    (service === 'worker' ? this.workers : this.coordinators).set(id, started);
    return started;
  }

  addWorker(id: string, environment: Readonly<Record<string, string>> = {}): ServiceProcess {
    const worker = this.system.worker(id, [], environment);
    this.workers.set(id, worker);
    return worker;
  }

  addCoordinator(id: string, environment: Readonly<Record<string, string>> = {}): ServiceProcess {
    const coordinator = this.system.coordinator(id, [], environment);
    this.coordinators.set(id, coordinator);
    return coordinator;
  }

  /** Ways that can be cut, and the environment that leads a service over them. */
  async makeWays(): Promise<{ readonly ways: Ways; readonly environment: Readonly<Record<string, string>> }> {
    const { natsUrl, databaseUrl } = this.system;
    const ways = { nats: await TcpProxy.before(natsUrl), postgres: await TcpProxy.before(databaseUrl) };
    this.#proxies.push(ways.nats, ways.postgres);
    const environment = {
      NATS_URL: `nats://127.0.0.1:${ways.nats.port}`,
      DATABASE_URL: ways.postgres.through(databaseUrl),
    };
    return { ways, environment };
  }

  /** Waits until all workers but those left out share the rows evenly. */
  shared(leftOut: readonly string[] = []): Promise<void> {
    const sharing = [...this.workers].filter(([id]) => !leftOut.includes(id)).map(([, worker]) => worker);
    return this.system.watching(sharing, this.rows);
  }

  /** Begins an audit, with its first sample; what is returned ends it and says what it found. */
  async audit(): Promise<() => Promise<AuditResult>> {
    const end = new AbortController();
    let begin = () => {};
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const watched = this.auditor.watch(end.signal, begin);
    await Promise.race([begun, watched]);
    return () => {
      end.abort();
      return watched;
    };
  }

  /** Waits until the fence names none of these workers for any slot, nor nobody; resolves to how long that took, ms. */
  async takenOver(...from: readonly string[]): Promise<number> {
    const startedMs = performance.now();
    await eventually(`the slots of ${from.join(', ')} at others`, async () => {
      const sample = await this.auditor.look();
      return sample?.rows.every(({ owner }) => owner !== null && !from.includes(owner)) ?? null;
    });
    return performance.now() - startedMs;
  }

  /** Waits until every row has been ticked for this second or the one before; resolves to how long that took, ms. */
  async ticking(): Promise<number> {
    const startedMs = performance.now();
    await eventually('every row ticked just now', async () => {
      const sample = await this.auditor.look();
      return sample?.rows.every(({ lastTick }) => lastTick >= Math.floor(sample.atSeconds) - 1) ?? null;
    });
    return performance.now() - startedMs;
  }

  /** The rings published so far, by all coordinators, as their logs tell. */
  published(): { readonly ring: number; readonly cause: string; readonly moved: Moved }[] {
    const lines = [...this.coordinators.values()].flatMap((coordinator) => coordinator.lines);
    return lines
      .filter(({ msg }) => msg === 'ring published')
      .map(({ ring, cause, moved }) => ({ ring: Number(ring), cause: String(cause), moved: moved as Moved }))
      .sort((a, b) => a.ring - b.ring);
  }

  async stop(): Promise<void> {
    await this.auditor.close();
    await this.system.stop();
    await Promise.all(this.#proxies.map((proxy) => proxy.close()));
  }
}

/** What must hold whatever happened; missed ticks are for the test to judge. */
export function assertSound(result: AuditResult): AuditResult {
  const { double, unowned } = result;
  assert.deepEqual({ double, unowned }, { double: 0, unowned: 0 }, JSON.stringify(result.worst));
  return result;
}

export interface Moved {
  readonly rows: number;
  readonly minimumRows: number;
}
