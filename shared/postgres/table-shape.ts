import type { Ask } from './privileges.ts';
import { describeTable, quoteName, quoteTable, TableError, type TableNames } from './table.ts';

/** What the catalog says of the table. */
export interface TableShape {
  readonly oid: number;
  /** pg_class.relkind: `r` is an ordinary table. */
  readonly kind: string;
  readonly isTemporary: boolean;
  readonly hasRelatives: boolean;
  /** Tables that it is a partition or a child of, quoted. */
  readonly parents: readonly string[];
  readonly isPartition: boolean;
  readonly owner: string;
  readonly isOwned: boolean;
  /** Those asked for, and those whose names differ from them only in capital letters. */
  readonly columns: readonly ColumnShape[];
  /** Is there a unique index, valid, not partial, immediate, on the id column alone? */
  readonly isIdUnique: boolean;
  /** Its name, where there is one. */
  readonly idIndex: string | null;
  /** Does Postgres let a published table be updated? */
  readonly hasReplicaIdentity: boolean;
  /** Publications that publish the table's updates. */
  readonly publications: readonly string[];
  /** Indexes that use the value or worker column. */
  readonly hotBreakers: readonly string[];
}

export interface ColumnShape {
  readonly name: string;
  /** As in `format_type`: `uuid`, `integer`, `character varying(20)`. */
  readonly type: string;
  readonly isNotNull: boolean;
  readonly isGenerated: boolean;
  /** GENERATED ALWAYS AS IDENTITY: nobody can update it. */
  readonly isIdentity: boolean;
}

const KINDS: Readonly<Record<string, string>> = {
  v: 'a view',
  m: 'a materialized view',
  f: 'a foreign table',
  p: 'a partitioned table',
  i: 'an index',
  S: 'a sequence',
  c: 'a composite type',
};

const WORKER_TYPES = /^(text|character varying(\(\d+\))?)$/;

/** @returns null where there is nothing of that name. */
export async function readTableShape(ask: Ask, names: TableNames): Promise<TableShape | null> {
  const { rows } = await ask<TableShape>({
    text: SHAPE_TEXT,
    values: [names.schema, names.table, names.id, [names.id, names.value, names.worker], [names.value, names.worker]],
  });
  return rows[0] ?? null;
}

const SHAPE_TEXT = `
SELECT c.oid::bigint AS oid, c.relkind AS kind, c.relpersistence = 't' AS "isTemporary",
  c.relispartition OR EXISTS (SELECT 1 FROM pg_inherits i WHERE c.oid IN (i.inhrelid, i.inhparent)) AS "hasRelatives",
  c.relispartition AS "isPartition", ARRAY (SELECT format('%I.%I', n.nspname, p.relname) FROM pg_inherits i
    JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace n ON n.oid = p.relnamespace WHERE i.inhrelid = c.oid ORDER BY 1) AS parents,
  pg_get_userbyid(c.relowner) AS owner, pg_has_role(c.relowner, 'USAGE') AS "isOwned",
  (SELECT coalesce(json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
      'isNotNull', a.attnotnull, 'isGenerated', a.attgenerated <> '', 'isIdentity', a.attidentity = 'a')), '[]')
    FROM pg_attribute a WHERE a.attrelid = c.oid AND (a.attname = ANY ($4) OR lower(a.attname)::name = ANY ($4))
      AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
  u.name IS NOT NULL AS "isIdUnique", u.name AS "idIndex",
  CASE c.relreplident WHEN 'f' THEN true WHEN 'n' THEN false ELSE EXISTS (SELECT 1 FROM pg_index x WHERE x.indrelid = c.oid
    AND x.indisvalid AND x.indimmediate AND CASE c.relreplident WHEN 'i' THEN x.indisreplident ELSE x.indisprimary END)
  END AS "hasReplicaIdentity",
  ARRAY (SELECT p.pubname::text FROM pg_publication p JOIN pg_publication_tables t ON t.pubname = p.pubname
    WHERE p.pubupdate AND t.schemaname = $1 AND t.tablename = $2 ORDER BY 1) AS publications,
  -- Columns of constraints stand in indkey, those of expressions and predicates only among the dependencies.
  ARRAY (SELECT DISTINCT n.relname::text FROM pg_index x JOIN pg_class n ON n.oid = x.indexrelid
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = ANY ($5)
    WHERE x.indrelid = c.oid AND (a.attnum = ANY (x.indkey::int2[]) OR EXISTS (SELECT 1 FROM pg_depend d
      WHERE d.classid = 'pg_class'::regclass AND d.objid = x.indexrelid
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.refobjsubid = a.attnum))
    ORDER BY 1) AS "hotBreakers"
FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
LEFT JOIN LATERAL (SELECT n.relname::text AS name
  FROM pg_index x JOIN pg_class n ON n.oid = x.indexrelid JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $3
  WHERE x.indrelid = c.oid AND x.indisunique AND x.indisvalid AND x.indimmediate AND x.indpred IS NULL
    AND x.indnkeyatts = 1 AND x.indkey[0] = a.attnum ORDER BY x.indisprimary DESC, 1 LIMIT 1) u ON true
WHERE s.nspname = $1 AND c.relname = $2`;

/**
 * For a table that does not exist and would be made: is there one whose name differs only in capital letters? Rows would
 * stay in that one, and the new one would stay empty.
 */
