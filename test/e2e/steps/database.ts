import { ROWS } from '../installation.ts';
import { parsePsqlTable } from '../psql-table.ts';
import { compareNames, type Step } from '../step.ts';

const STATEMENT = 'SELECT * FROM public.work_items ORDER BY currentWorker';

export const database: Step = {
  name: 'database',
  purpose: 'the table by psql names living workers',
  limitSeconds: 60,
  run: async ({ app, expect }) => {
    const command = ['psql', '-U', 'user', '-d', 'mydatabase', '-c', STATEMENT];
    const text = await app.cluster.read(['exec', `${app.name('postgres')}-0`, '--', ...command]);
    const rows = parsePsqlTable(text);
    expect({ what: STATEMENT, expected: `${ROWS} rows`, seen: `${rows.length} rows`, isOk: rows.length === ROWS });
    const named = new Set(rows.map(({ currentworker }) => currentworker ?? ''));
    const living = await app.servingPods('worker');
    expect({ what: 'its column currentworker', ...compareNames('serving workers', living, [...named]) });
  },
};
