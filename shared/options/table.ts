import { choice, text, toggle } from './options.ts';

/** Which table is shared out. Columns and table are checked against the database at adoption. */
export const tableOptions = {
  table: text({
    flag: 'table',
    variable: 'TABLE',
    describe: 'the table whose rows are shared out, as schema.table; made where it does not exist',
    default: 'public.work_items',
  }),
  idColumn: column('id-column', 'ID_COLUMN', 'the uuid primary key', 'id'),
  valueColumn: column('value-column', 'VALUE_COLUMN', 'the integer that grows by one each second', 'value'),
  workerColumn: column('worker-column', 'WORKER_COLUMN', 'the text that names the worker', 'currentworker'),
};

/** Powers of two, so that a slot is a mask of the hash. Fewer would share out unevenly, more make snapshots too long. */
const SLOT_CHOICES = ['256', '512', '1024', '2048', '4096', '8192', '16384', '32768', '65536'] as const;

/** What is settled when the table is adopted. */
export const adoptionOptions = {
  slots: choice({
    flag: 'slots',
    variable: 'SLOTS',
    describe: 'slots of the table, a power of two; counts only when the table is adopted',
    default: '4096',
    choices: SLOT_CHOICES,
  }),
  keepStorageSettings: toggle({
    flag: 'keep-storage-settings',
    variable: 'KEEP_STORAGE_SETTINGS',
    describe:
      "leave the fillfactor and autovacuum settings of the owner's table as they are; counts only when it is adopted",
  }),
};

function column(flag: string, variable: string, what: string, name: string) {
  return text({ flag, variable, describe: `the table's column with ${what}`, default: name });
}
