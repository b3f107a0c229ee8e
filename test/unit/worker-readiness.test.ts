import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { WorkerEffect, WorkerEvent, WorkerReport } from '../../services/worker/protocol.ts';
import {
  FRESH_MS,
  judgeWorker,
  NOT_READY_YET,
  type Readiness,
  type WorkerFacts,
  watchServers,
} from '../../services/worker/readiness.ts';

const RUNNING: WorkerFacts = {
  stage: 'running',
  isLeaving: false,
  isRegistered: true,
  hasRing: true,
  natsPrefix: '',
  rows: 10,
  claiming: null,
  nowMs: 0,
};
const TICK: WorkerEffect = { kind: 'tick', lane: 'round', tick: 1, slots: [0] };

/** A worker that did a round at 1,000 ms. */
class WatchedWorker {
  state: Readiness = NOT_READY_YET;
  readonly reports: WorkerReport[] = [];

  constructor() {
    this.step({ kind: 'wake' }, 0);
    this.step({ kind: 'wake' }, 1_000, { lastTick: 1 });
  }

  step(event: WorkerEvent, nowMs: number, more: { effects?: readonly WorkerEffect[]; lastTick?: number } = {}): void {
    const { effects = [], lastTick = this.state.lastTick } = more;
    const { state, reports } = watchServers(this.state, { event, effects, lastTick }, nowMs);
    this.state = state;
    this.reports.push(...reports);
  }

  reason(nowMs: number, facts: Partial<WorkerFacts> = {}): string | null {
    return judgeWorker(this.state, { ...RUNNING, ...facts, nowMs })?.reason ?? null;
  }
}

describe('a worker', () => {
  test('is ready for three seconds after each whole round', () => {
    const worker = new WatchedWorker();
    assert.equal(worker.reason(1_000 + FRESH_MS), null);
    assert.equal(worker.reason(1_001 + FRESH_MS), 'no whole round of ticks for 3.0 s');
    worker.step({ kind: 'wake' }, 6_000, { lastTick: 6 });
    assert.equal(worker.reason(6_000), null);
  });

  test("passes on Postgres' words while its rounds fail, and says since when", () => {
    const worker = new WatchedWorker();
    const reason = 'relation "scaler.slot" does not exist (42P01)';
    worker.step({ kind: 'tick-failed', lane: 'round', tick: 2, slots: [0], reason }, 2_000);
    assert.equal(worker.reason(2_000), null, 'the last tick is still fresh');
    assert.equal(worker.reason(5_000), `no whole round of ticks for 4.0 s; Postgres: ${reason}`);
    assert.equal(judgeWorker(worker.state, { ...RUNNING, nowMs: 5_000 })?.sinceMs, 1_000);
  });

  test('reports a silent Postgres after two seconds, and says how long it has been silent', () => {
    const worker = new WatchedWorker();
    worker.step({ kind: 'wake' }, 2_000, { effects: [TICK] });
    worker.step({ kind: 'wake' }, 3_999);
    assert.deepEqual(worker.reports, []);
    worker.step({ kind: 'wake' }, 4_000);
    const began = { kind: 'trouble-began', server: 'Postgres', what: 'tick', reason: 'no answer for 2.0 s' };
    assert.deepEqual(worker.reports, [began]);
    assert.equal(worker.reason(6_000), 'no whole round of ticks for 5.0 s; Postgres: no answer for 4.0 s');
  });

  test('reports one trouble for all statements that fail in an outage', () => {
    const worker = new WatchedWorker();
    const reason = 'connect ECONNREFUSED';
    for (let nowMs = 2_000; nowMs < 12_000; nowMs += 250) {
      worker.step({ kind: 'clock-failed', reason }, nowMs);
      worker.step({ kind: 'tick-failed', lane: 'round', tick: 2, slots: [], reason }, nowMs);
      worker.step({ kind: 'claim-failed', order: { epoch: 1, version: 1 }, reason }, nowMs);
    }
    worker.step({ kind: 'clock-measured', serverMs: 0, sentMs: 0, receivedMs: 0 }, 12_000);
    worker.step({ kind: 'rebased', slots: 0 }, 12_000);
    assert.equal(worker.reports.length, 1, 'ticks and claims still fail');
    const result = { stamped: 0, rows: 0 } as Extract<WorkerEvent, { kind: 'ticked' }>['result'];
    worker.step({ kind: 'ticked', lane: 'round', tick: 12, slots: [], result }, 12_100);
    worker.step({ kind: 'claimed', order: { epoch: 1, version: 1 }, result: { claimed: [], refused: [] } }, 12_200);
    worker.step({ kind: 'wake' }, 16_000);
    assert.deepEqual(worker.reports[1], {
      kind: 'trouble-ended',
      server: 'Postgres',
      reason,
      failures: 120,
      tookMs: 10_200,
    });
    assert.equal(worker.reports.length, 2);
  });

  test('stays ready without NATS while it ticks its rows, but not if it has none and cannot read the ring', () => {
    const worker = new WatchedWorker();
    worker.step({ kind: 'disconnected' }, 1_100);
    worker.step({ kind: 'renewal-failed', reason: 'not connected to NATS' }, 1_200);
    worker.step({ kind: 'newest-failed', reason: 'no answer in time' }, 1_300);
    assert.equal(worker.reason(2_000), null);
    assert.equal(worker.reason(2_000, { rows: 0 }), 'no rows, and the ring cannot be read; NATS: no answer in time');
    worker.step({ kind: 'newest-read', snapshot: null }, 2_100);
    assert.equal(worker.reason(2_200, { rows: 0 }), null);
  });

  test('names what is missing before it is ready for the first time', () => {
    const worker = new WatchedWorker();
    const ring = { hasRing: false, isRegistered: false };
    assert.equal(worker.reason(1_100, ring), 'no ring snapshot yet; waiting for a leader');
    const blue = { ...ring, natsPrefix: 'blue' };
    assert.equal(worker.reason(1_100, blue), 'no ring snapshot yet; waiting for a leader under NATS prefix "blue"');
    assert.equal(worker.reason(1_100, { isRegistered: false }), 'not registered yet');
    worker.step({ kind: 'renewal-failed', reason: 'insufficient resources (10023)' }, 1_100);
    assert.equal(
      worker.reason(1_200, { isRegistered: false }),
      'not registered yet; NATS: insufficient resources (10023)',
    );
    const claiming = { slots: 7, sinceMs: 1_000 };
    assert.match(worker.reason(1_100, { ...ring, claiming }) ?? '', /^7 slots of the newest snapshot/);
    assert.equal(judgeWorker(NOT_READY_YET, RUNNING)?.reason, 'no round of ticks done yet');
  });

  test('is not ready while slots that it was given are not claimed for three seconds', () => {
    const worker = new WatchedWorker();
    const claiming = { slots: 3, sinceMs: 900 };
    assert.equal(worker.reason(900 + FRESH_MS, { claiming }), null);
    assert.equal(worker.reason(901 + FRESH_MS, { claiming }), '3 slots of the newest snapshot are not claimed yet');
  });

  test('is not ready while it leaves', () => {
    const worker = new WatchedWorker();
    assert.equal(worker.reason(1_100, { isLeaving: true }), 'leaving: its rows are being handed over');
  });
});
