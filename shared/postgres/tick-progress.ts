import type { QueryResultRow } from 'pg';
import type { Adoption } from './adoption.ts';
import type { PostgresLink } from './connection.ts';
import { AHEAD_TICKS, FENCE_SETTINGS, SECOND } from './fence-statements.ts';
import type { Statement } from './session.ts';
import { quoteTable, slotExpression, type TableNames } from './table.ts';
import { numberArray } from './types.ts';

const LANE = 'control';

/** A tick ahead of the database's clock is none: such slots wait for their re-base. */
const NEWEST_TEXT = `
SELECT worker, max(last_tick) AS tick FROM scaler.slot
WHERE worker IS NOT NULL AND last_tick <= (SELECT ${SECOND}) + ${AHEAD_TICKS} GROUP BY worker`;

/** What each worker ticks, by the fence. Changes nothing. Rejects as `PostgresLink.query` does. */
export class TickProgress {
  readonly #link: PostgresLink;
  readonly #rowsText: string;

  constructor(link: PostgresLink, names: TableNames, adoption: Adoption) {
    this.#link = link;
    // One probe of the index for each slot.
    this.#rowsText = `SELECT DISTINCT g.number FROM unnest($1::int[], $2::int[]) AS g (number, slot)
      WHERE EXISTS (SELECT 1 FROM ${quoteTable(names)} w WHERE ${slotExpression(names.id, adoption.slots, 'w')} = g.slot OFFSET 0)`;
  }

  /** The newest tick of each worker's slots, where the fence names it for any. */
  newest(): Promise<{ readonly worker: string; readonly tick: number }[]> {
    return this.#ask({ name: 'progress-newest', text: NEWEST_TEXT });
  }

  /** Which of these groups of slots have at least one row? In their order. */
  async haveRows(groups: readonly (readonly number[])[]): Promise<boolean[]> {
    if (groups.length === 0) return [];
    const numbers = groups.flatMap((slots, number) => slots.map(() => number));
    const values = [numberArray(numbers), numberArray(groups.flat())];
    const filled = await this.#ask<{ number: number }>({ name: 'progress-rows', text: this.#rowsText, values });
    const known = new Set(filled.map(({ number }) => number));
    return groups.map((_, number) => known.has(number));
  }

  async #ask<Row extends QueryResultRow>(statement: Statement): Promise<Row[]> {
    return (await this.#link.query<Row>(LANE, { ...statement, settings: FENCE_SETTINGS })).rows;
  }
}
