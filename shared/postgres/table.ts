import pg from 'pg';

/** The shared-out table and its columns, as Postgres spells them: unquoted. */
export interface TableNames {
  readonly schema: string;
  readonly table: string;
  readonly id: string;
  readonly value: string;
  readonly worker: string;
}

export type TableErrorCode =
  | 'bad-name'
  | 'bad-slots'
  | 'missing-schema'
  | 'foreign-schema'
  | 'similar-table'
  | 'not-a-table'
  | 'missing-column'
  | 'wrong-column-type'
  | 'no-primary-key'
  | 'no-replica-identity'
  | 'cannot-be-ticked'
  | 'in-use'
  | 'others-depend'
  | 'missing-privilege'
  | 'adopted-otherwise'
  | 'newer-schema'
  | 'other-prefix';

/** The table, or what we may do with it, is not as needed. Waiting does not help: somebody must change what the message says. */
export class TableError extends Error {
  override readonly name = 'TableError';
  readonly code: TableErrorCode;

  constructor(code: TableErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

const LONGEST_NAME = 63;
const DEFAULT_SCHEMA = 'public';
/** A part of a table's name: quoted, with doubled quotes inside, or plain. */
const PART = '"(?:[^"\\0]|"")+"|[^".\\0]+';
const TABLE_PATTERN = new RegExp(`^(?:(${PART})\\.)?(${PART})$`);
const COLUMN_PATTERN = /^(?:"(?:[^"\0]|"")+"|[^"\0]+)$/;
/** What SQL takes for a name without quotes. */
const PLAIN_PATTERN = /^[A-Za-z_\u{80}-\u{10ffff}][\w$\u{80}-\u{10ffff}]*$/u;
/** Every table has these columns already. */
const SYSTEM_COLUMNS = ['tableoid', 'ctid', 'xmin', 'xmax', 'cmin', 'cmax'];

/**
 * Reads names as SQL does: A to Z in plain names become lower case (`currentWorker` is the column `currentworker`), quoted
 * names are taken as they stand. Beyond SQL, a name that is neither, such as `work items`, is taken as it stands too.
 * Without a schema: `public`. The chart has the same rule in helm/templates/_helpers.tpl; a test compares the two.
 * @throws {TableError} `bad-name`.
 */
export function parseTableNames(options: {
  readonly table: string;
  readonly idColumn: string;
  readonly valueColumn: string;
  readonly workerColumn: string;
}): TableNames {
  const match = TABLE_PATTERN.exec(options.table);
  if (match === null) {
    throw new TableError(
      'bad-name',
      `expected a table as schema.table, such as public.work_items, got ${JSON.stringify(options.table)}`,
    );
  }
  const [id, value, worker] = [options.idColumn, options.valueColumn, options.workerColumn].map(readColumn);
  const names = {
    schema: match[1] === undefined ? DEFAULT_SCHEMA : readName(match[1]),
    table: readName(match[2]!),
    id: id!,
    value: value!,
    worker: worker!,
  };
  const columns = [names.id, names.value, names.worker];
  const system = columns.find((column) => SYSTEM_COLUMNS.includes(column));
  if (system !== undefined) {
    throw new TableError('bad-name', `expected a column of your own, got ${system}, which is one of Postgres itself`);
  }
  if (new Set(columns).size === columns.length) return names;
  throw new TableError(
    'bad-name',
    `expected three different columns for id, value and worker, got ${columns.join(', ')}`,
  );
}

function readColumn(text: string): string {
  if (COLUMN_PATTERN.test(text)) return readName(text);
  throw new TableError('bad-name', `expected a column's name, got ${JSON.stringify(text)}`);
}

function readName(text: string): string {
  const name = text.startsWith('"')
    ? text.slice(1, -1).replaceAll('""', '"')
    : PLAIN_PATTERN.test(text)
      ? text.replace(/[A-Z]/g, (letter) => letter.toLowerCase())
      : text;
  if (Buffer.byteLength(name) <= LONGEST_NAME) return name;
  throw new TableError('bad-name', `expected a name of at most ${LONGEST_NAME} bytes, got ${JSON.stringify(name)}`);
}

/** For SQL, quoted. */
export function quoteTable({ schema, table }: Pick<TableNames, 'schema' | 'table'>): string {
  return `${pg.escapeIdentifier(schema)}.${pg.escapeIdentifier(table)}`;
}

export function quoteName(name: string): string {
  return pg.escapeIdentifier(name);
}

export function quoteText(text: string): string {
  return pg.escapeLiteral(text);
}

/** For messages: as it must be typed in SQL, so that it can be taken from there. */
export function describeTable({ schema, table }: Pick<TableNames, 'schema' | 'table'>): string {
  return `${describeName(schema)}.${describeName(table)}`;
}

/** For messages: quoted where SQL would read another name without quotes. */
export function describeName(name: string): string {
  const isPlain = PLAIN_PATTERN.test(name) && !/[A-Z]/.test(name);
  return isPlain ? name : quoteName(name);
}

/**
 * The slot of a row as SQL, a bigint. The planner finds the expression index only by this very text and these types, the
 * number of slots included: so everything that asks for a slot takes it from here.
 *
 * @param qualifier what stands before the column, such as `w`.
 */
export function slotExpression(idColumn: string, slots: number, qualifier?: string): string {
  const column = `${qualifier === undefined ? '' : `${qualifier}.`}${quoteName(idColumn)}`;
  return `(pg_catalog.uuid_hash_extended(${column}, 0::bigint) & ${slots - 1}::bigint)`;
}
