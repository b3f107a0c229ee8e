import { readFileSync } from 'node:fs';
import { parseTableNames } from '../../shared/postgres/table.ts';

/** The table of most tests, with the services' default names. */
export const WORK_ITEMS = parseTableNames({
  table: 'public.work_items',
  idColumn: 'id',
  valueColumn: 'value',
  workerColumn: 'currentworker',
});

/** SQL: that table with 16 slots, as commit 769ecbc adopted it. */
export const ADOPTED_BY_769ECBC = readFileSync(new URL('./adopted-by-769ecbc.sql', import.meta.url), 'utf8');
