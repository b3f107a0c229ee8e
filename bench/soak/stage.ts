import { mkdir } from 'node:fs/promises';
import { openDataDirectory } from '../../services/local/data-directory.ts';
import { TableAuditor } from '../../test/support/table-auditor.ts';
import type { Stage } from './faults.ts';
import { Fleet } from './fleet.ts';
import type { SoakOptions } from './options.ts';
import type { Pause } from './pause.ts';
import { SoakServer } from './servers.ts';

export interface OpenStage extends Stage {
  readonly auditor: TableAuditor;
  /** Ends what was started here, and nothing else: workers, coordinators, Postgres, NATS, as `npm start` does. */
  close(): Promise<void>;
}

export interface StageContext {
  readonly signal: AbortSignal;
  readonly pause: Pause;
  /** Told of each end that nobody asked for. */
  readonly onLost: (what: string) => void;
}

/** Starts servers, services and the audit's connection; fills the table. Whatever came up is ended where something does not. */
export async function openStage(options: SoakOptions, context: StageContext): Promise<OpenStage> {
  const { signal, pause, onLost } = context;
  const closers: (() => Promise<void> | void)[] = [];
  const close = async () => {
    for (const end of closers.splice(0).reverse()) await end();
  };
  try {
    if (options.logs !== undefined) await mkdir(options.logs, { recursive: true });
    const data = await openDataDirectory(undefined);
    closers.push(() => data.remove());
    const nats = await SoakServer.nats(data.nats, onLost);
    closers.push(() => nats.stop());
    const postgres = await SoakServer.postgres(data.postgres, onLost);
    closers.push(() => postgres.stop());
    const fleet = new Fleet({ nats, postgres, logFolder: options.logs, onLost });
    closers.push(() => fleet.close());
    for (let index = 0; index < options.coordinators; index += 1) await fleet.add('coordinator');
    const auditor = await TableAuditor.open(postgres.url, signal);
    closers.push(() => auditor.close());
    for (let index = 0; index < options.workers; index += 1) await fleet.add('worker');
    await auditor.addRows(options.rows);
    return {
      fleet,
      nats,
      postgres,
      pause,
      auditor,
      addRows: (count) => auditor.addRows(count),
      removeRows: (count) => auditor.removeRows(count),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
