import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { connect, type NatsConnection } from 'nats';
import pg from 'pg';
import { natsNames } from '../../shared/nats/names.ts';
import { startNats, type TestNats } from '../support/nats-process.ts';
import { BEGAN, countOf, type Readiness, tryTrouble, untilAllReady, untilReadiness } from '../support/readiness.ts';
import type { ServiceProcess } from '../support/service-process.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { TestSystem } from '../support/test-system.ts';

const STORAGE_MB = 16;
/** What is reserved for our streams must fit into it. */
const SMALL = ['--nats-storage-mib', '8'];
const FILLER = 'FILLER';

/** NATS' troubles, with a real one: what `/readyz` and the logs of leader, standby and workers say. */
describe('readiness and NATS', { timeout: 240_000 }, () => {
  let nats: TestNats;
  let proxy: TcpProxy;
  let system: TestSystem;
  let services: Record<string, ServiceProcess>;
  let other: NatsConnection;

  before(async () => {
    nats = await startNats({ config: `jetstream { max_mem: 1MB, max_file: ${STORAGE_MB}MB }` });
    proxy = await TcpProxy.before(nats.url);
    other = await connect({ servers: nats.url });
    system = await TestSystem.start({ natsUrl: proxy.through(nats.url) });
    const leader = system.coordinator('coordinator-1', ['--slots', '256', ...SMALL]);
    await leader.waitFor('it to lead', ({ msg }) => msg === 'leading');
    await insertRows(system);
    services = {
      leader,
      standby: system.coordinator('coordinator-2', SMALL),
      first: system.worker('worker-1', SMALL),
      second: system.worker('worker-2', SMALL),
    };
    await system.watching([services.first!, services.second!], 40);
  });

  after(async () => {
    await other?.close();
    await system?.stop();
    await proxy?.close();
    await nats?.stop();
  });

  test("JetStream's storage full: nobody leads, coordinators say so in NATS' words, workers tick and stay ready", async () => {
    const { jetstream, manager } = { jetstream: other.jetstream(), manager: await other.jetstreamManager() };
    const lines = await tryTrouble({
      services,
      reasons: { leader: /NATS: insufficient resources \(10023\)/, standby: /NATS: insufficient resources \(10023\)/ },
      begin: async () => {
        await manager.streams.add({ name: FILLER, subjects: [FILLER] });
        // In steps, until not even a small message fits.
        for (let size = 256 * 1024; size >= 1; ) {
          const isStored = await jetstream.publish(FILLER, new Uint8Array(size)).then(
            () => true,
            () => false,
          );
          if (!isStored) size = Math.floor(size / 2);
        }
      },
      end: () => manager.streams.delete(FILLER),
      lastsMs: 6_000,
    });
    for (const name of ['leader', 'standby']) {
      assert.equal(countOf(lines[name]!, BEGAN), 1, name);
      assert.match(String(lines[name]!.find(({ msg }) => BEGAN.test(msg ?? ''))?.reason), /insufficient resources/);
    }
  });

  test('a NATS that is away makes coordinators unready, and workers that tick stay ready', async () => {
    const lines = await tryTrouble({
      services,
      reasons: { leader: /^NATS: /, standby: /^NATS: / },
      begin: () => proxy.refuse(),
      end: () => proxy.heal(),
      lastsMs: 6_000,
    });
    for (const [name, written] of Object.entries(lines)) assert.equal(countOf(written, BEGAN), 1, name);
  });

  test('a NATS that hangs makes coordinators unready within a few seconds', async () => {
    await tryTrouble({
      services,
      reasons: { leader: /^NATS: no answer/, standby: /^NATS: no answer/ },
      begin: () => proxy.cut(),
      end: () => proxy.heal(),
    });
  });
});

test('a worker says that there is no ring yet, and is ready once a leader published one', async () => {
  const system = await TestSystem.start();
  try {
    // It adopts the table, and is gone before the worker comes; so is its ring.
    const former = system.coordinator('coordinator-0', ['--slots', '256']);
    await former.waitFor('it to lead', ({ msg }) => msg === 'leading');
    former.signal('SIGTERM');
    await former.end();
    const other = await connect({ servers: system.natsUrl });
    await (await other.jetstreamManager()).streams.delete(natsNames(system.prefix).snapshotStream);
    await other.close();
    const worker = system.worker('worker-1');
    const isStarted = ({ reason = '' }: Readiness) => reason !== '' && !reason.startsWith('starting');
    const isWithoutRing = (answer: Readiness) => isStarted(answer) && !/^no round/.test(answer.reason ?? '');
    const found = await untilReadiness('the worker', worker, isWithoutRing);
    const reason = `no ring snapshot yet; waiting for a leader under NATS prefix "${system.prefix}"`;
    assert.deepEqual([found.status, found.reason], [503, reason]);
    const leader = system.coordinator('coordinator-1');
    await untilAllReady({ leader, worker });
  } finally {
    await system.stop();
  }
});

async function insertRows(system: TestSystem): Promise<void> {
  const client = new pg.Client({ connectionString: system.databaseUrl });
  await client.connect();
  await client.query('INSERT INTO work_items (value) SELECT 0 FROM generate_series(1, 40)');
  await client.end();
}