export async function findSimilarTable(ask: Ask, names: TableNames): Promise<TableError | null> {
  const { rows } = await ask<{ name: string }>({
    text: `SELECT c.relname AS name FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
      WHERE s.nspname = $1 AND lower(c.relname)::name = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY 1 LIMIT 1`,
    values: [names.schema, names.table],
  });
  if (rows[0] === undefined) return null;
  const similar = quoteTable({ ...names, table: rows[0].name });
  const advice = `give --table '${similar}', or create ${quoteTable(names)} yourself if another table is meant`;
  return new TableError(
    'similar-table',
    `expected a table ${describeTable(names)}, there is none, but there is ${similar}; ${advice}`,
  );
}

/** Pure. @returns the first thing that does not fit, or null. */
export function findMisfit(shape: TableShape, names: TableNames): TableError | null {
  return misfitKind(shape, names) ?? misfitColumns(shape, names) ?? misfitPublication(shape, names);
}

/** What to run so that publications of updates do no harm. */
export function replicaIdentityRemedy({ idIndex }: Pick<TableShape, 'idIndex'>, names: TableNames): string {
  const identity = idIndex === null ? 'FULL' : `USING INDEX ${quoteName(idIndex)}`;
  return `ALTER TABLE ${quoteTable(names)} REPLICA IDENTITY ${identity}`;
}

function misfitPublication(shape: TableShape, names: TableNames): TableError | null {
  if (shape.hasReplicaIdentity || shape.publications.length === 0) return null;
  const published = `publication ${shape.publications.join(', ')} publishes its updates`;
  const expected = `expected ${describeTable(names)} to have a replica identity, since ${published}, it has none`;
  const effect = 'Postgres refuses every tick';
  return new TableError('no-replica-identity', `${expected}: ${effect}; run: ${replicaIdentityRemedy(shape, names)}`);
}

function misfitKind(shape: TableShape, names: TableNames): TableError | null {
  const place = describeTable(names);
  const advice = 'give another --table, or move the rows into an ordinary table';
  if (shape.kind !== 'r') {
    const kind = KINDS[shape.kind] ?? `something else (relkind ${shape.kind})`;
    return new TableError('not-a-table', `expected ${place} to be an ordinary table, it is ${kind}; ${advice}`);
  }
  if (shape.isTemporary) {
    return new TableError('not-a-table', `expected ${place} to be a lasting table, it is a temporary one; ${advice}`);
  }
  if (!shape.hasRelatives) return null;
  const [parent] = shape.parents;
  if (parent !== undefined) return describeChild({ parent, isPartition: shape.isPartition }, names);
  const relation = 'a parent in inheritance';
  return new TableError('not-a-table', `expected ${place} to stand alone, it is ${relation}; ${advice}`);
}

/** Rows that come through the parent, or leave through it, are not counted. */
export function describeChild(
  { parent, isPartition }: { readonly parent: string; readonly isPartition: boolean },
  names: TableNames,
): TableError {
  const [relation, remedy] = isPartition
    ? ['a partition', `ALTER TABLE ${parent} DETACH PARTITION ${quoteTable(names)}`]
    : ['a child', `ALTER TABLE ${quoteTable(names)} NO INHERIT ${parent}`];
  const expected = `expected ${describeTable(names)} to stand alone, it is ${relation} of ${parent}`;
  const effect = 'rows that are written through that table are not counted';
  return new TableError('not-a-table', `${expected}: ${effect}; run: ${remedy}, or give another --table`);
}

function misfitColumns(shape: TableShape, names: TableNames): TableError | null {
  const place = describeTable(names);
  const wanted: readonly (readonly [name: string, flag: string, type: string, fits: (type: string) => boolean])[] = [
    [names.id, '--id-column', 'uuid', (type) => type === 'uuid'],
    [names.value, '--value-column', 'integer', (type) => type === 'integer'],
    [names.worker, '--worker-column', 'text', (type) => WORKER_TYPES.test(type)],
  ];
  for (const [name, flag, type, fits] of wanted) {
    const column = shape.columns.find((column) => column.name === name);
    if (column === undefined) {
      const similar = shape.columns.find((column) => column.name.toLowerCase() === name);
      const advice =
        similar === undefined
          ? `give the right ${flag}, or run: ALTER TABLE ${quoteTable(names)} ADD COLUMN ${quoteName(name)} ${type}`
          : `there is ${quoteName(similar.name)}: give ${flag} '${quoteName(similar.name)}', with the double quotes`;
      return new TableError(
        'missing-column',
        `expected ${place} to have a column ${name} of type ${type}, it has none; ${advice}`,
      );
    }
    const isFixed = column.isGenerated || (column.isIdentity && name === names.value);
    const came = column.isGenerated
      ? `generated ${column.type}`
      : isFixed
        ? `${column.type} GENERATED ALWAYS AS IDENTITY, which nobody can update`
        : column.type;
    if (isFixed || !fits(column.type)) {
      const identity = `run: ALTER TABLE ${quoteTable(names)} ALTER COLUMN ${quoteName(name)} DROP IDENTITY`;
      const advice = `${isFixed && column.isIdentity ? identity : 'change its type'}, or give another ${flag}`;
      return new TableError(
        'wrong-column-type',
        `expected column ${name} of ${place} to be ${type}, it is ${came}; ${advice}`,
      );
    }
  }
  const isNotNull = shape.columns.find(({ name }) => name === names.id)?.isNotNull === true;
  if (shape.isIdUnique && isNotNull) return null;
  const lacks = shape.isIdUnique ? 'it may be NULL' : 'nothing keeps it unique';
  const advice = `run: ALTER TABLE ${quoteTable(names)} ADD PRIMARY KEY (${quoteName(names.id)})`;
  const expected = `expected column ${names.id} of ${place} to be a primary key, or unique and NOT NULL`;
  return new TableError('no-primary-key', `${expected}, but ${lacks}; ${advice}`);
}
