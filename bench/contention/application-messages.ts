/** The messages between the benchmark and the application's process. */

export interface Order {
  readonly url: string;
  /** Key of a workload. */
  readonly workload: string;
  readonly seconds: number;
}

/** Rows whose locks the application kept on purpose, without a gap. */
export interface Hold {
  readonly ids: readonly string[];
  /** The database's clock, epoch ms. */
  readonly fromMs: number;
  readonly toMs: number;
}

export interface ApplicationRun {
  /** Committed transactions a second, summed over the clients. */
  readonly throughput: number;
  readonly transactions: number;
  /** Of each committed transaction, from its first statement to the answer to its COMMIT. */
  readonly latenciesMs: readonly number[];
  /** Transactions that Postgres aborted, by SQL state. */
  readonly killed: Readonly<Record<string, number>>;
  /** Only those that lasted a second or longer. */
  readonly holds: readonly Hold[];
}

export type Answer =
  | { readonly kind: 'ready' }
  | { readonly kind: 'done'; readonly run: ApplicationRun }
  | { readonly kind: 'failed'; readonly reason: string };
