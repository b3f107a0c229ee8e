import { httpOptions, identity, leaseContradictions, leaseOptions, logOptions } from '../../shared/options/common.ts';
import { natsContradictions, natsOptions, streamOptions } from '../../shared/options/nats.ts';
import { integer, type Values } from '../../shared/options/options.ts';
import { postgresOptions } from '../../shared/options/postgres.ts';
import type { Program } from '../../shared/options/program.ts';
import { tableOptions } from '../../shared/options/table.ts';
import { describeBadWorkerId } from '../../shared/ring/worker-id.ts';

export const workerOptions = {
  workerId: identity({
    flag: 'worker-id',
    variable: 'WORKER_ID',
    describe: "this worker's id, unique among the living",
    check: describeBadWorkerId,
  }),
  ...natsOptions,
  ...streamOptions,
  ...postgresOptions,
  ...tableOptions,
  ...leaseOptions,
  ...httpOptions,
  ...logOptions,
  logIdsMax: integer({
    flag: 'log-ids-max',
    variable: 'LOG_IDS_MAX',
    describe: 'longer id lists are logged when they change, between changes only their count and checksum',
    default: '10000',
    min: 0,
    max: 10_000_000,
  }),
};

export type WorkerOptions = Values<typeof workerOptions>;

export const workerProgram: Program<typeof workerOptions> = {
  command: 'npm run worker --',
  purpose: 'Ticks its share of the rows once a second, as the ring snapshots say.',
  options: workerOptions,
  contradictions: [...natsContradictions, ...leaseContradictions],
  examples: [
    ['npm run worker -- --worker-id worker-4 --http-port 0', 'one more worker beside npm start'],
    ['npm run worker -- --nats nats://n1,nats://n2 --database postgres://user@db/mydatabase', 'servers elsewhere'],
    [
      "npm run worker -- --database 'postgres://user@db1,db2/mydatabase?sslmode=verify-full&sslrootcert=ca.pem'",
      'whichever of the two takes writes, encrypted',
    ],
  ],
};
