import { quoteName, quoteTable, quoteText, slotExpression, type TableNames } from './table.ts';

/**
 * The SQL by which the table tells what was added and removed. Pure.
 *
 * Each statement appends its sum per slot to `scaler.table_change`; nothing is updated in place, so writers never wait for each
 * other. The functions run with their owner's rights on a fixed search path: who may write rows needs no right on schema
 * `scaler`. They notify in the writer's transaction, so Postgres sends one notification at its commit, however many statements.
 */

export const CHANNEL = 'scaler_table';
/** Stands in `slot` for "the table was truncated, count it anew". */
export const TRUNCATED = -1;

/** Name of the trigger → when it fires and which function it runs. */
const TRIGGERS = [
  ['scaler_insert', 'record_insert', 'AFTER INSERT', 'REFERENCING NEW TABLE AS added FOR EACH STATEMENT'],
  ['scaler_delete', 'record_delete', 'AFTER DELETE', 'REFERENCING OLD TABLE AS removed FOR EACH STATEMENT'],
  ['scaler_truncate', 'record_truncate', 'AFTER TRUNCATE', 'FOR EACH STATEMENT'],
] as const;

export const TRIGGER_NAMES: readonly string[] = [...TRIGGERS.map(([name]) => name), 'scaler_move'];

export function changeTriggerStatements(names: TableNames, slots: number): readonly string[] {
  const table = quoteTable(names);
  const id = quoteName(names.id);
  const functions = Object.entries(functionBodies(names, slots)).flatMap(([name, body]) => defineFunction(name, body));
  const triggers = TRIGGERS.flatMap(([name, run, when, each]) => [
    `DROP TRIGGER IF EXISTS ${name} ON ${table}`,
    `CREATE TRIGGER ${name} ${when} ON ${table} ${each} EXECUTE FUNCTION scaler.${run}()`,
  ]);
  // "UPDATE OF" keeps it away from ticks, which never name the id column. That it is there costs them 0.1 µs a row: Postgres
  // fetches the old version before it looks. For each statement it could only have the whole table counted anew.
  const move = [
    `DROP TRIGGER IF EXISTS scaler_move ON ${table}`,
    `CREATE TRIGGER scaler_move AFTER UPDATE OF ${id} ON ${table}
      FOR EACH ROW WHEN (OLD.${id} IS DISTINCT FROM NEW.${id}) EXECUTE FUNCTION scaler.record_move()`,
  ];
  return [...functions, ...triggers, ...move];
}

function functionBodies(names: TableNames, slots: number): Readonly<Record<string, string>> {
  const slot = (qualifier?: string) => `${slotExpression(names.id, slots, qualifier)}::int`;
  const sum = (rows: string, sign: string) => `
    INSERT INTO scaler.table_change (slot, delta) SELECT ${slot()}, ${sign}count(*)::int FROM ${rows} GROUP BY 1;
    IF FOUND THEN PERFORM pg_notify('${CHANNEL}', ''); END IF;`;
  return {
    record_insert: sum('added', ''),
    record_delete: sum('removed', '-'),
    record_move: `
    INSERT INTO scaler.table_change (slot, delta) VALUES (${slot('OLD')}, -1), (${slot('NEW')}, 1);
    PERFORM pg_notify('${CHANNEL}', '');`,
    record_truncate: `
    INSERT INTO scaler.table_change (slot, delta) VALUES (${TRUNCATED}, 0);
    PERFORM pg_notify('${CHANNEL}', '');`,
  };
}

function defineFunction(name: string, body: string): readonly string[] {
  return [
    `CREATE OR REPLACE FUNCTION scaler.${name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
      SET search_path = pg_catalog, pg_temp AS ${quoteText(`BEGIN${body}\n    RETURN NULL;\nEND`)}`,
    `REVOKE EXECUTE ON FUNCTION scaler.${name}() FROM PUBLIC`,
  ];
}
