import { integer, option, text, toggle, type Values } from '../../shared/options/options.ts';
import type { Program } from '../../shared/options/program.ts';
import { outputOptions } from '../support/output.ts';
import { WORKLOADS, type Workload } from './workloads.ts';

export const COMMAND = 'npm run bench:contention';
const KEYS = WORKLOADS.map(({ key }) => key).join(',');

export const contentionOptions = {
  rows: integer({
    flag: 'rows',
    variable: 'BENCH_ROWS',
    describe: 'rows in the table',
    default: '1000',
    min: 10,
    max: 1_000_000,
  }),
  workers: integer({
    flag: 'workers',
    variable: 'BENCH_WORKERS',
    describe: 'workers; in each workload one more joins and one leaves',
    default: '3',
    min: 1,
    max: 64,
  }),
  seconds: integer({
    flag: 'seconds',
    variable: 'BENCH_SECONDS',
    describe: 'how long each workload runs; half as long before the adoption',
    default: '20',
    min: 2,
    max: 86_400,
  }),
  workloads: option<{ flag: string; variable: string; describe: string; default: string }, readonly Workload[]>(
    { flag: 'workloads', variable: 'BENCH_WORKLOADS', describe: 'what the application does, in turn', default: KEYS },
    (given) => {
      const asked = given.split(',').map((key) => WORKLOADS.find((workload) => workload.key === key));
      const known = asked.filter((workload) => workload !== undefined);
      if (known.length === asked.length) return { ok: true, value: known };
      return { ok: false, expected: `some of ${KEYS}` };
    },
  ),
  strict: toggle({ flag: 'strict', variable: 'BENCH_STRICT', describe: 'exit code 1 when a target is missed' }),
  database: text({
    flag: 'database',
    variable: 'BENCH_DATABASE_URL',
    describe: 'URL of a server to measure on, with the right to create databases',
    defaultText: 'an embedded one',
  }),
  ...outputOptions,
};

export type ContentionOptions = Values<typeof contentionOptions>;

export const contentionProgram: Program<typeof contentionOptions> = {
  command: `${COMMAND} --`,
  purpose: 'Measures what an application and the ticks do to each other, on servers and processes of its own.',
  options: contentionOptions,
  examples: [
    [`${COMMAND} -- --quick`, 'in under a minute'],
    [`${COMMAND} -- --workloads locked-row,two-rows --strict`, 'two of them, held to the targets'],
    [`${COMMAND} -- --rows 100000 --workers 8 --seconds 60`, 'a large table'],
  ],
};
