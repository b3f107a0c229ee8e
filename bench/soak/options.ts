import { integer, text, type Values } from '../../shared/options/options.ts';
import type { Program } from '../../shared/options/program.ts';

export const soakOptions = {
  minutes: integer({
    flag: 'minutes',
    variable: 'SOAK_MINUTES',
    describe: 'how long faults are injected',
    default: '60',
    min: 1,
    max: 100_000,
  }),
  workers: integer({
    flag: 'workers',
    variable: 'SOAK_WORKERS',
    describe: 'workers at rest; the first is never ended',
    default: '5',
    min: 3,
    max: 100,
  }),
  coordinators: integer({
    flag: 'coordinators',
    variable: 'SOAK_COORDINATORS',
    describe: 'coordinators at rest; the first is never ended',
    default: '2',
    min: 2,
    max: 10,
  }),
  rows: integer({
    flag: 'rows',
    variable: 'SOAK_ROWS',
    describe: 'rows at rest',
    default: '300',
    min: 1,
    max: 1_000_000,
  }),
  seed: integer({
    flag: 'seed',
    variable: 'SOAK_SEED',
    describe: 'the same seed plans the same faults',
    default: '1',
    min: 0,
    max: 4_294_967_295,
  }),
  json: text({
    flag: 'json',
    variable: 'SOAK_JSON',
    describe: 'file for the result as JSON',
  }),
  logs: text({
    flag: 'logs',
    variable: 'SOAK_LOGS',
    describe: "folder for every process's log, to look into what went wrong",
  }),
};

export type SoakOptions = Values<typeof soakOptions>;

export const soakProgram: Program<typeof soakOptions> = {
  command: 'npm run soak --',
  purpose:
    'Runs servers and services of its own under random faults and audits every row from outside. Exit code 1 when a row was ticked twice, a process ended unasked, or rest was not found again.',
  options: soakOptions,
  examples: [
    ['npm run soak -- --minutes 1', 'shows that it works'],
    ['npm run soak -- --minutes 60 --workers 8 --rows 2000 --seed 7 --json soak.json', 'an hour, kept'],
  ],
};
