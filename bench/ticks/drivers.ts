import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { assign, rowsPerWorker } from '../../shared/ring/assignment.ts';
import { forkScript, nextMessage, stopForked } from '../support/forked-process.ts';
import type { Answer, DriverSetup, Order, RoundResult } from './driver-messages.ts';
import type { MeasuredTable } from './measured-table.ts';

const SCRIPT = join(import.meta.dirname, 'driver.ts');

/** The workers' processes; each does what it is told when all are told. */
export class Drivers {
  readonly #children: readonly ChildProcess[];

  private constructor(children: readonly ChildProcess[]) {
    this.#children = children;
  }

  /** The slots are shared out as a coordinator would. `version` is above that of any claim before. */
  static async start(
    table: MeasuredTable,
    { url, workers, version }: { readonly url: string; readonly workers: number; readonly version: number },
  ): Promise<Drivers> {
    const ids = Array.from({ length: workers }, (_, index) => `worker-${index + 1}`);
    const assignment = assign({ weights: table.weights, workers: ids, previous: null });
    const rows = rowsPerWorker(assignment, table.weights);
    const children = await Promise.all(
      assignment.workers.map((worker, index) => {
        const slots = [...assignment.owners.keys()].filter((slot) => assignment.owners[slot] === index);
        const totalSlots = table.weights.length;
        const setup: DriverSetup = { url, worker, slots, totalSlots, rows: rows[index] ?? 0, version };
        return forkScript(SCRIPT, setup);
      }),
    );
    return new Drivers(children);
  }

  /** All at once; resolves when the last one is done. */
  async tell(order: Order): Promise<readonly RoundResult[]> {
    return Promise.all(
      this.#children.map(async (child) => {
        const reply = nextMessage(child);
        child.send(order);
        const answer = (await reply) as Answer;
        if (answer.kind === 'done') return answer.result;
        throw new Error(`a driver failed: ${answer.kind === 'failed' ? answer.reason : answer.kind}`);
      }),
    );
  }

  async stop(): Promise<void> {
    await Promise.all(this.#children.map(stopForked));
  }
}
