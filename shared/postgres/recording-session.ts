import type { QueryResult, QueryResultRow } from 'pg';
import type { MigrationSession } from './migrations.ts';
import type { Statement } from './session.ts';
import { quoteTable, quoteText, type TableNames } from './table.ts';

export interface RecordedStatement {
  /** Its values stand in it: it can be run as it is. */
  readonly sql: string;
  /** What it keeps others of the owner's table from; null: nothing of it is locked. */
  readonly lock: string | null;
}

const CATALOG_ONLY = 'for as long as the catalog takes';

/** Passes reads on, and records everything else instead of running it. The session behind it must be read-only. */
export class RecordingSession implements MigrationSession {
  readonly statements: RecordedStatement[] = [];
  readonly #session: MigrationSession;
  readonly #names: TableNames;

  constructor(session: MigrationSession, names: TableNames) {
    this.#session = session;
    this.#names = names;
  }

  get isOver(): boolean {
    return this.#session.isOver;
  }

  async query<Row extends QueryResultRow = QueryResultRow>(statement: Statement): Promise<QueryResult<Row>> {
    if (/^\s*SELECT\b/i.test(statement.text)) return this.#session.query<Row>(statement);
    const sql = inline(statement);
    this.statements.push({ sql, lock: describeLock(sql, this.#names) });
    return { rows: [], rowCount: 0, command: '', oid: 0, fields: [] };
  }
}

/** By the statements that adoption and release run; see "Explicit Locking" in PostgreSQL's manual. */
export function describeLock(sql: string, names: TableNames): string | null {
  if (/^(CREATE|DROP) INDEX CONCURRENTLY/.test(sql)) {
    return 'SHARE UPDATE EXCLUSIVE: reads and writes go on; it waits for all older transactions to end';
  }
  if (/(^|; )CREATE INDEX /.test(sql) && sql.includes(quoteTable(names))) {
    return `SHARE on an empty table: writers wait ${CATALOG_ONLY}`;
  }
  if (/^(DROP TRIGGER|DROP INDEX)/.test(sql)) return `ACCESS EXCLUSIVE: reads and writes wait ${CATALOG_ONLY}`;
  if (!sql.includes(quoteTable(names))) return null;
  if (/^CREATE OR REPLACE TRIGGER/.test(sql)) return `SHARE ROW EXCLUSIVE: writers wait ${CATALOG_ONLY}`;
  if (/^(ALTER TABLE|ANALYZE)/.test(sql)) return 'SHARE UPDATE EXCLUSIVE: reads and writes go on';
  return null;
}

function inline({ text, values = [] }: Statement): string {
  return text.replace(/\$(\d+)/g, (placeholder, number) => {
    const index = Number(number) - 1;
    return index in values ? toLiteral(values[index]) : placeholder;
  });
}

function toLiteral(value: unknown): string {
  if (value === null) return 'NULL';
  if (Array.isArray(value)) return value.length === 0 ? "'{}'" : `ARRAY[${value.map(toLiteral).join(', ')}]`;
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : quoteText(String(value));
}
