import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import type { Output } from './output.ts';
import { describeEnding, type Ending, type RunningProcess, startProcess } from './process.ts';

export type Role = 'worker' | 'coordinator';

export interface Service {
  /** "worker-2": its id, and its name in messages. */
  readonly name: string;
  readonly role: Role;
  /** The file with its main program. */
  readonly script: string;
  readonly environment: NodeJS.ProcessEnv;
}

export interface SupervisorOptions {
  readonly log: Logger;
  readonly output: Output;
  /** Start a service again when it ends unasked. */
  readonly restart: boolean;
  /** Called for each end that was not asked for. */
  readonly onLost?: (service: Service, ending: Ending) => void;
}

/** A worker's planned leave may take 10 s. */
const STOP_LIMIT_MS = 15_000;
const RESTART_DELAY_MS = 1_000;

/** Keeps the services' processes: starts them, says when one ends unasked and what that means, and ends them. */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #running = new Map<string, { readonly service: Service; readonly process: RunningProcess }>();
  #isStopping = false;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  count(role: Role): number {
    return this.#of(role).length;
  }

  async start(service: Service): Promise<void> {
    const { log, output } = this.#options;
    const { name, script, environment } = service;
    const process_ = await startProcess({
      command: process.execPath,
      args: [...loaderFlags(script), script],
      environment,
      onLine: (line, stream) => output.pass(name, line, stream),
    });
    this.#running.set(name, { service, process: process_ });
    log.info({ name, pid: process_.pid }, 'started');
    void process_.ended.then((ending) => this.#ended(service, ending));
  }

  /** Asks all of a role to leave and waits for them. From now on nothing is restarted. */
  async stop(role: Role): Promise<void> {
    this.#isStopping = true;
    await Promise.all(this.#of(role).map((each) => each.process.stop({ signal: 'SIGTERM', limitMs: STOP_LIMIT_MS })));
  }

  kill(): void {
    this.#isStopping = true;
    for (const { process } of this.#running.values()) process.kill();
  }

  #of(role: Role) {
    return [...this.#running.values()].filter((each) => each.service.role === role);
  }

  #ended(service: Service, ending: Ending): void {
    this.#running.delete(service.name);
    if (this.#isStopping) return;
    const { log, restart, onLost } = this.#options;
    const consequence = restart ? 'it is started again' : describeLoss(service.role, this.count(service.role));
    log.warn(`${service.name} ${describeEnding(ending)}; ${consequence}`);
    onLost?.(service, ending);
    if (!restart) return;
    setTimeout(() => {
      if (this.#isStopping) return;
      this.start(service).catch((error) => log.error({ err: error }, `${service.name} cannot be started again`));
    }, RESTART_DELAY_MS);
  }
}

function describeLoss(role: Role, left: number): string {
  if (role === 'worker')
    return left > 0 ? 'its rows go to the others' : 'no worker is left, so no row grows until one is started';
  return left > 0
    ? 'another one leads or goes on leading'
    : 'none is left: rows grow on, but who joins or leaves goes unseen';
}

/** In development the services are TypeScript, which tsx loads; built ones run as they are. */
export function loaderFlags(script: string): string[] {
  return script.endsWith('.ts') ? ['--import', import.meta.resolve('tsx')] : ['--enable-source-maps'];
}

/** The service's main program, next to this one: as source in development, built in a release. */
export function findScript(role: Role): string {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return fileURLToPath(new URL(`../${role}/main.${extension}`, import.meta.url));
}
