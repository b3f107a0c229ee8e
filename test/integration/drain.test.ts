import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { Snapshot } from '../../shared/ring/snapshot.ts';
import { eventually, type LogLine, type ServiceProcess } from '../support/service-process.ts';
import { TestSystem } from '../support/test-system.ts';

const ROWS = 30;

/** Real processes: a worker gives up all its rows, lives on, and has some again, while the audit watches from outside. */
describe('draining a worker', { timeout: 240_000 }, () => {
  let system: TestSystem;
  let leader: ServiceProcess;
  const workers = new Map<string, ServiceProcess>();
  /** Those that are to have rows. */
  const active = new Set<string>();

  before(async () => {
    system = await TestSystem.start();
    leader = system.coordinator('coordinator-1');
    await leader.waitFor('leading', ({ msg }) => msg === 'leading');
    for (const id of ['worker-1', 'worker-2', 'worker-3']) {
      workers.set(id, system.worker(id));
      active.add(id);
    }
    await eventually('the rows', async () => (await system.cli('rows', 'add', String(ROWS), '--json')).code === 0);
  });

  beforeEach(watchingActive);

  after(() => system?.stop());

  function processOf(id: string): ServiceProcess {
    const worker = workers.get(id);
    assert.ok(worker);
    return worker;
  }

  async function watchingActive(): Promise<void> {
    await system.watching([...active].map(processOf), ROWS);
  }

  async function drain(id: string): Promise<LogLine> {
    const { code, json, text } = await system.cli('drain', id, '--json');
    assert.equal(code, 0, text);
    active.delete(id);
    return json[0] ?? {};
  }

  async function newestRing(): Promise<Snapshot> {
    const { json, text } = await system.cli('ring', 'show', '--json');
    assert.ok(json[0], text);
    return json[0] as unknown as Snapshot;
  }

  async function namedByRing(): Promise<string[]> {
    return (await newestRing()).workers.map(({ id }) => id);
  }

  async function states(): Promise<Record<string, unknown>> {
    const { json } = await system.cli('workers', '--json');
    const [listed] = json as unknown as { id: string; state: string }[][];
    return Object.fromEntries((listed ?? []).map(({ id, state }) => [id, state]));
  }

  test('its rows go to the others without a missed tick, and it lives on, ready and idle', async () => {
    const auditing = system.cli('audit', '--seconds', '10', '--json');
    const { ring, ...drained } = await drain('worker-2');
    assert.deepEqual(drained, { worker: 'worker-2', state: 'drained', given: 0, owned: 0, isDone: true });
    await watchingActive();
    const worker = processOf('worker-2');
    const idle = await worker.waitFor('an idle second', ({ msg }) => msg === 'watching', worker.lines.length);
    assert.deepEqual([idle.count, idle.ids], [0, []]);
    assert.deepEqual(await states(), { 'worker-1': 'active', 'worker-2': 'drained', 'worker-3': 'active' });
    const newest = await newestRing();
    assert.deepEqual([newest.version, newest.cause.evidence], [ring, 'drained']);
    const http = worker.lines.find(({ msg }) => msg === 'serving health and metrics');
    const ready = await fetch(`http://127.0.0.1:${http?.port}/readyz`);
    assert.deepEqual([ready.status, ((await ready.json()) as LogLine).state], [200, 'drained']);
    assertNoFault(await auditing);
  });

  test('asked again it says the same, and moves nothing', async () => {
    const before = await newestRing();
    assert.equal((await drain('worker-2')).isDone, true);
    assert.deepEqual(await newestRing(), before);
  });

  test('a new leader leaves it drained', async () => {
    const standby = system.coordinator('coordinator-2');
    await standby.waitFor('the API', ({ msg }) => /serving the API/.test(msg ?? ''));
    leader.signal('SIGKILL');
    await standby.waitFor('leading', ({ msg }) => msg === 'leading');
    await standby.waitFor('its first ring', ({ msg }) => msg === 'ring published');
    leader = standby;
    assert.deepEqual(await namedByRing(), ['worker-1', 'worker-3']);
  });

  test('undrained it has its share again, without a missed tick', async () => {
    const auditing = system.cli('audit', '--seconds', '8', '--json');
    const { code, json, text } = await system.cli('undrain', 'worker-2', '--json');
    assert.equal(code, 0, text);
    active.add('worker-2');
    assert.deepEqual([json[0]?.state, json[0]?.isDone, json[0]?.given], ['active', true, json[0]?.owned]);
    await watchingActive();
    assertNoFault(await auditing);
  });

  test('while no coordinator leads it is asked all the same, says why nothing moved, and the next leader follows', async () => {
    leader.signal('SIGKILL');
    const { code, json, text } = await system.cli('drain', 'worker-3', '--json');
    assert.deepEqual([code, json[0]?.state, json[0]?.isDone], [1, 'drained', false], text);
    assert.match(text, /waiting: ring \d+ still gives it \d+ slots: no coordinator leads/);
    leader = system.coordinator('coordinator-3');
    await eventually('a ring without it', async () => !(await namedByRing()).includes('worker-3'));
    assert.equal((await system.cli('undrain', 'worker-3')).code, 0);
  });

  test('a worker that is not there is named, with those that are', async () => {
    const { code, text } = await system.cli('drain', 'worker-9');
    assert.equal(code, 1);
    assert.match(text, /no worker worker-9 is alive; there are worker-1, worker-2, worker-3/);
  });

  test('the last active worker is not drained; when it dies, its rows go to the drained ones', async () => {
    await drain('worker-1');
    await drain('worker-2');
    const refused = await system.cli('drain', 'worker-3');
    assert.equal(refused.code, 1);
    assert.match(refused.text, /worker-3 cannot be drained: no other worker is active.*Start or undrain another/);
    await watchingActive();
    processOf('worker-3').signal('SIGKILL');
    active.clear();
    for (const id of ['worker-1', 'worker-2']) active.add(id);
    await watchingActive();
  });

  test('a drained worker that is asked to leave ends in order', async () => {
    await system.cli('undrain', 'worker-1');
    await drain('worker-2');
    processOf('worker-2').signal('SIGTERM');
    assert.equal(await processOf('worker-2').end(), 0, processOf('worker-2').tail());
    active.clear();
    active.add('worker-1');
    await watchingActive();
  });
});

function assertNoFault({ json, text }: Awaited<ReturnType<TestSystem['cli']>>): void {
  const { missed, double, unowned } = json[0] ?? {};
  assert.deepEqual({ missed, double, unowned }, { missed: 0, double: 0, unowned: 0 }, text);
}
