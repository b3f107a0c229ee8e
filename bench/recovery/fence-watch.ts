import { setTimeout as delay } from 'node:timers/promises';
import type { PostgresLink } from '../../shared/postgres/connection.ts';
import type { Session } from '../../shared/postgres/session.ts';
import { quoteName, quoteTable, slotExpression, type TableNames } from '../../shared/postgres/table.ts';
import type { Order } from '../../shared/ring/snapshot.ts';
import type { FenceSample, FenceSeen, SeenClaim } from './handover.ts';

export interface Watched {
  readonly table: TableNames;
  readonly slots: number;
  /** The ring that all was claimed under before: what is claimed later has a higher order. */
  readonly after: Order;
}

/** Between an answer and the next question. A tighter loop would take the processor from those it watches. */
const PAUSE_MS = 2;
const STATEMENT_LIMIT_MS = 5_000;

/**
 * Looks at the fence again and again, over a connection of its own, and keeps each state that is new. It asks only for what
 * was claimed since it began, which is little: with fifty workers, asking for every slot each time took most of a processor,
 * and what it watched had to wait for it.
 */
export class FenceWatch implements FenceSeen {
  readonly before: ReadonlyMap<number, string | null>;
  readonly samples: FenceSample[] = [];
  /** Between two looks, ms: the resolution of all that is read from the samples. */
  readonly gapsMs: number[] = [];
  readonly #done: Promise<void>;
  #isStopping = false;

  private constructor(session: Session, watched: Watched, before: ReadonlyMap<number, string | null>) {
    this.before = before;
    this.#done = this.#look(session, watched);
    this.#done.catch(() => {});
  }

  /** Resolves when the state before the fault is known. */
  static async start(link: PostgresLink, watched: Watched): Promise<FenceWatch> {
    const session = await link.open({ statementTimeoutMs: STATEMENT_LIMIT_MS });
    // Rows are looked up by slot, however few they are.
    await session.query({ name: 'fence-watch-plan', text: 'SET enable_seqscan = off' });
    const { rows } = await session.query<{ slot: number; worker: string | null }>({
      name: 'fence-watch-owners',
      text: 'SELECT slot, worker FROM scaler.slot',
    });
    return new FenceWatch(session, watched, new Map(rows.map(({ slot, worker }) => [slot, worker])));
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#done;
  }

  async #look(session: Session, { table, slots, after }: Watched): Promise<void> {
    const text = claimsText(table, slots);
    const values = [after.epoch, after.version];
    let seen = '';
    let lookedAtMs: number | null = null;
    try {
      while (!this.#isStopping) {
        const { rows } = await session.query<SeenClaim & { slot: number }>({ name: 'fence-watch', text, values });
        const atMs = performance.now();
        if (lookedAtMs !== null) this.gapsMs.push(atMs - lookedAtMs);
        lookedAtMs = atMs;
        const state = JSON.stringify(rows);
        if (state !== seen) {
          seen = state;
          this.samples.push({ atMs, claims: new Map(rows.map((row) => [row.slot, row])) });
        }
        await delay(PAUSE_MS);
      }
    } finally {
      await session.end();
    }
  }
}

function claimsText(names: TableNames, slots: number): string {
  const isAnothers = `w.${quoteName(names.worker)} IS DISTINCT FROM s.worker`;
  return `SELECT s.slot, s.worker, NOT EXISTS (SELECT FROM ${quoteTable(names)} w
      WHERE ${slotExpression(names.id, slots, 'w')} = s.slot AND ${isAnothers} OFFSET 0) AS "isTicked"
    FROM scaler.slot s WHERE s.worker IS NOT NULL AND (s.epoch, s.version) > ($1::bigint, $2::bigint)`;
}
