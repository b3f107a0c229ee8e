import { httpOptions, logOptions } from '../../shared/options/common.ts';
import { type Contradiction, integer, text, toggle, type Values } from '../../shared/options/options.ts';
import type { Program } from '../../shared/options/program.ts';
import { tableOptions } from '../../shared/options/table.ts';

const MOST_PORT = 65_535;

export const localOptions = {
  workers: integer({
    flag: 'workers',
    variable: 'LOCAL_WORKERS',
    describe: 'how many workers to start',
    default: '3',
    min: 0,
    max: 1000,
  }),
  coordinators: integer({
    flag: 'coordinators',
    variable: 'LOCAL_COORDINATORS',
    describe: 'how many coordinators to start: one leads, the others stand by',
    default: '1',
    min: 1,
    max: 20,
  }),
  rows: integer({
    flag: 'rows',
    variable: 'LOCAL_ROWS',
    describe: 'rows to put into the table when it is empty',
    default: '30',
    min: 0,
    max: 10_000_000,
  }),
  // Not NATS_PORT and POSTGRES_PORT: Kubernetes and Docker set those to addresses of services by these names.
  natsPort: integer({
    flag: 'nats-port',
    variable: 'LOCAL_NATS_PORT',
    describe: 'port of NATS; 0: any free one',
    default: '4222',
    min: 0,
    max: MOST_PORT,
  }),
  postgresPort: integer({
    flag: 'postgres-port',
    variable: 'LOCAL_POSTGRES_PORT',
    describe: 'port of Postgres; 0: any free one',
    default: '5432',
    min: 0,
    max: MOST_PORT,
  }),
  ...httpOptions,
  data: text({
    flag: 'data',
    variable: 'LOCAL_DATA',
    describe: 'folder for the data of NATS and Postgres, which the next start goes on with',
    defaultText: 'a temporary folder, removed at the end',
  }),
  restart: toggle({
    flag: 'restart',
    variable: 'LOCAL_RESTART',
    describe: 'start a worker or coordinator again when it ends unasked',
  }),
  ...tableOptions,
  ...logOptions,
};

export type LocalOptions = Values<typeof localOptions>;

const contradictions: readonly Contradiction<LocalOptions>[] = [
  {
    needs: ['natsPort', 'postgresPort', 'httpPort'],
    check: ({ natsPort, postgresPort, httpPort }) => {
      const ports = [natsPort, postgresPort, httpPort].filter((port) => port !== 0);
      const twice = ports.find((port, index) => ports.indexOf(port) !== index);
      return twice === undefined
        ? null
        : `--nats-port, --postgres-port, --http-port: expected different ports, got ${twice} more than once. Change one of them.`;
    },
  },
];

export const localProgram: Program<typeof localOptions> = {
  command: 'npm start --',
  purpose:
    'Runs NATS, Postgres, coordinators and workers on this machine, each a process of its own. Ctrl-C ends them all.',
  options: localOptions,
  contradictions,
  examples: [
    ['npm start', 'three workers share thirty rows; open http://127.0.0.1:8080'],
    ['npm start -- --workers 5 --rows 1000 --coordinators 2', 'a larger one, with a standby coordinator'],
    ['npm start -- --data .data', 'keeps the rows for the next start'],
    ['npm start -- --nats-port 0 --postgres-port 0 --http-port 0', 'where the usual ports are taken'],
  ],
};
