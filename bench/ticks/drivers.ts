import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import { assign, rowsPerWorker } from '../../shared/ring/assignment.ts';
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
        return startDriver({ url, worker, slots, totalSlots: table.weights.length, rows: rows[index] ?? 0, version });
      }),
    );
    return new Drivers(children);
  }

  /** All at once; resolves when the last one is done. */
  async tell(order: Order): Promise<readonly RoundResult[]> {
    return Promise.all(
      this.#children.map(async (child) => {
        const reply = nextAnswer(child);
        child.send(order);
        const answer = await reply;
        if (answer.kind === 'done') return answer.result;
        throw new Error(`a driver failed: ${answer.kind === 'failed' ? answer.reason : answer.kind}`);
      }),
    );
  }

  async stop(): Promise<void> {
    await Promise.all(
      this.#children.map((child) => {
        const ended = new Promise((resolve) => child.once('exit', resolve));
        child.disconnect();
        return ended;
      }),
    );
  }
}

async function startDriver(setup: DriverSetup): Promise<ChildProcess> {
  const child = fork(SCRIPT, [JSON.stringify(setup)], { execArgv: ['--import', import.meta.resolve('tsx')] });
  await nextAnswer(child);
  return child;
}

function nextAnswer(child: ChildProcess): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const over = (code: number | null) => reject(new Error(`a driver ended with code ${code}`));
    child.once('exit', over);
    child.once('message', (message) => {
      child.off('exit', over);
      resolve(message as Answer);
    });
  });
}
