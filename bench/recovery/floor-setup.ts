/** What the bare processes and who forks them must both know; apart, so that the bare ones load nothing else. */
import { parseTableNames } from '../../shared/postgres/table.ts';

/** What one process is told at its start. */
export interface FloorSetup {
  readonly natsUrl: string;
  readonly databaseUrl: string;
  readonly worker: string;
  /** The table's number of slots. */
  readonly ring: number;
  /** Claimed at each change. */
  readonly gained: readonly number[];
  /** Logged each second; any, as many as it has rows. */
  readonly ids: readonly string[];
  readonly phaseMs: number;
}

export const TOLD_SUBJECT = 'floor.told';
export const ALIVE_SUBJECT = 'floor.alive';
export const DONE_SUBJECT = 'floor.done';
export const TABLE = parseTableNames({
  table: 'public.work_items',
  idColumn: 'id',
  valueColumn: 'value',
  workerColumn: 'currentworker',
});
