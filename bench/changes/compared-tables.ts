import { setTimeout as delay } from 'node:timers/promises';
import { type Adoption, adoptTable } from '../../shared/postgres/adoption.ts';
import type { PostgresLink } from '../../shared/postgres/connection.ts';
import { Fence } from '../../shared/postgres/fence.ts';
import type { Session } from '../../shared/postgres/session.ts';
import { quoteTable } from '../../shared/postgres/table.ts';
import { TableWatch } from '../../shared/postgres/table-watch.ts';
import { SILENT } from '../support/bench-postgres.ts';
import { copyRows } from '../support/copy-rows.ts';
import { NAMES } from '../ticks/measured-table.ts';

const SLOTS = 4096;
/** As our triggers for inserts and deletes, which need the rows that a statement changed; these record nothing. */
const EMPTY_TRIGGERS = [
  ['INSERT', 'NEW'],
  ['DELETE', 'OLD'],
] as const;

/** Tables with the same columns, indexes and settings: ours, one with triggers that do nothing, one without any. */
const TABLES = { adopted: quoteTable(NAMES), empty: 'public.empty_items', bare: 'public.bare_items' } as const;

export type Side = keyof typeof TABLES;

export const SIDES = Object.keys(TABLES) as readonly Side[];

/** As ours, but each statement notifies: what that costs those who commit at the same time. */
const NOTIFYING = 'public.notifying_items';

export type ConcurrentSide = Side | 'notifying';

export const CONCURRENT_SIDES: readonly ConcurrentSide[] = [...SIDES, 'notifying'];

/** The adopted table and its likes, for the same changes. */
export class ComparedTables {
  readonly #url: string;
  readonly #link: PostgresLink;
  readonly #session: Session;
  readonly #adoption: Adoption;
  readonly watch: TableWatch;

  private constructor(parts: { url: string; link: PostgresLink; session: Session; adoption: Adoption }) {
    this.#url = parts.url;
    this.#link = parts.link;
    this.#session = parts.session;
    this.#adoption = parts.adoption;
    this.watch = new TableWatch(parts.link, NAMES, parts.adoption);
  }

  static async make(url: string, link: PostgresLink): Promise<ComparedTables> {
    const adoption = await adoptTable(link, { names: NAMES, slots: SLOTS, log: SILENT });
    const session = await link.open({ statementTimeoutMs: 0 });
    const like = `(LIKE ${TABLES.adopted} INCLUDING ALL) WITH (fillfactor = 50)`;
    const statements = [
      `CREATE TABLE ${TABLES.bare} ${like}`,
      `CREATE TABLE ${TABLES.empty} ${like}`,
      `CREATE FUNCTION public.record_nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`,
      ...EMPTY_TRIGGERS.map(
        ([event, version]) =>
          `CREATE TRIGGER empty_${event} AFTER ${event} ON ${TABLES.empty} REFERENCING ${version} TABLE AS changed
            FOR EACH STATEMENT EXECUTE FUNCTION public.record_nothing()`,
      ),
    ];
    for (const text of [...statements, ...notifyingStatements(like)]) await session.query({ text });
    return new ComparedTables({ url, link, session, adoption });
  }

  nameOf(side: ConcurrentSide): string {
    return side === 'notifying' ? NOTIFYING : TABLES[side];
  }

  async mayPrepare(): Promise<boolean> {
    const text = "SELECT current_setting('max_prepared_transactions')::int > 0 AS may";
    return (await this.#session.query<{ may: boolean }>({ text })).rows[0]?.may === true;
  }

  drawEpoch(): Promise<number> {
    return new Fence(this.#link, NAMES, this.#adoption).drawEpoch(0);
  }

  /** Each row a statement and a transaction of its own. @returns ms. */
  async insertOneByOne(side: Side, rows: number): Promise<number> {
    const text = `INSERT INTO ${TABLES[side]} DEFAULT VALUES`;
    return this.#time(async () => {
      for (let row = 0; row < rows; row += 1) await this.#session.query({ name: `insert-${side}`, text });
    });
  }

  async insertAtOnce(side: Side, rows: number): Promise<number> {
    return this.#run(`INSERT INTO ${TABLES[side]} SELECT FROM generate_series(1, ${rows})`);
  }

  /** Every second one, in one statement. */
  async deleteHalf(side: Side): Promise<number> {
    const table = TABLES[side];
    return this.#run(`DELETE FROM ${table} WHERE uuid_hash_extended(id, 7) & 1 = 0`);
  }

  async truncate(side: Side): Promise<number> {
    return this.#run(`TRUNCATE ${TABLES[side]}`);
  }

  /** From the client, as a bulk load comes. */
  async copy(side: Side, rows: number): Promise<number> {
    return this.#time(() => copyRows(this.#url, TABLES[side], rows));
  }

  async vacuum(): Promise<void> {
    for (const side of SIDES) await this.#run(`VACUUM ${TABLES[side]}`);
  }

  /**
   * Runs changes while a worker ticks the table, and compares what the changes recorded come to with what is there.
   * @returns the slots whose count is wrong; 0 is right.
   */
  async countErrorsAfter(change: () => Promise<void>): Promise<number> {
    const { watch } = this;
    const fence = new Fence(this.#link, NAMES, this.#adoption);
    const slots = Array.from({ length: SLOTS }, (_, slot) => slot);
    await fence.claim({ worker: 'worker-1', incarnation: 1, epoch: await fence.drawEpoch(0), version: 1, slots });
    const before = await watch.count();
    const ticking = { isOver: false };
    const ticks = keepTicking(fence, slots, ticking);
    await change();
    ticking.isOver = true;
    await ticks;
    const { deltas, recount } = await watch.changesSince(before.at);
    const after = await watch.count();
    // A truncation says "count anew", and that is what the leader then does.
    if (recount) return 0;
    const expected = before.weights.slice();
    for (const { slot, delta } of deltas) expected[slot]! += delta;
    return expected.filter((rows, slot) => rows !== after.weights[slot]).length;
  }

  #run(text: string): Promise<number> {
    return this.#time(async () => void (await this.#session.query({ text })));
  }

  async #time(work: () => Promise<void>): Promise<number> {
    const startedMs = performance.now();
    await work();
    return performance.now() - startedMs;
  }
}

function notifyingStatements(like: string): readonly string[] {
  return [
    `CREATE TABLE ${NOTIFYING} ${like}`,
    'CREATE TABLE public.notifying_changes (LIKE scaler.table_change INCLUDING ALL)',
    `CREATE FUNCTION public.record_and_notify() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN
      INSERT INTO public.notifying_changes (slot, delta) SELECT 0, 1 FROM changed LIMIT 8;
      PERFORM pg_notify(''bench_changes'', '''');
      RETURN NULL;
    END'`,
    `CREATE TRIGGER notifying AFTER INSERT ON ${NOTIFYING} REFERENCING NEW TABLE AS changed
      FOR EACH STATEMENT EXECUTE FUNCTION public.record_and_notify()`,
  ];
}

/** A tick for a new number whenever the one before is done, in chunks of a hundred slots. */
async function keepTicking(fence: Fence, slots: readonly number[], until: { readonly isOver: boolean }): Promise<void> {
  for (let tick = 1; !until.isOver; tick += 1) {
    for (let from = 0; from < slots.length && !until.isOver; from += 128) {
      await fence.tick({ worker: 'worker-1', incarnation: 1, tick, slots: slots.slice(from, from + 128) });
    }
    await delay(100);
  }
}
