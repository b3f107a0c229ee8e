import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { AuditedSystem, assertSound } from '../support/audited-system.ts';
import { clockEnvironment } from '../support/clock-environment.ts';
import type { LogLine } from '../support/service-process.ts';

const HOUR_MS = 3_600_000;

/**
 * Ticks are numbered by the database's clock, and everything else is measured by monotonic ones: a wall clock that is an
 * hour off, or is set while the service runs, must not matter. The database's own steps are in the simulation.
 */
describe('a wrong wall clock', { timeout: 240_000 }, () => {
  let system: AuditedSystem;

  before(async () => {
    system = await AuditedSystem.start({ rows: 30, workers: 1, coordinators: 1 });
  });

  after(() => system?.stop());

  test('an hour off at a worker, from the start or set under way, ticks nothing twice and moves no row', async (t) => {
    const ahead = system.addWorker('worker-ahead', clockEnvironment(HOUR_MS));
    const behind = system.addWorker('worker-behind', clockEnvironment(-HOUR_MS));
    const stepping = system.addWorker('worker-stepping', clockEnvironment(0, HOUR_MS, -HOUR_MS, 0));
    await system.shared();
    const findings = await system.audit();
    const rings = system.published().length;
    for (const hours of [1, -1, 0]) {
      const from = stepping.lines.length;
      stepping.signal('SIGUSR2');
      await stepping.waitFor(`ticks by a clock ${hours} h off`, (line) => isWrittenAt(line, hours), from);
    }
    await Promise.all([
      ahead.waitFor('ticks an hour ahead', (line) => isWrittenAt(line, 1)),
      behind.waitFor('ticks an hour behind', (line) => isWrittenAt(line, -1)),
    ]);
    await system.shared();
    const { missed } = assertSound(await findings());
    t.diagnostic(`${missed} ticks missed, ${system.published().length - rings} rings published`);
  });

  test('an hour off at the leader, and set back by two while it leads, leaves it leading and planning', async (t) => {
    const successor = system.addCoordinator('coordinator-2', clockEnvironment(HOUR_MS, -HOUR_MS));
    await successor.waitFor('the standby', ({ msg }) => msg === 'connected to NATS');
    const findings = await system.audit();
    system.coordinators.get('coordinator-1')?.signal('SIGTERM');
    await successor.waitFor('its term', ({ msg }) => /^leading/.test(msg ?? ''));
    successor.signal('SIGUSR2');
    const leaving = system.workers.get('worker-ahead');
    assert.ok(leaving);
    const from = successor.lines.length;
    leaving.signal('SIGTERM');
    assert.equal(await leaving.end(), 0);
    system.workers.delete('worker-ahead');
    await successor.waitFor('its next ring', ({ msg }) => msg === 'ring published', from);
    assert.ok(successor.lines.slice(from).some((line) => offsetHours(line) === -1));
    await system.shared();
    t.diagnostic(`${assertSound(await findings()).missed} ticks missed`);
  });
});

/** How far the clock was off that the line was written by, in whole hours. */
function offsetHours({ time }: LogLine): number {
  return Math.round((Date.parse(String(time)) - Date.now()) / HOUR_MS);
}

function isWrittenAt(line: LogLine, hours: number): boolean {
  return line.msg === 'watching' && offsetHours(line) === hours;
}
