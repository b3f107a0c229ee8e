/** What a benchmark and its driver processes say to each other. */

/** How a worker ticks: as the product does, as most would write it, or row by row. */
export type Way = 'ours' | 'plain' | 'row-by-row';

export interface DriverSetup {
  readonly url: string;
  readonly worker: string;
  readonly slots: readonly number[];
  readonly totalSlots: number;
  readonly rows: number;
  readonly version: number;
}

/** Rounds back to back, each driver for itself, until so long has passed: one at least. */
export interface Order {
  readonly way: Way;
  readonly fromTick: number;
  readonly forMs: number;
}

export interface RoundResult {
  readonly rows: number;
  readonly ms: number;
  /** Of each statement. */
  readonly statementMs: readonly number[];
  readonly roundMs: readonly number[];
  /** Of this process, not of Postgres. */
  readonly cpuMs: number;
  readonly delayP99Ms: number;
  readonly residentMb: number;
}

export type Answer =
  | { readonly kind: 'ready' }
  | { readonly kind: 'done'; readonly result: RoundResult }
  | { readonly kind: 'failed'; readonly reason: string };
