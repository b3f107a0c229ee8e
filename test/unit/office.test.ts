import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { planOffice } from '../../services/coordinator/office.ts';
import type { Snapshot } from '../../shared/ring/snapshot.ts';

const snapshot = (version: number): Snapshot => ({
  epoch: 1,
  version,
  at: '2026-11-23T10:00:00.000Z',
  cause: { kind: 'bootstrap' },
  slots: 2,
  rows: 0,
  moved: { slots: 0, rows: 0, minimumRows: 0 },
  workers: [{ id: 'worker-1', rows: 0, slots: '0-1' }],
});

describe('office', () => {
  const lapsed = { lastEpoch: 1, lapsedEpoch: 1 };

  it('resumes a lapsed term where the stream holds the newest snapshot', () => {
    const newest = { sequence: 6, snapshot: snapshot(6) };
    assert.equal(planOffice({ ...lapsed, newest, fence: { epoch: 1, version: 6 } }).isResumed, true);
  });

  it('begins a new term where a restored stream lacks snapshots that slots were claimed by', () => {
    const newest = { sequence: 5, snapshot: snapshot(5) };
    assert.equal(planOffice({ ...lapsed, newest, fence: { epoch: 1, version: 6 } }).isResumed, false);
  });
});
