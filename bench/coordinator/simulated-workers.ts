import { connectNats, type NatsLink } from '../../shared/nats/connection.ts';
import { LivenessBucket } from '../../shared/nats/liveness-bucket.ts';
import { serveProbe } from '../../shared/nats/service.ts';
import { SILENT } from '../support/bench-postgres.ts';

const HEARTBEAT_MS = 500;
/** So many register at once; a coordinator that takes them in makes a snapshot for each lot. */
const LOT = 50;

interface Simulated {
  readonly id: string;
  readonly bucket: LivenessBucket;
  isAlive: boolean;
}

/** The liveness keys of many workers, renewed and probed as theirs, in one process; they tick nothing. */
export class SimulatedWorkers {
  readonly link: NatsLink;
  readonly #startedAt = new Date().toISOString();
  readonly #workers: Simulated[] = [];
  readonly #timers: NodeJS.Timeout[] = [];
  failedRenewals = 0;

  private constructor(link: NatsLink) {
    this.link = link;
  }

  static async start(natsUrl: string, count: number): Promise<SimulatedWorkers> {
    const link = await connectNats({ servers: [natsUrl], name: 'simulated', prefix: '' }, { log: SILENT });
    const workers = new SimulatedWorkers(link);
    for (let from = 0; from < count; from += LOT) {
      const lot = Array.from({ length: Math.min(LOT, count - from) }, (_, index) => workers.#add(from + index));
      await Promise.all(lot);
    }
    return workers;
  }

  idAt(index: number): string {
    return this.#workers[index]?.id ?? '';
  }

  /** The planned leave: the key is deleted. */
  async leave(index: number): Promise<void> {
    const worker = this.#workers[index]!;
    worker.isAlive = false;
    await worker.bucket.remove();
  }

  async join(index: number): Promise<void> {
    const worker = this.#workers[index]!;
    worker.isAlive = true;
    await this.#renew(worker);
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await this.link.drain();
  }

  async #add(index: number): Promise<void> {
    const id = `worker-7c9f6d5b8-${index.toString(36).padStart(5, '0')}`;
    const worker: Simulated = { id, bucket: await LivenessBucket.attach(this.link), isAlive: true };
    this.#workers.push(worker);
    await serveProbe(this.link, { role: 'worker', id, version: '0.0.0', answer: () => this.#valueOf(worker) });
    await this.#renew(worker);
    this.#timers.push(setInterval(() => worker.isAlive && void this.#renew(worker), HEARTBEAT_MS));
  }

  async #renew(worker: Simulated): Promise<void> {
    const outcome = await worker.bucket.renew(this.#valueOf(worker));
    if (outcome.kind !== 'renewed' && worker.isAlive) this.failedRenewals += 1;
  }

  #valueOf({ id }: Simulated) {
    const tick = Math.floor(Date.now() / 1000);
    return { id, startedAt: this.#startedAt, ring: 1, tick, rows: 100, state: 'active' as const };
  }
}
