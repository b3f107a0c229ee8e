import { setTimeout as wait } from 'node:timers/promises';
import { pino } from 'pino';
import { AuditLog, type AuditResult, type AuditSample } from '../../services/cli/audit-log.ts';
import { type Adoption, readAdoption } from '../../shared/postgres/adoption.ts';
import { connectPostgres, type PostgresLink } from '../../shared/postgres/connection.ts';
import { PostgresUnavailableError } from '../../shared/postgres/failure.ts';
import { Inspection } from '../../shared/postgres/inspection.ts';
import { outlastOutages } from '../../shared/postgres/patience.ts';
import { addRows, removeRows } from '../../shared/postgres/rows.ts';
import { isUneven } from '../../shared/ring/assignment.ts';
import { WORK_ITEMS } from './work-items.ts';

/** As the audit's own. */
const SAMPLE_EVERY_MS = 400;
const ADOPTION_EVERY_MS = 50;
const SILENT = pino({ level: 'silent' });

/** Watches the table from outside, by a connection of its own that no fault touches, and changes it where asked. */
export class TableAuditor {
  readonly #link: PostgresLink;
  readonly #inspection: Inspection;
  readonly #signal: AbortSignal;

  private constructor(link: PostgresLink, adoption: Adoption, signal: AbortSignal) {
    this.#link = link;
    this.#inspection = new Inspection(link, WORK_ITEMS, adoption);
    this.#signal = signal;
  }

  /** Waits until a coordinator has adopted the table. @throws the signal's reason, here and below, when it is aborted. */
  static async open(url: string, signal: AbortSignal): Promise<TableAuditor> {
    const link = await connectPostgres({ connectionString: url, applicationName: 'auditor' }, { log: SILENT, signal });
    try {
      for (;;) {
        const adoption = await readAdoption(link, WORK_ITEMS);
        if (adoption !== null) return new TableAuditor(link, adoption, signal);
        await wait(ADOPTION_EVERY_MS, undefined, { signal });
      }
    } catch (error) {
      await link.close();
      throw error;
    }
  }

  /** The table as it is now; null while Postgres is away. */
  async look(): Promise<AuditSample | null> {
    try {
      return await this.#inspection.sampleRows();
    } catch (error) {
      if (error instanceof PostgresUnavailableError) return null;
      throw error;
    }
  }

  /** Audits until the end is asked for. An outage of Postgres is waited for: what was missed meanwhile shows afterwards. */
  async watch(
    end: AbortSignal,
    tell: (sample: AuditSample, result: AuditResult) => void,
    log = new AuditLog(isUneven),
  ): Promise<AuditResult> {
    while (!end.aborted) {
      const sample = await this.look();
      if (sample !== null) {
        log.add(sample);
        tell(sample, log.result());
      }
      await wait(SAMPLE_EVERY_MS, undefined, { signal: end }).catch(() => {});
    }
    const last = await this.look();
    if (last !== null) log.add(last);
    return log.result();
  }

  /** Where an outage takes the answer, rows may be added or removed twice. */
  async addRows(count: number): Promise<void> {
    await this.#patiently(() => addRows(this.#link, WORK_ITEMS, count));
  }

  async removeRows(count: number): Promise<void> {
    await this.#patiently(() => removeRows(this.#link, WORK_ITEMS, count));
  }

  close(): Promise<void> {
    return this.#link.close();
  }

  async #patiently(work: () => Promise<unknown>): Promise<void> {
    await outlastOutages(work, { log: SILENT, signal: this.#signal });
  }
}
