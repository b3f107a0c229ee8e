import { httpOptions, identity, leaseContradictions, leaseOptions, logOptions } from '../../shared/options/common.ts';
import { natsContradictions, natsOptions } from '../../shared/options/nats.ts';
import { natsSystemContradictions, natsSystemOptions } from '../../shared/options/nats-system.ts';
import { choice, type Values } from '../../shared/options/options.ts';
import { postgresOptions } from '../../shared/options/postgres.ts';
import type { Program } from '../../shared/options/program.ts';
import { tableOptions } from '../../shared/options/table.ts';
import { describeBadWorkerId } from '../../shared/ring/worker-id.ts';

/** Powers of two, so that a slot is a mask of the hash. Fewer would share out unevenly, more make snapshots too long. */
const SLOT_CHOICES = ['256', '512', '1024', '2048', '4096', '8192', '16384', '32768', '65536'] as const;

export const coordinatorOptions = {
  coordinatorId: identity({
    flag: 'coordinator-id',
    variable: 'COORDINATOR_ID',
    describe: "this coordinator's id, unique among the living",
    check: describeBadWorkerId,
  }),
  ...natsOptions,
  ...natsSystemOptions,
  ...postgresOptions,
  ...tableOptions,
  slots: choice({
    flag: 'slots',
    variable: 'SLOTS',
    describe: 'slots of the table, a power of two; counts only when the table is adopted',
    default: '4096',
    choices: SLOT_CHOICES,
  }),
  ...leaseOptions,
  ...httpOptions,
  ...logOptions,
};

export type CoordinatorOptions = Values<typeof coordinatorOptions>;

export const coordinatorProgram: Program<typeof coordinatorOptions> = {
  command: 'npm run coordinator --',
  purpose: 'Watches workers and table, and publishes who ticks which rows. One leads, the others stand by.',
  options: coordinatorOptions,
  contradictions: [...natsContradictions, ...natsSystemContradictions, ...leaseContradictions],
  examples: [
    ['npm run coordinator -- --coordinator-id coordinator-2 --http-port 0', 'a standby beside npm start'],
    ['npm run coordinator -- --table shop.orders --slots 65536', 'adopts a table of your own'],
  ],
};
