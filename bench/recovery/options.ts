import { integer, option, toggle, type Values } from '../../shared/options/options.ts';
import type { Program } from '../../shared/options/program.ts';
import { outputOptions } from '../support/output.ts';
import { EVENTS, type RecoveryEvent } from './events.ts';

const COMMAND = 'npm run bench:recovery';
const KEYS = EVENTS.map(({ key }) => key).join(',');

export const recoveryOptions = {
  workers: integer({
    flag: 'workers',
    variable: 'BENCH_WORKERS',
    describe: 'workers',
    default: '4',
    min: 2,
    max: 100,
  }),
  rows: integer({
    flag: 'rows',
    variable: 'BENCH_ROWS',
    describe: 'rows in the table',
    default: '240',
    min: 64,
    max: 100_000,
  }),
  repeat: integer({
    flag: 'repeat',
    variable: 'BENCH_REPEAT',
    describe: 'repetitions of each event',
    defaultText: '30, with --quick 2',
    min: 1,
    max: 10_000,
  }),
  events: option<{ flag: string; variable: string; describe: string; default: string }, readonly RecoveryEvent[]>(
    { flag: 'events', variable: 'BENCH_EVENTS', describe: 'what happens, one after the other', default: KEYS },
    (given) => {
      const events = given.split(',').map((key) => EVENTS.find((event) => event.key === key));
      const known = events.filter((event) => event !== undefined);
      if (known.length === events.length) return { ok: true, value: known };
      return { ok: false, expected: `some of ${KEYS}` };
    },
  ),
  probesOnly: toggle({
    flag: 'probes-only',
    variable: 'BENCH_PROBES_ONLY',
    describe: "coordinators have no login in NATS' system account",
  }),
  ...outputOptions,
};

export type RecoveryOptions = Values<typeof recoveryOptions>;

export const recoveryProgram: Program<typeof recoveryOptions> = {
  command: `${COMMAND} --`,
  purpose: 'Measures the time to recover from each kind of disruption, on servers and processes of its own.',
  options: recoveryOptions,
  examples: [
    [`${COMMAND} -- --quick`, 'each twice'],
    [`${COMMAND} -- --events kill,leave,join`, 'three of them'],
    [`${COMMAND} -- --workers 50 --rows 10000 --repeat 10`, 'as many processes as two cores can bear'],
  ],
};
