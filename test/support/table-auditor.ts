import { pino } from 'pino';
import { AuditLog, type AuditResult, type AuditSample } from '../../services/cli/audit-log.ts';
import { type Adoption, readAdoption } from '../../shared/postgres/adoption.ts';
import { connectPostgres, type PostgresLink } from '../../shared/postgres/connection.ts';
import { PostgresUnavailableError } from '../../shared/postgres/failure.ts';
import { Inspection } from '../../shared/postgres/inspection.ts';
import { outlastOutages } from '../../shared/postgres/patience.ts';
import { addRows, removeRows } from '../../shared/postgres/rows.ts';
import { parseTableNames } from '../../shared/postgres/table.ts';
import { isUneven } from '../../shared/ring/assignment.ts';
import type { Pause } from './pause.ts';

const SAMPLE_EVERY_MS = 1_000;
const ADOPTION_EVERY_MS = 50;
const TABLE = parseTableNames({
  table: 'public.work_items',
  idColumn: 'id',
  valueColumn: 'value',
  workerColumn: 'currentworker',
});

/** Watches the table from outside, by a connection of its own that no fault touches, and changes it for the plan. */
export class Auditor {
  readonly #link: PostgresLink;
  readonly #inspection: Inspection;
  readonly #signal: AbortSignal;
  readonly #log = new AuditLog(isUneven);

  private constructor(link: PostgresLink, adoption: Adoption, signal: AbortSignal) {
    this.#link = link;
    this.#signal = signal;
    this.#inspection = new Inspection(link, TABLE, adoption);
  }

  /** Waits until a coordinator has adopted the table. */
  static async open(url: string, { signal, pause }: { readonly signal: AbortSignal; readonly pause: Pause }) {
    const log = pino({ level: 'silent' });
    const link = await connectPostgres({ connectionString: url, applicationName: 'soak' }, { log, signal });
    for (;;) {
      signal.throwIfAborted();
      const adoption = await readAdoption(link, TABLE);
      if (adoption !== null) return new Auditor(link, adoption, signal);
      await pause(ADOPTION_EVERY_MS);
    }
  }

  /** Until the signal is aborted. An outage of Postgres is waited for: what was missed meanwhile shows afterwards. */
  async watch(pause: Pause, tell: (sample: AuditSample, result: AuditResult) => void, end: AbortSignal): Promise<void> {
    while (!end.aborted) {
      const sample = await this.look();
      if (sample !== null) {
        this.#log.add(sample);
        tell(sample, this.#log.result());
      }
      await pause(SAMPLE_EVERY_MS);
    }
  }

  /** One look at the table that the audit does not count; null while Postgres is away. */
  async look(): Promise<AuditSample | null> {
    try {
      return await this.#inspection.sampleRows();
    } catch (error) {
      if (error instanceof PostgresUnavailableError) return null;
      throw error;
    }
  }

  async addRows(count: number): Promise<void> {
    await this.#patiently(() => addRows(this.#link, TABLE, count));
  }

  async removeRows(count: number): Promise<void> {
    await this.#patiently(() => removeRows(this.#link, TABLE, count));
  }

  close(): Promise<void> {
    return this.#link.close();
  }

  /** Where the outage took the answer, the rows may be added or removed twice: a few more or less do no harm. */
  async #patiently(work: () => Promise<unknown>): Promise<void> {
    await outlastOutages(work, { log: pino({ level: 'silent' }), signal: this.#signal });
  }
}
