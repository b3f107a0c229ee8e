import { integer, text } from '../../shared/options/options.ts';
import { numbers } from '../support/numbers-option.ts';
import { outputOptions } from '../support/output.ts';

export const ticksOptions = {
  rows: numbers({
    flag: 'rows',
    variable: 'BENCH_ROWS',
    describe: 'sizes of the table at full speed; 0: none',
    default: '1000,10000,100000,400000,1000000',
  }),
  workers: numbers({ flag: 'workers', variable: 'BENCH_WORKERS', describe: 'numbers of workers', default: '4' }),
  layouts: text({
    flag: 'layouts',
    variable: 'BENCH_LAYOUTS',
    describe: 'where rows lie: laid by slot, as rows add does, or scattered, as added one by one',
    default: 'laid,scattered',
    check: (given) =>
      /^(laid|scattered)(,(laid|scattered))?$/.test(given) ? null : 'expected laid, scattered or both. Correct it.',
  }),
  repetitions: integer({
    flag: 'repetitions',
    variable: 'BENCH_REPETITIONS',
    describe: 'how often each way is measured, in turn',
    default: '5',
    min: 1,
    max: 100,
  }),
  waySeconds: integer({
    flag: 'way-seconds',
    variable: 'BENCH_WAY_SECONDS',
    describe: 'how long each way takes in each repetition, back to back; one pass over the table at least',
    default: '2',
    min: 0,
    max: 3_600,
  }),
  aloneSeconds: integer({
    flag: 'alone-seconds',
    variable: 'BENCH_ALONE_SECONDS',
    describe: 'how long this project ticks alone, back to back',
    default: '8',
    min: 1,
    max: 3_600,
  }),
  hertzRows: numbers({
    flag: 'hertz-rows',
    variable: 'BENCH_HERTZ_ROWS',
    describe: 'sizes for the real services at one tick a second, ascending, until ticks are missed; 0: none',
    default: '100000,200000,400000,700000,1000000',
  }),
  hertzWorkers: integer({
    flag: 'hertz-workers',
    variable: 'BENCH_HERTZ_WORKERS',
    describe: 'workers at one tick a second',
    default: '4',
    min: 1,
    max: 64,
  }),
  hertzSeconds: integer({
    flag: 'hertz-seconds',
    variable: 'BENCH_HERTZ_SECONDS',
    describe: 'how long each size is watched at one tick a second',
    default: '15',
    min: 3,
    max: 86_400,
  }),
  database: text({
    flag: 'database',
    variable: 'BENCH_DATABASE_URL',
    describe: 'URL of a server to measure on, with the right to create databases',
    defaultText: 'an embedded one',
  }),
  ...outputOptions,
};

/** Whole numbers by comma. */
