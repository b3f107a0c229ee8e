import { setTimeout as delay } from 'node:timers/promises';
import { type RunningProcess, startProcess } from '../../services/local/process.ts';
import { compiledService } from './compiled-services.ts';

const STOP_LIMIT_MS = 15_000;
const READY_LIMIT_MS = 120_000;

export interface ServiceSurroundings {
  readonly natsUrl: string;
  readonly databaseUrl: string;
  /** Called with each log line, except the long lists of ids. */
  readonly onLine?: (line: string) => void;
}

/** A service's real process, whose log is read and thrown away but for where it serves its metrics. */
export class BenchService {
  readonly name: string;
  readonly process: RunningProcess;
  readonly #seen: { port: number | null; readonly warnings: string[] };

  private constructor(name: string, process: RunningProcess, seen: { port: number | null; warnings: string[] }) {
    this.name = name;
    this.process = process;
    this.#seen = seen;
  }

  static async start(role: 'worker' | 'coordinator', name: string, around: ServiceSurroundings): Promise<BenchService> {
    const seen = { port: null as number | null, warnings: [] as string[] };
    const child = await startProcess({
      command: process.execPath,
      args: [...(await compiledService(role)), `--${role}-id`, name],
      environment: {
        PATH: process.env.PATH,
        HOME: process.env.HOME,
        NATS_URL: around.natsUrl,
        DATABASE_URL: around.databaseUrl,
        HTTP_PORT: '0',
        LOG_FORMAT: 'json',
      },
      // After Ctrl-C nobody waits for an orderly leave.
      orphanSignal: 'SIGKILL',
      onLine: (line) => {
        // Long lines are id lists: not worth parsing here.
        if (line.length > 2_000) return;
        around.onLine?.(line);
        seen.port ??= Number(/"port":(\d+)/.exec(line)?.[1] ?? Number.NaN) || null;
        if (/"level":"(warn|error|fatal)"/.test(line)) seen.warnings.push(line.slice(0, 300));
      },
    });
    return new BenchService(name, child, seen);
  }

  get warnings(): readonly string[] {
    return this.#seen.warnings;
  }

  /** The value of a metric, or the sum over its labels; `counts` picks among the lines. 0 if the metric does not exist. */
  async readMetric(name: string, counts: (line: string) => boolean = () => true): Promise<number> {
    const response = await fetch(`http://127.0.0.1:${this.#seen.port}/metrics`);
    const lines = (await response.text())
      .split('\n')
      .filter((line) => line.startsWith(name) && /[ {]/.test(line[name.length] ?? '') && counts(line));
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
  }

  /** Waits until it says that it is ready. */
  async ready(): Promise<void> {
    const deadlineMs = performance.now() + READY_LIMIT_MS;
    while (performance.now() < deadlineMs) {
      const port = this.#seen.port;
      const isReady =
        port !== null &&
        (await fetch(`http://127.0.0.1:${port}/readyz`).then(
          ({ ok }) => ok,
          () => false,
        ));
      if (isReady) return;
      await delay(100);
    }
    throw new Error(`${this.name} was not ready within ${READY_LIMIT_MS / 1000} s:\n${this.warnings.join('\n')}`);
  }

  async stop(): Promise<void> {
    await this.process.stop({ signal: 'SIGTERM', limitMs: STOP_LIMIT_MS });
  }
}
