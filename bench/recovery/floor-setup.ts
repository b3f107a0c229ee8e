/** What the bare processes and who forks them must both know; apart, so that the bare ones load nothing else. */
import type { TableNames } from '../../shared/postgres/table.ts';

/** What one process is told at its start. */
export interface FloorSetup {
  readonly natsUrl: string;
  readonly databaseUrl: string;
  readonly worker: string;
  /** In the ring, and without a process: its slots go from one of the others to the next. */
  readonly leaver: string;
  /** Which of the others, and of how many. */
  readonly index: number;
  readonly others: number;
  readonly table: TableNames;
  /** The table's number of slots. */
  readonly slots: number;
  /** How many ids it logs each second. */
  readonly rows: number;
  readonly phaseMs: number;
}

export const TOLD_SUBJECT = 'floor.told';
export const ALIVE_SUBJECT = 'floor.alive';
export const DONE_SUBJECT = 'floor.done';
