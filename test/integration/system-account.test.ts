import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { startNats, type TestNats } from '../support/nats-process.ts';
import type { ServiceProcess } from '../support/service-process.ts';
import { eventually } from '../support/service-process.ts';
import { TestSystem } from '../support/test-system.ts';

const CONFIG = `accounts {
  APP { jetstream: enabled, users: [{ user: app, password: pw }] }
  SYS { users: [{ user: system, password: pw }] }
}
system_account: SYS
no_auth_user: app`;

/** Real processes at a server with a system account: its word comes beside probes, and nothing depends on it. */
describe('a coordinator with a login in the system account', { timeout: 240_000 }, () => {
  let server: TestNats;
  let system: TestSystem;
  let leader: ServiceProcess;
  let standby: ServiceProcess;
  const workers = new Map<string, ServiceProcess>();

  before(async () => {
    server = await startNats({ config: CONFIG });
    system = await TestSystem.start({ natsUrl: server.url });
    leader = system.coordinator('coordinator-1', [], login('pw'));
    await leader.waitFor('leading', ({ msg }) => msg === 'leading');
    standby = system.coordinator('coordinator-2', [], login('wrong'));
    for (const id of ['worker-1', 'worker-2', 'worker-3']) workers.set(id, system.worker(id));
    await eventually('9 rows', async () => (await system.cli('rows', 'add', '9', '--json')).code === 0);
  });

  beforeEach(() => system.watching(workers.values(), 9));

  after(async () => {
    await system?.stop();
    await server?.stop();
  });

  function login(password: string): Record<string, string> {
    return { NATS_SYSTEM_URL: server.url, NATS_SYSTEM_USER: 'system', NATS_SYSTEM_PASSWORD: password };
  }

  async function killWorker(id: string, planner: ServiceProcess): Promise<void> {
    const from = planner.lines.length;
    workers.get(id)?.signal('SIGKILL');
    workers.delete(id);
    const left = await planner.waitFor(`the departure of ${id}`, ({ msg }) => msg === 'worker left', from);
    assert.deepEqual([left.peer, left.evidence], [id, 'connection-closed']);
    await system.watching(workers.values(), 9);
  }

  test('hears of lost connections, and plans without a killed worker', async () => {
    await leader.waitFor('the events', ({ msg }) => msg === 'the system account tells of lost connections');
    await killWorker('worker-3', leader);
  });

  test('says so once where the login is refused, and goes on with probes: it leads, and evicts, all the same', async () => {
    const isWarning = ({ msg }: { readonly msg?: string }) => /going on with probes only/.test(msg ?? '');
    const warning = await standby.waitFor('the warning', isWarning);
    assert.match(String(warning.reason), /Authorization Violation\. Check user and password/);
    leader.signal('SIGKILL');
    await standby.waitFor('leading', ({ msg }) => msg === 'leading');
    // Also where it has connected within the last TTL itself.
    await killWorker('worker-2', standby);
    assert.equal(standby.lines.filter(isWarning).length, 1);
    assert.doesNotMatch(JSON.stringify(standby.lines), /wrong/);
  });

  test('ends in order when it is asked to leave', async () => {
    const third = system.coordinator('coordinator-3', [], login('pw'));
    await third.waitFor('the events', ({ msg }) => msg === 'the system account tells of lost connections');
    third.signal('SIGTERM');
    assert.equal(await third.end(), 0, third.tail());
  });
});
