import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { CoordinatorEffect, CoordinatorEvent, CoordinatorReport } from '../../services/coordinator/protocol.ts';
import {
  type CoordinatorFacts,
  judgeCoordinator,
  NOT_READY_YET,
  type Readiness,
  watchDependencies,
} from '../../services/coordinator/readiness.ts';
import { NO_CARE, type TableCare } from '../../services/coordinator/table-care.ts';

const CHECKED: CoordinatorEvent = { kind: 'table-checked', verdict: { kind: 'sound' } };
const ENTRY = { id: 'c1', epoch: 1, startedAt: '2026-01-01T00:00:00.000Z', revision: 7 };

class WatchedCoordinator {
  state: Readiness = NOT_READY_YET;
  care: TableCare = NO_CARE;
  readonly reports: CoordinatorReport[] = [];

  step(event: CoordinatorEvent, nowMs: number, effects: readonly CoordinatorEffect[] = []): void {
    const { state, reports } = watchDependencies(this.state, { event, effects, care: this.care }, nowMs);
    this.state = state;
    this.reports.push(...reports);
  }

  reason(nowMs: number, facts: Partial<CoordinatorFacts> = {}): string | null {
    const all = { isLeaving: false, isTakingOffice: false, care: this.care, nowMs, ...facts };
    return judgeCoordinator(this.state, all)?.reason ?? null;
  }
}

function standby(): WatchedCoordinator {
  const coordinator = new WatchedCoordinator();
  coordinator.step({ kind: 'leader-read', entry: ENTRY }, 0);
  coordinator.step(CHECKED, 0);
  return coordinator;
}

describe('a coordinator', () => {
  test('is ready once NATS and Postgres have answered, leading or not', () => {
    const coordinator = new WatchedCoordinator();
    coordinator.step({ kind: 'wake' }, 0);
    assert.equal(coordinator.reason(10), 'the leader key has not been read yet');
    coordinator.step({ kind: 'leader-read', entry: ENTRY }, 20);
    assert.equal(coordinator.reason(30), 'Postgres has not answered yet');
    coordinator.step(CHECKED, 40);
    assert.equal(coordinator.reason(50), null);
    assert.match(coordinator.reason(50, { isTakingOffice: true }) ?? '', /^taking office/);
    assert.equal(coordinator.reason(50, { isLeaving: true }), 'leaving');
  });

  test("passes on NATS' words when it cannot store the leader key, until somebody's key is stored", () => {
    const coordinator = standby();
    const reason = 'insufficient resources (10023)';
    for (let nowMs = 100; nowMs < 5_000; nowMs += 250) {
      coordinator.step({ kind: 'leader-written', sentMs: nowMs, outcome: { kind: 'failed', reason } }, nowMs);
      coordinator.step({ kind: 'leader-read', entry: null }, nowMs + 10);
    }
    assert.equal(coordinator.reason(5_000), `NATS: ${reason}`);
    coordinator.step({ kind: 'leader-observed', entry: { ...ENTRY, revision: 8 } }, 5_000);
    assert.equal(coordinator.reason(5_000), null);
    coordinator.step({ kind: 'wake' }, 20_000);
    assert.deepEqual(
      coordinator.reports.map(({ kind }) => kind),
      ['trouble-began', 'trouble-ended'],
    );
  });

  test('reports a Postgres that hangs after two seconds, by its check of the table', () => {
    const coordinator = standby();
    coordinator.step({ kind: 'wake' }, 1_000, [{ kind: 'check-table' }]);
    coordinator.step({ kind: 'wake' }, 3_000);
    assert.deepEqual(coordinator.reports, [
      { kind: 'trouble-began', server: 'Postgres', what: 'check-table', reason: 'no answer for 2.0 s' },
    ]);
    assert.equal(coordinator.reason(4_000), 'Postgres: no answer for 3.0 s');
  });

  test("names whose failure kept it from taking office, in the server's words", () => {
    const coordinator = standby();
    coordinator.step({ kind: 'office-failed', attempt: 1, reason: 'no answer in time', from: 'NATS' }, 100);
    assert.equal(coordinator.reason(100), 'NATS: no answer in time');
  });

  test('reports a damaged table once, and not while it is being mended', () => {
    const coordinator = standby();
    const verdict = { kind: 'mendable', what: 'equipment', reason: 'the table lacks its slot index' } as const;
    const event: CoordinatorEvent = { kind: 'table-checked', verdict };
    coordinator.care = { ...NO_CARE, verdict, isMending: true };
    coordinator.step(event, 100);
    assert.equal(coordinator.reports.length, 0);
    assert.equal(coordinator.reason(100), verdict.reason);
    coordinator.care = { ...NO_CARE, verdict, refusal: 'role "app" lacks this right' };
    coordinator.step(event, 200);
    coordinator.step(event, 1_200);
    assert.deepEqual(
      coordinator.reports.map((report) => report.kind === 'trouble-began' && [report.server, report.reason]),
      [['table', 'role "app" lacks this right']],
    );
  });
});
