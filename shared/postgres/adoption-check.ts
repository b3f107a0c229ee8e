import { changeTriggers } from './change-triggers.ts';
import type { PostgresLink } from './connection.ts';
import { indexName } from './migrations.ts';
import { describeTable, type TableNames } from './table.ts';
import { describeChild } from './table-shape.ts';

/** Is what was adopted still there? */
export type AdoptionVerdict =
  | { readonly kind: 'sound' }
  /** `what`: of it is gone what adopting the table again makes. `schema`: with it all epochs and owners. */
  | { readonly kind: 'mendable'; readonly what: 'schema' | 'equipment'; readonly reason: string }
  /** Somebody must do what the reason says. */
  | { readonly kind: 'broken'; readonly reason: string };

export interface AdoptionFindings {
  readonly isReadOnly: boolean;
  /** Of what schema `scaler` should hold. */
  readonly lost: readonly string[];
  readonly hasTable: boolean;
  readonly lostColumns: readonly string[];
  readonly hasIndex: boolean;
  readonly lostTriggers: readonly string[];
  /** Tables that it became a partition or a child of, quoted. */
  readonly parents: readonly string[];
  readonly isPartition: boolean;
}

const LANE = 'check';
const RELATIONS = ['adoption', 'migration', 'slot', 'table_change', 'epoch'];

/** By the catalog alone, which anyone may read and nobody locks. */
const CHECK_TEXT = `
SELECT current_setting('transaction_read_only') = 'on' AS "isReadOnly", t.oid IS NOT NULL AS "hasTable",
  ARRAY(SELECT n FROM unnest($3::text[]) n WHERE NOT EXISTS (SELECT 1 FROM pg_class c
    JOIN pg_namespace s ON s.oid = c.relnamespace WHERE s.nspname = 'scaler' AND c.relname = n)) AS lost,
  ARRAY(SELECT n FROM unnest($4::text[]) n WHERE NOT EXISTS (SELECT 1 FROM pg_attribute a
    WHERE a.attrelid = t.oid AND a.attname = n AND NOT a.attisdropped)) AS "lostColumns",
  EXISTS (SELECT 1 FROM pg_index x JOIN pg_class n ON n.oid = x.indexrelid
    WHERE x.indrelid = t.oid AND n.relname = $5) AS "hasIndex",
  ARRAY(SELECT n FROM unnest($6::text[]) n WHERE NOT EXISTS (SELECT 1 FROM pg_trigger g
    WHERE g.tgrelid = t.oid AND g.tgname = n)) AS "lostTriggers",
  ARRAY(SELECT format('%I.%I', n.nspname, p.relname) FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
    JOIN pg_namespace n ON n.oid = p.relnamespace WHERE i.inhrelid = t.oid ORDER BY 1) AS parents,
  coalesce(t.relispartition, false) AS "isPartition"
FROM (SELECT 1) one LEFT JOIN (SELECT c.oid, c.relispartition FROM pg_class c
  JOIN pg_namespace s ON s.oid = c.relnamespace WHERE s.nspname = $1 AND c.relname = $2) t ON true`;

/** One cheap statement. @throws as `PostgresLink.query` does. */
export async function checkAdoption(link: PostgresLink, names: TableNames): Promise<AdoptionVerdict> {
  const triggers = changeTriggers(names).map(({ name }) => name);
  const columns = [names.id, names.value, names.worker];
  const values = [names.schema, names.table, RELATIONS, columns, indexName(names), triggers];
  const { rows } = await link.query<AdoptionFindings>(LANE, { name: 'adoption-check', text: CHECK_TEXT, values });
  return judgeAdoption(rows[0]!, names);
}

/**
 * A dropped table is not created again: its owner may be about to create another one. A lost part of schema `scaler` cannot be
 * recreated alone: it would contradict the other parts.
 */
export function judgeAdoption(found: AdoptionFindings, names: TableNames): AdoptionVerdict {
  const table = describeTable(names);
  const { lost, lostColumns, lostTriggers } = found;
  if (found.isReadOnly) {
    return {
      kind: 'broken',
      reason: 'Postgres is read-only: transaction_read_only is on; expected a primary that writes',
    };
  }
  if (!found.hasTable) {
    const remedy = 'create it again, and it is adopted again; or restart the coordinators, which create an empty one';
    return { kind: 'broken', reason: `table ${table} is gone: ${remedy}` };
  }
  if (lostColumns.length > 0) {
    const remedy = 'add it again, or start all services with other column options';
    return { kind: 'broken', reason: `table ${table} has no column ${lostColumns.join(', ')}: ${remedy}` };
  }
  const [parent] = found.parents;
  if (parent !== undefined) return { kind: 'broken', reason: describeChild({ ...found, parent }, names).message };
  if (lost.length === RELATIONS.length) {
    return { kind: 'mendable', what: 'schema', reason: 'schema scaler is gone; the leader creates it again' };
  }
  if (lost.length > 0) {
    const missing = lost.map((name) => `scaler.${name}`).join(', ');
    const remedy = 'run: DROP SCHEMA scaler CASCADE; the leader then creates all of it again';
    return { kind: 'broken', reason: `schema scaler lacks ${missing}: ${remedy}` };
  }
  if (found.hasIndex && lostTriggers.length === 0) return { kind: 'sound' };
  const missing = [...(found.hasIndex ? [] : ['its slot index']), ...lostTriggers.map((name) => `trigger ${name}`)];
  return {
    kind: 'mendable',
    what: 'equipment',
    reason: `table ${table} lacks ${missing.join(', ')}; the leader makes it again`,
  };
}
