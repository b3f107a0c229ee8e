import { httpOptions, identity, leaseContradictions, leaseOptions, logOptions } from '../../shared/options/common.ts';
import { natsContradictions, natsOptions, streamOptions } from '../../shared/options/nats.ts';
import { natsSystemContradictions, natsSystemOptions } from '../../shared/options/nats-system.ts';
import { type Contradiction, integer, type Values } from '../../shared/options/options.ts';
import { postgresOptions } from '../../shared/options/postgres.ts';
import type { Program } from '../../shared/options/program.ts';
import { adoptionOptions, tableOptions } from '../../shared/options/table.ts';
import { describeBadWorkerId } from '../../shared/ring/worker-id.ts';
import type { ScalingRule } from './desired-workers.ts';

const MOST_WORKERS = 10_000;

/** What `/api/desired-workers` counts by. */
const scalingOptions = {
  rowsPerWorker: integer({
    flag: 'rows-per-worker',
    variable: 'ROWS_PER_WORKER',
    describe: 'rows that one worker shall have at most, for /api/desired-workers',
    default: '1000',
    min: 1,
    max: 1_000_000_000,
  }),
  minWorkers: integer({
    flag: 'min-workers',
    variable: 'MIN_WORKERS',
    describe: 'least workers that /api/desired-workers asks for',
    default: '1',
    min: 0,
    max: MOST_WORKERS,
  }),
  maxWorkers: integer({
    flag: 'max-workers',
    variable: 'MAX_WORKERS',
    describe: 'most workers that /api/desired-workers asks for',
    default: '100',
    min: 1,
    max: MOST_WORKERS,
  }),
};

const scalingContradictions: readonly Contradiction<ScalingRule>[] = [
  {
    needs: ['minWorkers', 'maxWorkers'],
    check: ({ minWorkers, maxWorkers }) =>
      minWorkers <= maxWorkers
        ? null
        : `--min-workers ${minWorkers}: expected no more than --max-workers ${maxWorkers}. Lower it, or raise --max-workers.`,
  },
];

export const coordinatorOptions = {
  coordinatorId: identity({
    flag: 'coordinator-id',
    variable: 'COORDINATOR_ID',
    describe: "this coordinator's id, unique among the living",
    check: describeBadWorkerId,
  }),
  ...natsOptions,
  ...streamOptions,
  ...natsSystemOptions,
  ...postgresOptions,
  ...tableOptions,
  ...adoptionOptions,
  ...scalingOptions,
  ...leaseOptions,
  ...httpOptions,
  ...logOptions,
};

export type CoordinatorOptions = Values<typeof coordinatorOptions>;

export const coordinatorProgram: Program<typeof coordinatorOptions> = {
  command: 'npm run coordinator --',
  purpose: 'Watches workers and table, and publishes who ticks which rows. One leads, the others stand by.',
  options: coordinatorOptions,
  contradictions: [
    ...natsContradictions,
    ...natsSystemContradictions,
    ...scalingContradictions,
    ...leaseContradictions,
  ],
  examples: [
    ['npm run coordinator -- --coordinator-id coordinator-2 --http-port 0', 'a standby beside npm start'],
    ['npm run coordinator -- --table shop.orders --slots 65536', 'adopts a table of your own'],
    ["npm run coordinator -- --database 'postgres://user@/mydatabase?host=/run/postgresql'", 'by a Unix socket'],
    [
      'npm run coordinator -- --table shop.orders --keep-storage-settings',
      'the same, its fillfactor and autovacuum settings stay',
    ],
  ],
};
