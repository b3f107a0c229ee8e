import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Forger } from '../support/forger.ts';
import { eventually, type ServiceProcess } from '../support/service-process.ts';
import { TestSystem } from '../support/test-system.ts';

const ROWS = 12;
const LARGEST = Number.MAX_SAFE_INTEGER;
const HANDBOOK = join(resolve(import.meta.dirname, '../..'), 'docs/operations.md');
const NOTICED = /^forged epochs or versions in scaler\.slot.*docs\/operations\.md/;

/** The statements of the handbook, in their order: to look, and to repair. */
function readHandbook(): readonly string[] {
  const page = readFileSync(HANDBOOK, 'utf8').split('\n## Forged snapshots\n')[1]!;
  return [...page.matchAll(/```sql\n([\s\S]*?)```/g)].map(([, text = '']) => text);
}

/** What an earlier version let a forged snapshot write. */
describe('forged numbers in Postgres', { timeout: 180_000 }, () => {
  let system: TestSystem;
  let forger: Forger;
  let workers: ServiceProcess[] = [];
  const [look = '', repair = ''] = readHandbook();

  before(async () => {
    system = await TestSystem.start();
    const coordinator = system.coordinator('coordinator-1');
    workers = [system.worker('worker-1'), system.worker('worker-2')];
    await eventually(`${ROWS} rows`, async () => (await system.cli('rows', 'add', `${ROWS}`)).code === 0);
    await system.watching(workers, ROWS);
    forger = await Forger.start(system);
    await Promise.all([coordinator, ...workers].map((process) => process.kill()));
    const { epoch } = await forger.newest();
    await forger.publish({ epoch, version: LARGEST });
    await forger.run(`UPDATE scaler.slot SET epoch = ${LARGEST}, version = 7 WHERE slot < 1000;
      UPDATE scaler.slot SET version = ${LARGEST} WHERE slot >= 3000`);
  });

  after(async () => {
    await forger?.stop();
    await system?.stop();
  });

  test('in scaler.slot are reported with the remedy, and the coordinator leads for the other slots', async () => {
    const coordinator = system.coordinator('coordinator-2');
    const line = await coordinator.waitFor('the report', ({ msg }) => NOTICED.test(msg ?? ''));
    assert.deepEqual([line.level, line.slots], ['error', 2096]);
    const { epoch } = await coordinator.waitFor('leading', ({ msg }) => msg === 'leading');
    assert.ok(Number(epoch) < 100);
    await coordinator.kill();
  });

  test('in scaler.adoption are reported with the remedy, and no term begins', async () => {
    await forger.run(`UPDATE scaler.adoption SET epoch = ${LARGEST}; SELECT setval('scaler.epoch', ${LARGEST})`);
    const coordinator = system.coordinator('coordinator-3');
    const line = await coordinator.waitFor('the report', ({ what }) => what === 'take-office');
    assert.match(String(line.reason), /got 9007199254740991.*docs\/operations\.md/);
    assert.equal(
      coordinator.lines.some(({ msg }) => msg === 'leading'),
      false,
    );
    await coordinator.kill();
  });

  test('are found and repaired by the statements of the handbook, and the ring goes on', async () => {
    const found = await forger.ask<Record<string, unknown>>(look);
    assert.deepEqual(Object.values(found).map(String), [
      String(LARGEST),
      String(LARGEST),
      String(LARGEST),
      String(LARGEST),
      '2096',
    ]);
    await forger.run(repair);
    assert.equal(Number((await forger.ask<{ forged_slots: string }>(look)).forged_slots), 0);
    const coordinator = system.coordinator('coordinator-4');
    await coordinator.waitFor('leading', ({ msg }) => msg === 'leading');
    workers = [system.worker('worker-3'), system.worker('worker-4'), system.worker('worker-5')];
    await system.watching(workers, ROWS);
    const audit = await system.cli('audit', '--seconds', '3', '--json');
    assert.deepEqual([audit.code, audit.json[0]?.unowned, audit.json[0]?.double], [0, 0, 0], audit.text);
    const after = await forger.ask<Record<string, unknown>>(look);
    for (const value of Object.values(after)) assert.ok(Number(value) < 1_000, JSON.stringify(after));
    assert.equal(
      coordinator.lines.some(({ msg }) => NOTICED.test(msg ?? '')),
      false,
    );
  });
});
