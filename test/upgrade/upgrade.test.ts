/**
 * Upgrades a running system of a former version, one service at a time, while every row is audited. Each new service starts
 * beside the one that it replaces, which then gets SIGTERM, as a rolling update does it. Needs a checkout of the former
 * version with its dependencies, so it is not part of `npm test`:
 *
 *   git worktree add ../former <commit> && npm ci --prefix ../former
 *   UPGRADE_FROM=../former npm test -- test/upgrade/upgrade.test.ts
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { AuditedSystem, assertSound } from '../support/audited-system.ts';
import type { ServiceProcess } from '../support/service-process.ts';

const ROWS = 300;
const WORKERS = 3;
const COORDINATORS = 2;

const former = resolve(process.env.UPGRADE_FROM ?? '');
assert.ok(
  process.env.UPGRADE_FROM && existsSync(resolve(former, 'services/worker/main.ts')),
  'UPGRADE_FROM: expected the folder of a checkout of the former version',
);

describe('a running system changes its version without a missed or doubled tick', { timeout: 200_000 }, () => {
  let audited: AuditedSystem;

  before(async () => {
    audited = await AuditedSystem.start({ rows: ROWS, workers: WORKERS, coordinators: COORDINATORS, from: former });
  });

  after(() => audited?.stop());

  test('from the former version, the coordinators first', () => change('new', ['coordinator', 'worker']));

  test('back to the former version, the workers first', () => change('former', ['worker', 'coordinator'], former));

  test('once more to this version, the workers first', () => change('again', ['worker', 'coordinator']));

  async function change(name: string, order: readonly ('coordinator' | 'worker')[], root?: string): Promise<void> {
    const finish = await audited.audit();
    for (const service of order) {
      const fleet = service === 'worker' ? audited.workers : audited.coordinators;
      for (const [index, id] of [...fleet.keys()].entries()) {
        audited.add(service, `${service}-${name}-${index + 1}`, root);
        await audited.shared();
        await leave(fleet, id);
        await audited.shared();
      }
    }
    await audited.auditor.addRows(WORKERS);
    await audited.auditor.removeRows(WORKERS);
    await audited.ticking();
    const { missed } = assertSound(await finish());
    assert.equal(missed, 0);
  }

  async function leave(fleet: Map<string, ServiceProcess>, id: string): Promise<void> {
    const leaving = fleet.get(id);
    assert.ok(leaving);
    fleet.delete(id);
    leaving.signal('SIGTERM');
    assert.equal(await leaving.end(), 0, leaving.tail());
  }
});
