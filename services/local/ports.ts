import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:net';
import { LocalError } from './local-error.ts';

export interface WantedPort {
  /** Who is to listen: "NATS". */
  readonly name: string;
  /** 0: any free one. */
  readonly port: number;
  /** What changes it: "--nats-port". */
  readonly flag: string;
  /** The address to listen on. @default all of them */
  readonly host?: string;
}

/**
 * Makes sure that ports can be listened on, before anything is started.
 * @throws {LocalError} `port-taken` naming all that cannot, and the flags that change them.
 */
export async function expectFreePorts(wanted: readonly WantedPort[]): Promise<void> {
  const problems: string[] = [];
  for (const { name, port, flag, host } of wanted.filter((each) => each.port !== 0)) {
    const reason = await findObstacle(port, host);
    if (reason !== null)
      problems.push(
        `port ${port}, wanted for ${name}, ${reason}: give another with ${flag}, or ${flag} 0 for any free one`,
      );
  }
  if (problems.length > 0) throw new LocalError('port-taken', problems.join('\n'));
}

async function findObstacle(port: number, host: string | undefined): Promise<string | null> {
  // Some systems let one listen on all addresses of a port where another listens on one of them.
  if (await isAnswered(port)) return 'is in use';
  const { code } = await listenOnce(port, host);
  if (code === undefined) return null;
  return code === 'EADDRINUSE' ? 'is in use' : `cannot be listened on (${code})`;
}

/** A port that is free now; somebody else may take it before it is used. */
export async function findFreePort(): Promise<number> {
  const { port, code } = await listenOnce(0, '127.0.0.1');
  if (port === undefined) throw new LocalError('port-taken', `no port of 127.0.0.1 can be listened on (${code})`);
  return port;
}

function listenOnce(port: number, host: string | undefined): Promise<{ port?: number; code?: string }> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve({ code: error.code ?? error.message }));
    server.listen({ port, ...(host !== undefined && { host }) }, () => {
      const { port: chosen } = server.address() as AddressInfo;
      server.close(() => resolve({ port: chosen }));
    });
  });
}

function isAnswered(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    const end = (answered: boolean) => {
      socket.destroy();
      resolve(answered);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
    socket.setTimeout(500, () => end(false));
  });
}
