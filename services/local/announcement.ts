import { tableOptions } from '../../shared/options/table.ts';
import type { LocalOptions } from './options.ts';

export interface Addresses {
  readonly nats: string;
  readonly postgres: string;
  readonly http: string;
}

export interface Announcement extends Addresses {
  /** Commands for another terminal, with what they need where it is not the default. */
  readonly worker: string;
  readonly cli: string;
}

const DEFAULT_PORTS = { nats: 4222, postgres: 5432 };

export function makeAnnouncement(options: LocalOptions, addresses: Addresses): Announcement {
  const servers = [
    ...variable('NATS_URL', addresses.nats, isAt(addresses.nats, DEFAULT_PORTS.nats)),
    ...variable('DATABASE_URL', addresses.postgres, isAt(addresses.postgres, DEFAULT_PORTS.postgres)),
    ...Object.entries(tableOptions).flatMap(([name, option]) => {
      const value = options[name as keyof typeof tableOptions];
      return variable(option.variable, value, value === option.default);
    }),
  ];
  const another = `worker-${options.workers + 1}`;
  return {
    ...addresses,
    // Not its default port: that one is the coordinator's here.
    worker: [...servers, `npm run worker -- --worker-id ${another} --http-port 0`].join(' '),
    cli: [...servers, 'npx notifi-scaler ring show'].join(' '),
  };
}

export function describeAnnouncement(announcement: Announcement): string {
  const lines = [
    ['NATS', announcement.nats],
    ['Postgres', announcement.postgres],
    ['HTTP', announcement.http],
    ['another worker', announcement.worker],
    ['command line', announcement.cli],
  ] as const;
  return `\n${lines.map(([name, value]) => `  ${name.padEnd(16)}${value}\n`).join('')}  Ctrl-C ends everything, in order.\n\n`;
}

function isAt(address: string, port: number): boolean {
  return new URL(address).port === String(port);
}

function variable(name: string, value: string, isDefault: boolean): string[] {
  return isDefault ? [] : [`${name}=${/^[\w:/.@-]+$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`}`];
}
