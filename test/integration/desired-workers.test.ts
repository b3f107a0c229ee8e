import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually, type ServiceProcess } from '../support/service-process.ts';
import { TestSystem } from '../support/test-system.ts';

/** What an autoscaler outside reads, from real coordinators over a real table. */
let system: TestSystem;
let leader: ServiceProcess;
let standby: ServiceProcess;
const RULE = ['--rows-per-worker', '10', '--min-workers', '2', '--max-workers', '6'];

before(async () => {
  system = await TestSystem.start();
  leader = system.coordinator('coordinator-1', RULE);
  await leader.waitFor('leading', ({ msg }) => msg === 'leading');
  standby = system.coordinator('coordinator-2', RULE);
});

after(() => system?.stop());

test('the leader and a standby ask for as many workers as an empty table needs', async () => {
  for (const coordinator of [leader, standby]) {
    await eventually('the least number', async () => (await ask(coordinator)).desiredWorkers === 2);
  }
});

test('when rows come and go, the leader, a standby and the metric follow', async () => {
  for (const [change, count, desired] of [
    ['add', 45, 5],
    ['add', 100, 6],
    ['remove', 110, 4],
  ] as const) {
    assert.equal((await system.cli('rows', change, String(count))).code, 0);
    for (const coordinator of [leader, standby]) {
      await eventually(`${desired} workers`, async () => (await ask(coordinator)).desiredWorkers === desired);
    }
    const metrics = await (await get(leader, '/metrics')).text();
    assert.match(metrics, new RegExp(`^notifi_scaler_coordinator_desired_workers ${desired}$`, 'm'));
  }
  const { rows, rowsPerWorker, minWorkers, maxWorkers, ...rest } = await ask(standby);
  assert.deepEqual([rows, rowsPerWorker, minWorkers, maxWorkers], [35, 10, 2, 6]);
  // Nothing else of a coordinator's options, passwords among them, is anybody's business.
  assert.deepEqual(Object.keys(rest), ['desiredWorkers']);
});

test('a least number above the most is refused at the start', async () => {
  const refused = system.coordinator('coordinator-3', ['--min-workers', '7', '--max-workers', '6']);
  assert.equal(await refused.end(), 2);
  assert.match(refused.tail(), /--min-workers 7: expected no more than --max-workers 6/);
});

async function ask(coordinator: ServiceProcess): Promise<Record<string, number>> {
  const response = await get(coordinator, '/api/desired-workers');
  return response.ok ? ((await response.json()) as Record<string, number>) : {};
}

async function get(coordinator: ServiceProcess, path: string): Promise<Response> {
  const { port } = await coordinator.waitFor('its port', ({ msg }) => msg === 'serving the API, health and metrics');
  return fetch(`http://127.0.0.1:${port}${path}`);
}
