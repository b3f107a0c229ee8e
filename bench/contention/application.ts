import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { forkScript, nextMessage, stopForked } from '../support/forked-process.ts';
import type { Answer, ApplicationRun, Order } from './application-messages.ts';

const SCRIPT = join(import.meta.dirname, 'application-process.ts');

/** The application that owns one table: a process of its own, so that the audit's work is not in its latencies. */
export class Application {
  readonly #child: ChildProcess;
  readonly #url: string;

  private constructor(child: ChildProcess, url: string) {
    this.#child = child;
    this.#url = url;
  }

  static async start(url: string): Promise<Application> {
    return new Application(await forkScript(SCRIPT, {}), url);
  }

  /** One run at a time. Resolves when every client finished its last transaction. */
  async run(workload: string, seconds: number): Promise<ApplicationRun> {
    const reply = nextMessage(this.#child);
    const order: Order = { url: this.#url, workload, seconds };
    this.#child.send(order);
    const answer = (await reply) as Answer;
    if (answer.kind === 'done') return answer.run;
    throw new Error(`the application failed: ${answer.kind === 'failed' ? answer.reason : answer.kind}`);
  }

  async stop(): Promise<void> {
    await stopForked(this.#child);
  }
}

/** The same application twice: on the table that is adopted, and on a twin of it in another database, which never is. */
export interface Applications {
  readonly adopted: Application;
  readonly bare: Application;
}

export interface TwinRuns {
  readonly adopted: ApplicationRun;
  readonly bare: ApplicationRun;
}

/** At the same time: whatever else the machine does meanwhile slows both alike. */
export async function runBoth(applications: Applications, workload: string, seconds: number): Promise<TwinRuns> {
  const [adopted, bare] = await Promise.all([
    applications.adopted.run(workload, seconds),
    applications.bare.run(workload, seconds),
  ]);
  return { adopted, bare };
}
