import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { TcpProxy } from '../support/tcp-proxy.ts';

/** Longer than loopback takes for anything, so that what has not come by then does not come. */
const SILENCE_MS = 100;

describe('a TCP proxy', () => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.pipe(socket);
  });
  let proxy: TcpProxy;
  const clients: Socket[] = [];

  beforeEach(async () => {
    if (!server.listening) {
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
    }
    proxy = await TcpProxy.before(`tcp://127.0.0.1:${(server.address() as AddressInfo).port}`);
  });

  afterEach(async () => {
    for (const client of clients.splice(0)) client.destroy();
    await proxy.close();
    server.close();
  });

  function open(): Socket {
    const client = connect(proxy.port, '127.0.0.1');
    client.on('error', () => {});
    clients.push(client);
    return client;
  }

  it('passes on what both sides say', async () => {
    const client = open();
    client.write('one');
    assert.equal(String((await once(client, 'data'))[0]), 'one');
  });

  it('cut, passes on nothing and closes nothing; healed, what was sent meanwhile arrives', async () => {
    const client = open();
    client.write('before');
    await once(client, 'data');
    proxy.cut();
    const late = open();
    client.write('during');
    late.write('late');
    const silence = wait(SILENCE_MS, 'silence');
    assert.equal(await Promise.race([once(client, 'data'), closed(client), once(late, 'data'), silence]), 'silence');
    proxy.heal();
    const heard = await Promise.all([once(client, 'data'), once(late, 'data')]);
    assert.deepEqual(heard.map(String), ['during', 'late']);
  });

  it('refusing, closes what is open and lets nobody in; healed, lets in again', async () => {
    const client = open();
    client.write('before');
    await once(client, 'data');
    proxy.refuse();
    await closed(client);
    await closed(open());
    proxy.heal();
    const again = open();
    again.write('after');
    assert.equal(String((await once(again, 'data'))[0]), 'after');
  });

  it('closes a client whose server cannot be reached', async () => {
    server.close();
    await closed(open());
  });
});

/** However it came about: `once` would take the reset before it for a failure. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}
