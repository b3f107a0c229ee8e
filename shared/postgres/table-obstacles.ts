/**
 * What of a table stands in the way of ticks: rules and constraints that fail every one of them, and triggers, constraints and
 * indexes that may fail some or make all of them dear.
 */
import type { Ask } from './privileges.ts';
import { describeTable, quoteName, quoteTable, TableError, type TableNames } from './table.ts';
import { replicaIdentityRemedy, type TableShape } from './table-shape.ts';

export interface Obstacles {
  /** Rules for UPDATE. */
  readonly rules: readonly string[];
  /** Foreign keys with the value or worker column. */
  readonly foreignKeys: readonly { readonly name: string; readonly definition: string }[];
  /** Unique indexes with the worker column and without the id column: a worker has many rows. */
  readonly uniques: readonly { readonly name: string; readonly isConstraint: boolean }[];
  /** Of the owner's own, which run before each tick of a row. */
  readonly triggers: readonly string[];
  /** CHECK constraints with the value or worker column. */
  readonly checks: readonly { readonly name: string; readonly definition: string }[];
}

/** Of a table that was adopted nevertheless. */
export interface TableWarning {
  readonly message: string;
  readonly fields: Readonly<Record<string, string>>;
}

/** As in shared/ring/worker-id.ts. */
const LONGEST_WORKER_ID = 128;

/** Bits of `pg_trigger.tgtype`: 2 before, 16 update. */
const OBSTACLES_TEXT = `
SELECT ARRAY (SELECT r.rulename::text FROM pg_rewrite r
    WHERE r.ev_class = c.oid AND r.ev_type = '2' AND r.ev_enabled IN ('O', 'A') ORDER BY 1) AS rules,
  (SELECT coalesce(json_agg(json_build_object('name', k.conname, 'definition', pg_get_constraintdef(k.oid)) ORDER BY k.conname), '[]')
    FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.conkey && t.written) AS "foreignKeys",
  (SELECT coalesce(json_agg(json_build_object('name', n.relname, 'isConstraint', k.oid IS NOT NULL) ORDER BY n.relname), '[]')
    FROM pg_index x JOIN pg_class n ON n.oid = x.indexrelid LEFT JOIN pg_constraint k ON k.conindid = n.oid AND k.contype = 'u'
    WHERE x.indrelid = c.oid AND x.indisunique AND x.indpred IS NULL
      AND t.worker = ANY ((x.indkey::int2[])[0:x.indnkeyatts - 1]) AND NOT t.id = ANY ((x.indkey::int2[])[0:x.indnkeyatts - 1])
  ) AS uniques,
  ARRAY (SELECT g.tgname::text FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid JOIN pg_namespace f ON f.oid = p.pronamespace
    WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgenabled IN ('O', 'A') AND g.tgtype & 18 = 18 AND f.nspname <> 'scaler'
      AND (g.tgattr::text = '' OR g.tgattr::int2[] && t.written) ORDER BY 1) AS triggers,
  (SELECT coalesce(json_agg(json_build_object('name', k.conname, 'definition', pg_get_constraintdef(k.oid)) ORDER BY k.conname), '[]')
    FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c' AND k.conkey && t.written) AS checks
FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
CROSS JOIN LATERAL (SELECT array_agg(a.attnum) FILTER (WHERE a.attname IN ($4, $5)) AS written,
    max(a.attnum) FILTER (WHERE a.attname = $5) AS worker, max(a.attnum) FILTER (WHERE a.attname = $3) AS id
  FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) t
WHERE s.nspname = $1 AND c.relname = $2`;

/** Of a table whose columns fit. @returns null where there is none. */
export async function readObstacles(ask: Ask, names: TableNames): Promise<Obstacles | null> {
  const values = [names.schema, names.table, names.id, names.value, names.worker];
  return (await ask<Obstacles>({ text: OBSTACLES_TEXT, values })).rows[0] ?? null;
}

/** Pure. @returns the first thing with which no row can ever be ticked, or null. */
export function findUntickable({ rules, foreignKeys, uniques }: Obstacles, names: TableNames): TableError | null {
  const place = describeTable(names);
  const table = quoteTable(names);
  const refuse = (expected: string, remedy: string) =>
    new TableError('cannot-be-ticked', `expected ${place} ${expected}; ${remedy}, or give another --table`);
  const [rule] = rules;
  if (rule !== undefined) {
    const remedy = `run: DROP RULE ${quoteName(rule)} ON ${table}`;
    return refuse(
      `to have no rule for UPDATE, it has ${quoteName(rule)}, with which Postgres refuses every tick`,
      remedy,
    );
  }
  const [key] = foreignKeys;
  if (key !== undefined) {
    const effect = 'ticks write worker ids and growing numbers, which it would refuse';
    const remedy = `run: ALTER TABLE ${table} DROP CONSTRAINT ${quoteName(key.name)}`;
    const columns = `columns ${names.value} and ${names.worker}`;
    return refuse(
      `to have no foreign key with ${columns}, it has ${quoteName(key.name)} (${key.definition}): ${effect}`,
      remedy,
    );
  }
  const [unique] = uniques;
  if (unique === undefined) return null;
  const name = quoteName(unique.name);
  const remedy = unique.isConstraint
    ? `run: ALTER TABLE ${table} DROP CONSTRAINT ${name}`
    : `run: DROP INDEX ${quoteName(names.schema)}.${name}`;
  const kind = unique.isConstraint ? 'unique constraint' : 'unique index';
  return refuse(
    `to let many rows name one worker, but ${kind} ${name} is on column ${names.worker} without ${names.id}`,
    remedy,
  );
}

/** Pure. What does not prevent adoption, and should be known before it. */
export function findWarnings(shape: TableShape, { triggers, checks }: Obstacles, names: TableNames): TableWarning[] {
  const table = describeTable(names);
  const warnings: TableWarning[] = shape.hotBreakers.map((index) => ({
    message: 'an index on the value or worker column makes every tick write all indexes: drop it if you can',
    fields: { table, index },
  }));
  for (const trigger of triggers) {
    warnings.push({
      message: 'a trigger before UPDATE runs for every row at every tick: let it return NEW, keep the id and be cheap',
      fields: { table, trigger },
    });
  }
  for (const { name, definition } of checks) {
    warnings.push({
      message:
        'a CHECK on the value or worker column: a row that violates it is not ticked, and values grow without end',
      fields: { table, constraint: name, definition },
    });
  }
  if (!shape.hasReplicaIdentity) {
    warnings.push({
      message: 'the table has no replica identity: a publication of its updates would make every tick fail',
      fields: { table, remedy: replicaIdentityRemedy(shape, names) },
    });
  }
  const type = shape.columns.find(({ name }) => name === names.worker)?.type ?? '';
  const length = /\((\d+)\)/.exec(type)?.[1];
  if (length !== undefined && Number(length) < LONGEST_WORKER_ID) {
    warnings.push({
      message: `worker ids have up to ${LONGEST_WORKER_ID} characters: a longer one than the column's makes ticks fail`,
      fields: { table, type },
    });
  }
  return warnings;
}
