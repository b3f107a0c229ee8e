import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { Client } from 'pg';
import type { Recovery } from '../../shared/ring/recovery.ts';
import { eventually, type ServiceProcess } from '../support/service-process.ts';
import { TestSystem } from '../support/test-system.ts';

/** Real processes, real servers, real signals; the audit watches the table from outside. */
describe('the whole system', { timeout: 240_000 }, () => {
  let system: TestSystem;
  let leader: ServiceProcess;
  let standby: ServiceProcess;
  const workers = new Map<string, ServiceProcess>();

  before(async () => {
    system = await TestSystem.start();
    leader = system.coordinator('coordinator-1');
    await leader.waitFor('leading', ({ msg }) => msg === 'leading');
    standby = system.coordinator('coordinator-2');
    for (const id of ['worker-1', 'worker-2', 'worker-3']) workers.set(id, system.worker(id));
    await eventually('30 rows', async () => (await system.cli('rows', 'add', '30', '--json')).code === 0);
  });

  beforeEach(() => system.watching(workers.values(), 30));

  after(() => system?.stop());

  test('three workers watch ten sorted ids each, and the lists stay the same while nothing changes', async () => {
    const seen = new Set<string>();
    for (const worker of workers.values()) {
      const first = await nextWatching(worker);
      const second = await nextWatching(worker);
      assert.deepEqual(second.ids, first.ids);
      assert.deepEqual([...first.ids].sort(), first.ids);
      for (const id of first.ids) seen.add(id);
    }
    assert.equal(seen.size, 30);
  });

  test('the audit finds neither missed nor double ticks, and sees even shares', async () => {
    const audit = await system.cli('audit', '--seconds', '5', '--json');
    assert.deepEqual(
      pick(audit.json[0], ['rows', 'missed', 'double', 'unowned', 'isUneven', 'isClean']),
      { rows: 30, missed: 0, double: 0, unowned: 0, isUneven: false, isClean: true },
      audit.text,
    );
    assert.equal(audit.code, 0);
  });

  test('a worker of an id that lives is refused, and the first goes on', async () => {
    const twin = system.worker('worker-1');
    assert.equal(await twin.end(), 1);
    assert.match(twin.tail(), /worker-1 is alive already/);
    await nextWatching(workers.get('worker-1'));
  });

  test('a fourth worker takes over the fewest rows that make shares even, and no tick is missed', async () => {
    const auditing = system.cli('audit', '--seconds', '8', '--json');
    workers.set('worker-4', system.worker('worker-4'));
    await system.watching(workers.values(), 30);
    const history = await system.cli('ring', 'history', '--limit', '1', '--json');
    const [snapshot] = history.json as unknown as {
      cause: { kind: string };
      moved: { rows: number; minimumRows: number };
    }[];
    assert.ok(snapshot);
    assert.equal(snapshot.cause.kind, 'worker-joined');
    const { moved } = snapshot;
    assert.equal(moved.rows, moved.minimumRows);
    assertNoFault(await auditing);
  });

  test('a worker asked to leave by SIGTERM misses no tick and exits with 0', async () => {
    const auditing = system.cli('audit', '--seconds', '8', '--json');
    const leaving = take(workers, 'worker-4');
    leaving.signal('SIGTERM');
    assert.equal(await leaving.end(), 0, leaving.tail());
    await system.watching(workers.values(), 30);
    assertNoFault(await auditing);
  });

  test('rows added are picked up within a second or so, and shares differ by at most one', async () => {
    await system.cli('rows', 'add', '31');
    await system.watching(workers.values(), 61);
    await system.cli('rows', 'remove', '31');
  });

  test('the rows of a killed worker go to the others at the lease at the latest, none ticked twice', async () => {
    const auditing = system.cli('audit', '--seconds', '8', '--json');
    take(workers, 'worker-2').signal('SIGKILL');
    await system.watching(workers.values(), 30);
    const { json } = await auditing;
    assert.equal(json[0]?.double, 0);
    // Two rows' worth of seconds for each of its ten rows would already be a late takeover.
    assert.ok(Number(json[0]?.missed) <= 40, `missed ${json[0]?.missed}`);
    workers.set('worker-2', system.worker('worker-2'));
  });

  test('a frozen worker is taken over from; thawed, it ticks nothing twice and shares again', async () => {
    const frozen = workers.get('worker-3');
    assert.ok(frozen);
    const auditing = system.cli('audit', '--seconds', '12', '--json');
    frozen.signal('SIGSTOP');
    await system.watching(without(workers, 'worker-3').values(), 30);
    frozen.signal('SIGCONT');
    await system.watching(workers.values(), 30);
    const { json } = await auditing;
    assert.equal(json[0]?.double, 0);
  });

  test('when the leader is killed rows tick on, a standby leads, and plans the next change', async () => {
    const auditing = system.cli('audit', '--seconds', '8', '--json');
    leader.signal('SIGKILL');
    await standby.waitFor('leading', ({ msg }) => msg === 'leading');
    assertNoFault(await auditing);
    const from = standby.lines.length;
    const leaving = take(workers, 'worker-1');
    leaving.signal('SIGTERM');
    const planned = await standby.waitFor('a new ring', ({ msg }) => msg === 'ring published', from);
    assert.match(String(planned.cause), /worker-left worker-1/);
    assert.equal(await leaving.end(), 0);
    workers.set('worker-1', system.worker('worker-1'));
  });

  test('each disruption is summed up once, with its phases, by the command line and by the leader', async () => {
    const summed = await eventually('a departure summed up', async () => {
      const { json } = await system.cli('recoveries', '--limit', '50', '--json');
      const list = json as unknown as Recovery[];
      return list.some(({ cause }) => cause.worker === 'worker-1' && cause.kind === 'worker-left') ? list : null;
    });
    const names = summed.map(({ epoch, version }) => `${epoch}.${version}`);
    assert.equal(new Set(names).size, names.length);
    const killed = summed.find(({ cause }) => cause.worker === 'worker-2' && cause.kind === 'worker-left');
    assert.ok(killed);
    assert.deepEqual([killed.isComplete, killed.missing, killed.workers], [true, [], 2]);
    for (const ms of Object.values(killed.phases)) assert.ok(ms === null || ms >= 0);
    assert.notEqual(killed.phases.total, null);
    const { port } = await standby.waitFor('its port', ({ msg }) => /^serving the API/.test(msg ?? ''));
    const recent = (await (await fetch(`http://127.0.0.1:${port}/api/recoveries`)).json()) as Recovery[];
    assert.deepEqual(
      recent[0],
      summed.find(({ epoch, version }) => epoch === recent[0]?.epoch && version === recent[0]?.version),
    );
    const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    assert.match(metrics, /coordinator_recovery_seconds_count\{phase="total",cause="worker-left"\} [1-9]/);
  });

  test('rows at NULL or the largest integer are reported and skipped, the others go on', async () => {
    const client = new Client({ connectionString: system.databaseUrl });
    await client.connect();
    try {
      const { rows } = await client.query<{ id: string }>(
        'UPDATE public.work_items SET value = 2147483647 WHERE id = (SELECT min(id::text)::uuid FROM public.work_items) RETURNING id',
      );
      const reports = [...workers.values()].map((worker) =>
        worker.waitFor(
          'the report',
          ({ msg, id, reason }) => /^row blocked/.test(msg ?? '') && id === rows[0]?.id && reason === 'exhausted',
        ),
      );
      await Promise.any(reports);
      for (const report of reports) report.catch(() => {});
      const audit = await system.cli('audit', '--seconds', '3', '--json');
      assert.deepEqual(pick(audit.json[0], ['missed', 'double', 'exhausted']), { missed: 0, double: 0, exhausted: 1 });
      await client.query('UPDATE public.work_items SET value = 0 WHERE value = 2147483647');
    } finally {
      await client.end();
    }
  });

  test('the owner of a row is the same by ring and by fence', async () => {
    const [worker] = [...workers.values()];
    const { ids } = await nextWatching(worker);
    const owner = await system.cli('owner', ids[0] ?? '', '--json');
    assert.equal(owner.code, 0, owner.text);
    assert.equal(owner.json[0]?.agree, true);
  });

  test('a plan changes nothing, and says what would move', async () => {
    const plan = await system.cli('plan', '--join', '2', '--json');
    assert.equal(plan.code, 0, plan.text);
    const [planned] = plan.json as unknown as { workers: unknown[] }[];
    assert.equal(planned?.workers.length, workers.size + 2);
    await system.watching(workers.values(), 30);
  });
});

function without(workers: ReadonlyMap<string, ServiceProcess>, id: string): Map<string, ServiceProcess> {
  return new Map([...workers].filter(([key]) => key !== id));
}

function take(workers: Map<string, ServiceProcess>, id: string): ServiceProcess {
  const worker = workers.get(id);
  assert.ok(worker);
  workers.delete(id);
  return worker;
}

async function nextWatching(worker: ServiceProcess | undefined): Promise<{ ids: string[] }> {
  assert.ok(worker);
  const line = await worker.waitFor('a watching line', ({ msg }) => msg === 'watching', worker.lines.length);
  return { ids: line.ids as string[] };
}

function assertNoFault(audit: Awaited<ReturnType<TestSystem['cli']>>): void {
  assert.deepEqual(
    pick(audit.json[0], ['missed', 'double', 'unowned']),
    { missed: 0, double: 0, unowned: 0 },
    audit.text,
  );
}

function pick(line: Readonly<Record<string, unknown>> | undefined, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(names.map((name) => [name, line?.[name]]));
}
