import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

interface Pair {
  readonly client: Socket;
  /** Null while the client's connection was made in a cut network: it has got nowhere yet. */
  server: Socket | null;
}

/**
 * A stretch of network between a process and a server, that a test can cut and mend.
 *
 * States: open → cut (sockets stay open and nothing passes, as in a network that vanished; what was sent meanwhile arrives
 * afterwards, as TCP sends it again) or refusing (what is open is closed, and what is opened is reset at once) → open.
 * A server that cannot be reached closes its client's connection.
 */
export class TcpProxy {
  /** Where the process is to connect, on loopback. */
  readonly port: number;
  readonly #listener: Server;
  readonly #target: { readonly host: string; readonly port: number };
  readonly #pairs = new Set<Pair>();
  #state: 'open' | 'cut' | 'refusing' = 'open';

  private constructor(listener: Server, target: { readonly host: string; readonly port: number }) {
    this.#listener = listener;
    this.#target = target;
    this.port = (listener.address() as AddressInfo).port;
    listener.on('connection', (client) => this.#accept(client));
  }

  /** Stands before the server that the URL names. */
  static async before(url: string): Promise<TcpProxy> {
    const { hostname, port } = new URL(url);
    // Half-open: one side's end is passed on, not answered with an end of our own.
    const listener = createServer({ allowHalfOpen: true });
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    return new TcpProxy(listener, { host: hostname, port: Number(port) });
  }

  /** The URL as it reads for a process behind this proxy. */
  through(url: string): string {
    const own = new URL(url);
    own.hostname = '127.0.0.1';
    own.port = String(this.port);
    return own.href;
  }

  cut(): void {
    this.#state = 'cut';
    for (const { client, server } of this.#pairs) {
      client.pause();
      server?.pause();
    }
  }

  refuse(): void {
    this.#state = 'refusing';
    this.#closeAll();
  }

  heal(): void {
    this.#state = 'open';
    for (const pair of this.#pairs) {
      if (pair.server === null) this.#join(pair);
      else pair.server.resume();
      pair.client.resume();
    }
  }

  async close(): Promise<void> {
    const closed = once(this.#listener, 'close');
    this.#listener.close();
    this.#closeAll();
    await closed;
  }

  #accept(client: Socket): void {
    if (this.#state === 'refusing') {
      client.on('error', () => {});
      client.resetAndDestroy();
      return;
    }
    client.setNoDelay(true);
    const pair: Pair = { client, server: null };
    this.#pairs.add(pair);
    client.on('error', () => {});
    client.on('close', () => this.#drop(pair));
    if (this.#state === 'open') this.#join(pair);
    else client.pause();
  }

  #join(pair: Pair): void {
    const server = connect({ ...this.#target, allowHalfOpen: true, noDelay: true });
    pair.server = server;
    server.on('error', () => {});
    server.on('close', () => this.#drop(pair));
    this.#pass(pair.client, server);
    this.#pass(server, pair.client);
  }

  #pass(from: Socket, to: Socket): void {
    from.on('data', (bytes) => {
      if (!to.write(bytes)) from.pause();
    });
    to.on('drain', () => {
      // A cut came while the receiver was slow: the sender waits for its end.
      if (this.#state !== 'cut') from.resume();
    });
    from.on('end', () => to.end());
  }

  #closeAll(): void {
    for (const pair of [...this.#pairs]) this.#drop(pair);
  }

  #drop(pair: Pair): void {
    this.#pairs.delete(pair);
    pair.client.destroy();
    pair.server?.destroy();
  }
}
