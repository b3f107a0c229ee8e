import { setTimeout as delay } from 'node:timers/promises';
import type { PostgresLink } from '../../shared/postgres/connection.ts';
import { numberArray } from '../../shared/postgres/types.ts';
import type { FenceSample } from './handover.ts';

export interface Watched {
  /** Ascending. */
  readonly slots: readonly number[];
  /** Whom the samples may name; anyone else is nobody to them. */
  readonly workers: readonly string[];
}

/** Between an answer and the next question. A tighter loop would take the processor from those it watches. */
const PAUSE_MS = 2;
const STATEMENT_LIMIT_MS = 5_000;

/** As text, which is compared as it is: nearly always it is what it was, and not worth parsing. */
const TEXT = `SELECT json_build_object('owners', array_agg(coalesce(array_position($2::text[], worker), 0) ORDER BY slot),
  'lastTicks', array_agg(last_tick ORDER BY slot))::text AS state FROM scaler.slot WHERE slot = ANY($1::int[])`;

/** Looks at the fence of some slots again and again, over a connection of its own, and keeps each state that is new. */
export class FenceWatch {
  readonly samples: FenceSample[] = [];
  /** Between two looks, ms: the resolution of all that is read from the samples. */
  readonly gapsMs: number[] = [];
  readonly #done: Promise<void>;
  #isStopping = false;

  private constructor(link: PostgresLink, watched: Watched) {
    this.#done = this.#look(link, watched);
    this.#done.catch(() => {});
  }

  /** Resolves when the state before the fault is known. */
  static async start(link: PostgresLink, watched: Watched): Promise<FenceWatch> {
    const watch = new FenceWatch(link, watched);
    while (watch.samples.length === 0) await Promise.race([delay(PAUSE_MS), watch.#done]);
    return watch;
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#done;
  }

  async #look(link: PostgresLink, { slots, workers }: Watched): Promise<void> {
    const session = await link.open({ statementTimeoutMs: STATEMENT_LIMIT_MS });
    const values = [numberArray(slots), workers];
    let seen = '';
    let lookedAtMs: number | null = null;
    try {
      while (!this.#isStopping) {
        const { rows } = await session.query<{ state: string }>({ name: 'fence-watch', text: TEXT, values });
        const atMs = performance.now();
        if (lookedAtMs !== null) this.gapsMs.push(atMs - lookedAtMs);
        lookedAtMs = atMs;
        const { state } = rows[0]!;
        if (state !== seen) {
          seen = state;
          const { owners, lastTicks } = JSON.parse(state) as { owners: number[]; lastTicks: number[] };
          this.samples.push({ atMs, owners: owners.map((owner) => workers[owner - 1] ?? null), lastTicks });
        }
        await delay(PAUSE_MS);
      }
    } finally {
      await session.end();
    }
  }
}
