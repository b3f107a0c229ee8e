import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { encodeLiveness, type Liveness } from '../../shared/nats/liveness.ts';
import { LivenessBucket } from '../../shared/nats/liveness-bucket.ts';
import { subjectOfKey } from '../../shared/nats/names.ts';
import { AuditedSystem, assertSound } from '../support/audited-system.ts';
import { closeTestLinks, openTestLink } from '../support/nats-link.ts';
import { eventually } from '../support/service-process.ts';

const FORGED_EVERY_MS = 200;
/** More than it takes to evict a worker that is readmitted once more. */
const WATCHED_TICKS = 9;

/** Another login renews a dead worker's key: its lease never ends, and its tick seems to go on. */
describe('a worker that ticks nothing while somebody renews its key', { timeout: 240_000 }, () => {
  let system: AuditedSystem;
  let forging: AbortController | null = null;

  before(async () => {
    system = await AuditedSystem.start({ rows: 60, workers: 3, coordinators: 1 });
  });

  beforeEach(() => system.shared());

  after(async () => {
    forging?.abort();
    await closeTestLinks();
    await system?.stop();
  });

  /** Puts the worker's own value again and again, as if it ticked. */
  async function forge(worker: string): Promise<void> {
    const { natsUrl, prefix } = system.system;
    const link = await openTestLink({ url: natsUrl, prefix });
    const bucket = await LivenessBucket.attach(link);
    const value = await eventually('its key', async () => (await bucket.read(worker))?.value ?? null);
    const own = new AbortController();
    forging = own;
    void renew(value, (bytes) => {
      link.connection.publish(subjectOfKey(link.names.livenessBucket, worker), bytes);
    });

    async function renew(forged: Liveness, put: (bytes: Uint8Array) => void): Promise<void> {
      while (!own.signal.aborted) {
        put(encodeLiveness({ ...forged, tick: Math.floor(Date.now() / 1_000) }));
        await delay(FORGED_EVERY_MS);
      }
    }
  }

  const slowestTick = async () => {
    const sample = await system.auditor.look();
    return sample === null ? 0 : Math.min(...sample.rows.map(({ lastTick }) => lastTick));
  };

  for (const [how, signal] of [
    ['frozen', 'SIGSTOP'],
    ['killed', 'SIGKILL'],
  ] as const) {
    test(`loses its rows for good when it is ${how}`, async (t) => {
      const worker = system.workers.get('worker-3');
      assert.ok(worker);
      const findings = await system.audit();
      await forge('worker-3');
      worker.signal(signal);
      const tookMs = await system.takenOver('worker-3');
      await system.shared(['worker-3']);
      const rings = system.published().length;
      const until = (await slowestTick()) + WATCHED_TICKS;
      await eventually(`tick ${until} of every row`, async () => (await slowestTick()) >= until);
      const flapped = system.published().slice(rings);
      forging?.abort();
      t.diagnostic(`taken over from after ${(tookMs / 1_000).toFixed(1)} s; ${flapped.length} rings afterwards`);
      assert.deepEqual(flapped, []);
      assertSound(await findings());
      if (signal === 'SIGSTOP') worker.signal('SIGCONT');
      else system.addWorker('worker-3');
      await system.shared();
    });
  }
});
