import { hostname } from 'node:os';
import { makeWorkerId } from '../ring/worker-id.ts';
import { type Contradiction, choice, type Environment, integer, type Option, text } from './options.ts';

export const httpOptions = {
  httpPort: integer({
    flag: 'http-port',
    variable: 'HTTP_PORT',
    describe: 'port of the HTTP server; 0: any free one, which is logged',
    default: '8080',
    min: 0,
    max: 65535,
  }),
};

export const logOptions = {
  logLevel: choice({
    flag: 'log-level',
    variable: 'LOG_LEVEL',
    describe: 'least severe level that is logged',
    default: 'info',
    choices: ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
  }),
};

const LONGEST_MS = 3_600_000;

export const leaseOptions = {
  leaseTtlMs: integer({
    flag: 'lease-ttl-ms',
    variable: 'LEASE_TTL_MS',
    describe: 'ms of silence after which a worker or leader counts as dead',
    default: '2000',
    min: 300,
    max: LONGEST_MS,
    because: 'NATS expires keys up to 300 ms late, so that a shorter lease would promise what it cannot keep',
  }),
  heartbeatMs: integer({
    flag: 'heartbeat-ms',
    variable: 'HEARTBEAT_MS',
    describe: 'ms between two renewals of a lease; less than half of --lease-ttl-ms',
    default: '500',
    min: 10,
    max: LONGEST_MS,
  }),
};

export const leaseContradictions: readonly Contradiction<{ leaseTtlMs: number; heartbeatMs: number }>[] = [
  {
    needs: ['leaseTtlMs', 'heartbeatMs'],
    check: ({ leaseTtlMs, heartbeatMs }) =>
      heartbeatMs < leaseTtlMs / 2
        ? null
        : `--heartbeat-ms ${heartbeatMs}: expected less than half of --lease-ttl-ms ${leaseTtlMs}, because a single late ` +
          `renewal would otherwise end a lease. Give --heartbeat-ms ${Math.max(10, Math.floor(leaseTtlMs / 4))}, or a longer --lease-ttl-ms.`,
  },
];

/** The name by which a process is known: its pod's in Kubernetes, else its host's. */
export function identity(spec: {
  readonly flag: string;
  readonly variable: string;
  readonly describe: string;
  /** What is wrong with an id and what to do, or null. */
  readonly check: (id: string) => string | null;
}): Option<string> {
  return text({
    ...spec,
    default: (environment: Environment): string => makeWorkerId(environment.POD_NAME || hostname()),
    defaultText: "POD_NAME, else the host's name",
  });
}
