/**
 * Functions and triggers, compared with what this version defines. Somebody may have edited, disabled or dropped one, or a
 * restored dump may have brought along older ones. No digest is stored that could be out of date: the catalog is read itself.
 */
import { carefulFunction } from './careful-tick.ts';
import {
  changeFunctions,
  changeTriggers,
  DEFINER_SETTING,
  type FunctionDefinition,
  type TriggerDefinition,
  triggerStatement,
} from './change-triggers.ts';
import { EPOCH_FUNCTION } from './epoch-function.ts';
import type { Ask } from './privileges.ts';
import { quoteText, type TableNames } from './table.ts';

interface Adopted {
  readonly names: TableNames;
  readonly slots: number;
}

/** @returns those functions that are missing, or not as this version defines them. */
export async function findAlteredFunctions(
  ask: Ask,
  { names, slots }: Adopted,
): Promise<readonly FunctionDefinition[]> {
  type Found = Pick<FunctionDefinition, 'body' | 'isDefiner'> & {
    signature: string;
    setting: string | null;
    isOpen: boolean;
  };
  const { rows } = await ask<Found>({
    text: `SELECT format('%s(%s)', p.proname, pg_get_function_identity_arguments(p.oid)) AS signature, p.prosrc AS body, p.prosecdef AS "isDefiner", array_to_string(p.proconfig, ';') AS setting,
      has_function_privilege('public', p.oid, 'EXECUTE') AS "isOpen"
    FROM pg_proc p JOIN pg_namespace s ON s.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
    WHERE s.nspname = 'scaler' AND l.lanname = 'plpgsql'`,
  });
  const found = new Map(rows.map((row) => [row.signature, row]));
  return [EPOCH_FUNCTION, carefulFunction(names, slots), ...changeFunctions(names, slots)].filter(
    ({ name, parameters, body, isDefiner }) => {
      const row = found.get(`${name}(${parameters})`);
      if (row === undefined || row.body !== body || row.isDefiner !== isDefiner) return true;
      return isDefiner ? row.setting !== DEFINER_SETTING || row.isOpen : row.setting !== null;
    },
  );
}

/** Takes no lock on any table: writers and ticks never wait for it. */
export function functionStatements({
  name,
  parameters,
  returns,
  body,
  isDefiner,
}: FunctionDefinition): readonly string[] {
  const definer = isDefiner ? `SECURITY DEFINER SET ${DEFINER_SETTING.replace('=', ' = ')}` : '';
  const define = `CREATE OR REPLACE FUNCTION scaler.${name}(${parameters}) RETURNS ${returns} LANGUAGE plpgsql ${definer}
    AS ${quoteText(body)}`;
  return isDefiner ? [define, `REVOKE EXECUTE ON FUNCTION scaler.${name}(${parameters}) FROM PUBLIC`] : [define];
}

/** @returns those triggers that are missing, disabled, or not as this version defines them. */
export async function findAlteredTriggers(ask: Ask, names: TableNames): Promise<readonly TriggerDefinition[]> {
  const wanted = changeTriggers(names);
  const { rows } = await ask<{ name: string }>({
    text: INTACT_TEXT,
    values: [names.schema, names.table, names.id, JSON.stringify(wanted)],
  });
  const intact = new Set(rows.map(({ name }) => name));
  return wanted.filter(({ name }) => !intact.has(name));
}

/** Locks the table against writers, for as long as the catalog takes. */
export function alterTriggerStatements(triggers: readonly TriggerDefinition[], names: TableNames): readonly string[] {
  return triggers.map((trigger) => triggerStatement(trigger, names));
}

/** `R` is enabled on replicas only, which means disabled here. */
const INTACT_TEXT = `
SELECT d.name
FROM json_to_recordset($4::json) AS d (name text, run text, type int, "oldRows" text, "newRows" text, "isOfId" boolean)
JOIN pg_trigger t ON t.tgname = d.name AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgconstraint = 0
JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace s ON s.oid = c.relnamespace
JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace f ON f.oid = p.pronamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $3
WHERE s.nspname = $1 AND c.relname = $2 AND f.nspname = 'scaler' AND p.proname = d.run AND t.tgtype = d.type AND t.tgnargs = 0
  AND t.tgoldtable IS NOT DISTINCT FROM d."oldRows" AND t.tgnewtable IS NOT DISTINCT FROM d."newRows"
  AND t.tgattr::text = CASE WHEN d."isOfId" THEN a.attnum::text ELSE '' END
  AND coalesce(substring(pg_get_triggerdef(t.oid) FROM ' WHEN \\((.*)\\) EXECUTE FUNCTION '), '')
    = CASE WHEN d."isOfId" THEN format('(old.%1$I IS DISTINCT FROM new.%1$I)', $3::text) ELSE '' END`;
