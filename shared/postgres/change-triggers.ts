import { quoteName, quoteTable, slotExpression, type TableNames } from './table.ts';

/**
 * The triggers by which the table reports what was added and removed, and the functions they run. Pure.
 *
 * Each statement appends its sum per slot to `scaler.table_change`; nothing is updated in place, so writers never wait for each
 * other. The functions run with their owner's rights on a fixed search path: who may write rows needs no right on schema
 * `scaler`. They send no NOTIFY: that takes a lock of the whole cluster at each commit, and forbids two-phase commit. The
 * leader polls the table instead.
 *
 * A change of a definition needs a migration of its own number: without one, a coordinator of the former version would put
 * the former definition back at its next start.
 */

/** Stands in `slot` for "the table was truncated, count it again". */
export const TRUNCATED = -1;

/** So many rows are recorded one by one: to sum up costs a single insert more than all else in its trigger. */
const SINGLE_ROWS = 8;
const INT_MAX = 2 ** 31 - 1;

export interface TriggerDefinition {
  readonly name: string;
  /** Its function in schema `scaler`. */
  readonly run: string;
  /** The event, after which it fires. */
  readonly event: string;
  readonly rest: string;
  /** What the catalog holds: `pg_trigger.tgtype`, and the names of the transition tables. */
  readonly type: number;
  readonly oldRows: string | null;
  readonly newRows: string | null;
  /** True: it fires only where the id column is set to another value. */
  readonly isOfId: boolean;
}

export interface FunctionDefinition {
  readonly name: string;
  readonly parameters: string;
  readonly returns: string;
  readonly body: string;
  /** True: it runs with its owner's rights, and may be called by triggers only. */
  readonly isDefiner: boolean;
}

/** As Postgres stores it in `pg_proc.proconfig`. */
export const DEFINER_SETTING = 'search_path=pg_catalog, pg_temp';

export function changeTriggers(names: TableNames): readonly TriggerDefinition[] {
  const id = quoteName(names.id);
  const statement = { oldRows: null, newRows: null, isOfId: false };
  const added = 'REFERENCING NEW TABLE AS added FOR EACH STATEMENT';
  const removed = 'REFERENCING OLD TABLE AS removed FOR EACH STATEMENT';
  // "UPDATE OF" keeps it away from ticks, which never name the id column. That it is there costs them 0.1 µs a row: Postgres
  // fetches the old version before it looks. For each statement it could only have the whole table counted anew.
  const moved = `FOR EACH ROW WHEN (OLD.${id} IS DISTINCT FROM NEW.${id})`;
  return [
    {
      ...statement,
      name: 'scaler_insert',
      run: 'record_insert',
      event: 'INSERT',
      rest: added,
      type: 4,
      newRows: 'added',
    },
    {
      ...statement,
      name: 'scaler_delete',
      run: 'record_delete',
      event: 'DELETE',
      rest: removed,
      type: 8,
      oldRows: 'removed',
    },
    {
      ...statement,
      name: 'scaler_truncate',
      run: 'record_truncate',
      event: 'TRUNCATE',
      rest: 'FOR EACH STATEMENT',
      type: 32,
    },
    {
      ...statement,
      name: 'scaler_move',
      run: 'record_move',
      event: `UPDATE OF ${id}`,
      rest: moved,
      type: 17,
      isOfId: true,
    },
  ];
}

export function changeFunctions(names: TableNames, slots: number): readonly FunctionDefinition[] {
  const slot = (qualifier?: string) => `${slotExpression(names.id, slots, qualifier)}::int`;
  const id = quoteName(names.id);
  // A transition table is always read in the order of its rows, so the two statements have each row once. A count that
  // does not fit into `delta` has the table counted again instead of failing the writer's statement.
  const sum = (rows: string, sign: string) => `
    INSERT INTO scaler.table_change (slot, delta) SELECT ${slot()}, ${sign}1 FROM ${rows} LIMIT ${SINGLE_ROWS};
    GET DIAGNOSTICS recorded = ROW_COUNT;
    IF recorded = ${SINGLE_ROWS} THEN
      INSERT INTO scaler.table_change (slot, delta)
        SELECT CASE WHEN c.rows <= ${INT_MAX} THEN c.slot ELSE ${TRUNCATED} END, CASE WHEN c.rows <= ${INT_MAX} THEN ${sign}c.rows ELSE 0 END
        FROM (SELECT ${slot()} AS slot, count(*) AS rows FROM (SELECT ${id} FROM ${rows} OFFSET ${SINGLE_ROWS}) r GROUP BY 1) c;
    END IF;`;
  const bodies = {
    record_insert: sum('added', ''),
    record_delete: sum('removed', '-'),
    record_move: `
    INSERT INTO scaler.table_change (slot, delta) VALUES (${slot('OLD')}, -1), (${slot('NEW')}, 1);`,
    record_truncate: `
    INSERT INTO scaler.table_change (slot, delta) VALUES (${TRUNCATED}, 0);`,
  };
  return Object.entries(bodies).map(([name, body]) => ({
    name,
    parameters: '',
    returns: 'trigger',
    // The table's columns may have any names, those of variables too.
    body: `#variable_conflict use_column\nDECLARE recorded bigint;\nBEGIN${body}\n    RETURN NULL;\nEND`,
    isDefiner: true,
  }));
}

/** Replaces without a lock that keeps readers out. PostgreSQL 14 and later. */
export function triggerStatement({ name, run, event, rest }: TriggerDefinition, names: TableNames): string {
  return `CREATE OR REPLACE TRIGGER ${name} AFTER ${event} ON ${quoteTable(names)} ${rest} EXECUTE FUNCTION scaler.${run}()`;
}
