/**
 * Storage settings of the user's table. Adoption changes some of them, reports each change and keeps what stood there before in
 * `scaler.adoption.former_settings`, so that `release` can restore it.
 */
import { hasRelation } from './adoption-record.ts';
import type { Ask } from './privileges.ts';
import { quoteName, quoteTable, quoteText, type TableNames } from './table.ts';

export interface SettingChange {
  readonly setting: string;
  /** Null: not set, Postgres' default counts. */
  readonly from: string | null;
  readonly to: string | null;
}

/**
 * Ticks update every row each second, all of it HOT while the pages have room. Vacuum must come often, since a little is
 * not HOT, and must not shorten the file, for which it locks the table. Statistics hardly matter to us: what is updated
 * each second would otherwise be analyzed each minute.
 */
const WORK: Readonly<Record<string, string>> = {
  fillfactor: '50',
  autovacuum_vacuum_scale_factor: '0.05',
  autovacuum_vacuum_threshold: '1000',
  autovacuum_analyze_scale_factor: '100',
  vacuum_truncate: 'false',
};

/** For CREATE TABLE and ALTER TABLE … SET. */
export const WORK_SETTINGS = Object.entries(WORK)
  .map(([name, value]) => `${name} = ${value}`)
  .join(', ');

/** As `pg_class.reloptions` has them: `name=value`, in their order. Null where the table is missing. */
export async function readSettings(ask: Ask, names: TableNames): Promise<readonly string[] | null> {
  const { rows } = await ask<{ settings: string[] }>({
    text: `SELECT coalesce(c.reloptions, '{}') AS settings FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
      WHERE s.nspname = $1 AND c.relname = $2`,
    values: [names.schema, names.table],
  });
  return rows[0]?.settings ?? null;
}

/** What adoption changes of settings such as these. */
export function findChanges(settings: readonly string[]): readonly SettingChange[] {
  const current = toMap(settings);
  return Object.entries(WORK)
    .map(([setting, to]) => ({ setting, from: current.get(setting) ?? null, to }))
    .filter(({ from, to }) => from !== to);
}

/** @returns null where they are unknown: a version that did not record them adopted the table. */
export async function readFormerSettings(ask: Ask): Promise<readonly string[] | null> {
  if (!(await hasRelation(ask, 'scaler', 'adoption'))) return null;
  // Through JSON: databases of earlier versions have no such column.
  const { rows } = await ask<{ former: string[] | null }>({
    text: `SELECT to_jsonb(a) -> 'former_settings' AS former FROM scaler.adoption a`,
  });
  return rows[0]?.former ?? null;
}

export async function recordFormerSettings(ask: Ask, former: readonly string[]): Promise<void> {
  await ask({ text: 'UPDATE scaler.adoption SET former_settings = $1::text[]', values: [former] });
}

/** Without those that adoption sets: of a table that was adopted before, and whose record is lost, they are not its owner's. */
export function withoutOurs(settings: readonly string[]): readonly string[] {
  return [...toMap(settings)].filter(([name, value]) => WORK[name] !== value).map(toText);
}

/** Follows what the owner set since it was recorded. A value that is ours says nothing about the former one. */
export function updateFormer(former: readonly string[], current: readonly string[]): readonly string[] {
  const updated = toMap(former);
  for (const { setting, from } of findChanges(current)) {
    if (from === null) updated.delete(setting);
    else updated.set(setting, from);
  }
  return [...updated].map(toText);
}

export interface Restoration {
  /** Empty: nothing to restore. */
  readonly statements: readonly string[];
  readonly changes: readonly SettingChange[];
}

/**
 * Restores what adoption set, and nothing that the owner set afterwards. Where all is as before, so is the order, which a
 * schema dump shows. `former`: null where unknown; what adoption set is then reset to Postgres' defaults.
 */
export function restoreSettings(
  names: TableNames,
  { current, former }: { readonly current: readonly string[]; readonly former: readonly string[] | null },
): Restoration {
  const [now, before] = [toMap(current), toMap(former ?? [])];
  const changes = Object.entries(WORK)
    .filter(([setting, ours]) => now.get(setting) === ours && before.get(setting) !== ours)
    .map(([setting, ours]) => ({ setting, from: ours, to: before.get(setting) ?? null }));
  if (changes.length === 0) return { statements: [], changes };
  const reset = changes.filter(({ to }) => to === null).map(({ setting }) => quoteName(setting));
  const restored = new Map(changes.map(({ setting, to }) => [setting, to]));
  // SET moves what it names to the end, in this order.
  const set = [...before.keys()].flatMap((setting) => {
    const value = restored.get(setting) ?? now.get(setting);
    return value === undefined || value === null ? [] : [`${quoteName(setting)} = ${quoteText(value)}`];
  });
  const actions = [
    ...(reset.length === 0 ? [] : [`RESET (${reset.join(', ')})`]),
    ...(set.length === 0 ? [] : [`SET (${set.join(', ')})`]),
  ];
  return { statements: [`ALTER TABLE ${quoteTable(names)} ${actions.join(', ')}`], changes };
}

function toMap(settings: readonly string[]): Map<string, string> {
  return new Map(
    settings.map((setting) => {
      const at = setting.indexOf('=');
      return [setting.slice(0, at), setting.slice(at + 1)];
    }),
  );
}

function toText([name, value]: readonly [string, string]): string {
  return `${name}=${value}`;
}
