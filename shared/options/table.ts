import { text } from './options.ts';

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

function column(flag: string, variable: string, what: string, name: string) {
  return text({ flag, variable, describe: `the table's column with ${what}`, default: name });
}
