import { BenchService } from '../support/bench-service.ts';

const DEPARTURES = 'notifi_scaler_coordinator_departures_total';
/** All other evidence means that the coordinator evicted the worker. */
const IS_PLANNED = /evidence="(left|drained)"/;

/** One coordinator and workers that come and go, with the length of each claim. */
export class ContentionFleet {
  /** How long each claim took so far, ms, as the workers' logs say. */
  readonly claimsMs: number[] = [];
  readonly #around: { readonly natsUrl: string; readonly databaseUrl: string };
  readonly #workers = new Map<string, BenchService>();
  readonly #leaving = new Set<Promise<void>>();
  #coordinator: BenchService | null = null;
  /** No id comes twice. */
  #added = 0;

  private constructor(around: { readonly natsUrl: string; readonly databaseUrl: string }) {
    this.#around = around;
  }

  static async start(options: {
    readonly natsUrl: string;
    readonly databaseUrl: string;
    readonly workers: number;
  }): Promise<ContentionFleet> {
    const { natsUrl, databaseUrl, workers } = options;
    const fleet = new ContentionFleet({ natsUrl, databaseUrl });
    try {
      fleet.#coordinator = await BenchService.start('coordinator', 'coordinator-1', fleet.#around);
      await fleet.#coordinator.ready();
      await Promise.all(Array.from({ length: workers }, () => fleet.join()));
      return fleet;
    } catch (error) {
      await fleet.stop();
      throw error;
    }
  }

  /** The workers that were not asked to leave, the oldest first. */
  get workerIds(): string[] {
    return [...this.#workers.keys()];
  }

  /** Resolves when the process runs; it registers later. */
  async join(): Promise<void> {
    this.#added += 1;
    const id = `worker-${this.#added}`;
    const around = { ...this.#around, onLine: (line: string) => this.#noteClaim(line) };
    this.#workers.set(id, await BenchService.start('worker', id, around));
  }

  /** Asks a worker to leave and does not wait for its end. */
  leave(id: string): void {
    const worker = this.#workers.get(id);
    if (worker === undefined) return;
    this.#workers.delete(id);
    const left = worker.stop().finally(() => this.#leaving.delete(left));
    this.#leaving.add(left);
  }

  /** Workers removed from the ring because the coordinator found them dead or stuck, so far. */
  async evictions(): Promise<number> {
    return (await this.#coordinator?.readMetric(DEPARTURES, (line) => !IS_PLANNED.test(line))) ?? 0;
  }

  async stop(): Promise<void> {
    for (const id of this.workerIds) this.leave(id);
    await Promise.all(this.#leaving);
    await this.#coordinator?.stop();
  }

  #noteClaim(line: string): void {
    if (!line.includes('"ring applied"')) return;
    const { tookMs } = JSON.parse(line) as { readonly tookMs: number };
    this.claimsMs.push(tookMs);
  }
}
