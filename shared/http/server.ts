import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Reply {
  /** @default 200 */
  readonly status?: number;
  /** @default application/json; charset=utf-8 */
  readonly contentType?: string;
  readonly body: string;
}

/** What answers a GET of each path; a promise that rejects becomes a 500 that says why. */
export type Routes = Readonly<Record<string, () => Reply | Promise<Reply>>>;

export interface HttpServer {
  /** The port listened on: the asked one, or the free one that was chosen for 0. */
  readonly port: number;
  close(): Promise<void>;
}

/**
 * A small read-only server for probes, metrics and the API.
 * @throws {Error} with `code` EADDRINUSE when the port is taken: choose another, or 0 for any free one.
 */
export function serveHttp(options: { readonly port: number; readonly routes: Routes }): Promise<HttpServer> {
  const server = createServer((request, response) => {
    void answer(request, response, options.routes);
  });
  // Probes keep no connection open across a shutdown.
  server.keepAliveTimeout = 1000;
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, () => {
      server.off('error', reject);
      resolve({ port: (server.address() as AddressInfo).port, close: () => close() });
    });
  });

  function close(): Promise<void> {
    return new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  }
}

export function json(value: unknown, status = 200): Reply {
  return { status, body: `${JSON.stringify(value)}\n` };
}

async function answer(request: IncomingMessage, response: ServerResponse, routes: Routes): Promise<void> {
  const reply = await findReply(request, routes);
  response.writeHead(reply.status ?? 200, {
    'content-type': reply.contentType ?? 'application/json; charset=utf-8',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
  response.end(request.method === 'HEAD' ? undefined : reply.body);
}

async function findReply(request: IncomingMessage, routes: Routes): Promise<Reply> {
  if (request.method !== 'GET' && request.method !== 'HEAD')
    return json({ error: 'only GET and HEAD are served' }, 405);
  const [path = '/'] = (request.url ?? '/').split('?');
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
  if (route === undefined) return json({ error: `no such path; known: ${Object.keys(routes).join(', ')}` }, 404);
  try {
    return await route();
  } catch (error) {
    return json({ error: error instanceof Error ? error.message : String(error) }, 500);
  }
}
