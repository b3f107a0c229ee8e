import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  advancePlanner,
  announceTerm,
  doubtPublish,
  finishPublish,
  noteMemberChange,
  noteResize,
  type PlannerContext,
  type PlannerState,
  planAtMs,
  resolvePublish,
  restorePublished,
  startPlanner,
} from '../../services/coordinator/planner.ts';
import type { Snapshot } from '../../shared/ring/snapshot.ts';
import { assignEvenly } from '../support/machine-fixtures.ts';

const AT = '2026-11-23T10:00:00.000Z';
const ONES = new Float64Array(8).fill(1);

function context(nowMs: number, workers: readonly string[], weights = ONES): PlannerContext {
  return { workers, weights, isUnsettled: false, at: AT, nowMs };
}

function startWith(workers: readonly string[] | null): PlannerState {
  return startPlanner({ epoch: 5, version: 17, sequence: 40, base: workers === null ? null : assignEvenly(workers) });
}

const joined = (worker: string) => ({ kind: 'joined', worker }) as const;
const gone = (worker: string) => ({ kind: 'left', worker, evidence: 'left' }) as const;
const dead = (worker: string) => ({ kind: 'left', worker, evidence: 'connection-closed' }) as const;

function publishingOf(state: PlannerState): Snapshot {
  assert.ok(state.publishing, 'something is being published');
  return state.publishing.snapshot;
}

/** Two workers of whom `b` has left: its snapshot (5, 18) is being published. */
function publishing(): PlannerState {
  return advancePlanner(noteMemberChange(startWith(['a', 'b']), gone('b'), 0), context(20, ['a'])).state;
}

/** The same, published at sequence 41. */
function settled(): PlannerState {
  return finishPublish(publishing(), { order: { epoch: 5, version: 18 }, sequence: 41 });
}

describe('planner: changes become snapshots', () => {
  it('changes within 5 ms of each other become one snapshot, the first naming it, the others listed', () => {
    let state = noteMemberChange(startWith(['a', 'b']), gone('b'), 100);
    state = noteMemberChange(state, joined('c'), 104);
    state = noteMemberChange(state, joined('d'), 109);
    assert.deepEqual(advancePlanner(state, context(113, ['a', 'c', 'd'])), { state, effects: [] });
    assert.equal(planAtMs(state, { isUnsettled: false }), 114);
    const step = advancePlanner(state, context(114, ['a', 'c', 'd']));
    const snapshot = publishingOf(step.state);
    assert.deepEqual(step.effects, [{ kind: 'publish-snapshot', snapshot, expectedSequence: 40 }]);
    assert.deepEqual(snapshot.cause, {
      kind: 'worker-left',
      worker: 'b',
      evidence: 'left',
      others: [
        { kind: 'worker-joined', worker: 'c' },
        { kind: 'worker-joined', worker: 'd' },
      ],
    });
    assert.deepEqual([snapshot.epoch, snapshot.version, snapshot.at, snapshot.rows], [5, 18, AT, 8]);
    assert.deepEqual(
      snapshot.workers.map(({ id }) => id),
      ['a', 'c', 'd'],
    );
  });

  it('DESIGN §6: however many follow each other, none waits longer than 20 ms', () => {
    let state = noteMemberChange(startWith(['a', 'b']), gone('b'), 100);
    for (const nowMs of [104, 108, 112, 116, 119]) state = noteMemberChange(state, joined(`c${nowMs}`), nowMs);
    assert.equal(planAtMs(state, { isUnsettled: true }), 120);
  });

  it('rows without an owner wait for nothing', () => {
    const state = noteMemberChange(startWith(['a', 'b']), dead('b'), 100);
    assert.equal(planAtMs(state, { isUnsettled: false }), 100);
    const snapshot = publishingOf(advancePlanner(state, context(100, ['a'])).state);
    assert.deepEqual(snapshot.cause, { kind: 'worker-left', worker: 'b', evidence: 'connection-closed' });
  });

  it('those who die together become one snapshot: it waits for the suspicions at hand, for 20 ms at most', () => {
    const state = noteMemberChange(startWith(['a', 'b', 'c']), dead('b'), 100);
    const unsettled = { ...context(104, ['a', 'c']), isUnsettled: true };
    assert.deepEqual(advancePlanner(state, unsettled), { state, effects: [] });
    assert.equal(planAtMs(state, unsettled), 120);
    const both = noteMemberChange(state, dead('c'), 105);
    const snapshot = publishingOf(advancePlanner(both, context(105, ['a'])).state);
    assert.deepEqual(snapshot.cause.others, [{ kind: 'worker-left', worker: 'c', evidence: 'connection-closed' }]);
    assert.ok(publishingOf(advancePlanner(state, { ...unsettled, nowMs: 120 }).state));
  });

  it('DESIGN §9: who dies right after another waits for the rest, the longer the more workers there are', () => {
    const crowd = Array.from({ length: 20 }, (_, index) => `w${String(index).padStart(2, '0')}`);
    const first = noteMemberChange(startWith(crowd), dead('w00'), 100);
    const { state } = advancePlanner(first, context(100, crowd.slice(1)));
    let settled = finishPublish(state, { order: publishingOf(state), sequence: 8 });
    settled = noteMemberChange(settled, dead('w01'), 120);
    assert.equal(planAtMs(settled, { isUnsettled: false }), 120 + 68);
    for (const nowMs of [160, 200, 240, 280]) settled = noteMemberChange(settled, dead(`w${nowMs}`), nowMs);
    assert.equal(planAtMs(settled, { isUnsettled: false }), 320, '200 ms at most');
    const later = noteMemberChange(finishPublish(state, { order: publishingOf(state), sequence: 8 }), dead('w01'), 350);
    assert.equal(planAtMs(later, { isUnsettled: false }), 350, 'a death of its own');
  });

  it('a change that was being collected is planned with the urgent one', () => {
    const state = noteMemberChange(noteMemberChange(startWith(['a', 'b']), joined('c'), 100), dead('b'), 105);
    const snapshot = publishingOf(advancePlanner(state, context(105, ['a', 'c'])).state);
    assert.deepEqual([snapshot.cause.kind, snapshot.cause.others?.[0]?.kind], ['worker-joined', 'worker-left']);
  });

  it('DESIGN §3: no change, no snapshot', () => {
    let state = noteMemberChange(startWith(['a', 'b']), gone('b'), 0);
    state = noteMemberChange(state, joined('b'), 5);
    const step = advancePlanner(state, context(20, ['a', 'b']));
    assert.deepEqual(step, { state: { ...state, causes: [], collectingSinceMs: null }, effects: [] });
  });

  it('the first snapshot of all is a bootstrap', () => {
    const state = noteMemberChange(startWith(null), joined('a'), 0);
    const snapshot = publishingOf(advancePlanner(state, context(20, ['a'])).state);
    assert.deepEqual(snapshot.cause, { kind: 'bootstrap', worker: 'a' });
    assert.deepEqual(snapshot.workers, [{ id: 'a', rows: 8, slots: '0-7' }]);
  });

  it('while a snapshot is being published further changes wait for it', () => {
    const state = noteMemberChange(publishing(), joined('c'), 30);
    assert.deepEqual(advancePlanner(state, context(500, ['a', 'c'])), { state, effects: [] });
    const done = finishPublish(state, { order: { epoch: 5, version: 18 }, sequence: 41 });
    const step = advancePlanner(done, context(500, ['a', 'c']));
    assert.deepEqual(publishingOf(step.state).cause, { kind: 'worker-joined', worker: 'c' });
    assert.equal(publishingOf(step.state).version, 19);
    assert.deepEqual(
      step.effects.map((effect) => effect.kind === 'publish-snapshot' && effect.expectedSequence),
      [41],
    );
  });

  it('takes the assignment over only when its snapshot is published', () => {
    const state = publishing();
    assert.deepEqual(state.assignment, assignEvenly(['a', 'b']));
    const done = settled();
    assert.deepEqual(done.assignment?.workers, ['a']);
    assert.deepEqual([done.published, done.sequence, done.publishing], [publishingOf(state), 41, null]);
    assert.equal(finishPublish(state, { order: { epoch: 5, version: 17 }, sequence: 41 }), state);
  });

  it('an answer to a publish of another term finishes nothing', () => {
    const state = publishing();
    assert.equal(finishPublish(state, { order: { epoch: 4, version: 18 }, sequence: 41 }), state);
  });
});

describe('planner: the start of a term', () => {
  it('DESIGN §4: publishes the assignment in force under its epoch; the versions go on above those known', () => {
    const step = announceTerm(startWith(['a', 'b']), context(0, ['a', 'b', 'c']));
    const snapshot = publishingOf(step.state);
    assert.deepEqual([snapshot.epoch, snapshot.version, snapshot.cause], [5, 18, { kind: 'leader-changed' }]);
    assert.deepEqual(snapshot.moved, { slots: 0, rows: 0, minimumRows: 0 });
    assert.deepEqual(step.state.publishing?.assignment, assignEvenly(['a', 'b']));
  });

  it('has nothing to announce where nothing is in force', () => {
    const state = startWith(null);
    assert.deepEqual(announceTerm(state, context(0, ['a'])), { state, effects: [] });
  });
});

describe('planner: growth hysteresis', () => {
  /** `a` has the first half of the slots, `b` the second. */
  function halves(): PlannerState {
    return startPlanner({
      epoch: 5,
      version: 17,
      sequence: 40,
      base: { workers: ['a', 'b'], owners: Int32Array.from([0, 0, 0, 0, 1, 1, 1, 1]) },
    });
  }

  it('DESIGN §3: rows make a new snapshot only beyond one row and 2 % of the mean', () => {
    const state = halves();
    const few = Float64Array.from([2, 1, 1, 1, 1, 1, 1, 1]);
    assert.equal(noteResize(state, few, 0), state);
    const many = Float64Array.from([1_020, 0, 0, 0, 1_000, 0, 0, 0]);
    assert.equal(noteResize(state, many, 0), state);
    const uneven = Float64Array.from([3, 1, 1, 1, 1, 1, 1, 1]);
    const noted = noteResize(state, uneven, 0);
    assert.deepEqual([noted.causes, planAtMs(noted, { isUnsettled: false })], [[{ kind: 'table-resized' }], 0]);
    assert.equal(noteResize(noted, uneven, 5), noted, 'noted once');
    const snapshot = publishingOf(advancePlanner(noted, context(20, ['a', 'b'], uneven)).state);
    assert.deepEqual(snapshot.cause, { kind: 'table-resized' });
    assert.deepEqual(
      snapshot.workers.map(({ rows }) => rows),
      [5, 5],
    );
  });

  it('plans nothing where there is nobody to share among', () => {
    const none = startPlanner({ epoch: 1, version: 0, sequence: 0, base: null });
    assert.equal(noteResize(none, ONES, 0), none);
  });
});

function doubted(state: PlannerState): PlannerState {
  return doubtPublish(state, publishingOf(state));
}

describe('planner: publishing in doubt', () => {
  it('only in doubt: an answer that is still on its way is waited for', () => {
    const state = publishing();
    assert.deepEqual(resolvePublish(state, { sequence: 40, snapshot: null }), { state, effects: [] });
  });

  it('is taken as published where the stream holds it', () => {
    const state = doubted(publishing());
    const step = resolvePublish(state, { sequence: 41, snapshot: publishingOf(state) });
    assert.deepEqual(step, { state: settled(), effects: [] });
  });

  it('is sent again as it was where the stream does not: no two snapshots ever carry one (epoch, version)', () => {
    const sent = noteMemberChange(publishing(), joined('c'), 30);
    const state = doubted(sent);
    for (const sequence of [40, 0]) {
      const step = resolvePublish(state, { sequence, snapshot: null });
      const snapshot = publishingOf(state);
      assert.deepEqual(step.effects, [{ kind: 'publish-snapshot', snapshot, expectedSequence: sequence }]);
      assert.deepEqual(step.state, { ...sent, sequence });
    }
  });

  it('is nothing to resolve where nothing is being published', () => {
    const state = settled();
    assert.deepEqual(resolvePublish(state, { sequence: 9, snapshot: null }), { state, effects: [] });
  });
});

describe('planner: a stream that lost its snapshot', () => {
  it('DESIGN §1: the very same is published again, so that late readers find it', () => {
    const state = settled();
    const step = restorePublished(state, { sequence: 0, snapshot: null });
    assert.deepEqual(step.effects, [{ kind: 'publish-snapshot', snapshot: state.published, expectedSequence: 0 }]);
    const done = finishPublish(step.state, { order: { epoch: 5, version: 18 }, sequence: 1 });
    assert.deepEqual(done, { ...state, sequence: 1 });
  });

  it('also where an older one is the newest there, as after a restore', () => {
    const old = publishingOf(announceTerm({ ...startWith(['a', 'b']), version: 3 }, context(0, ['a', 'b'])).state);
    const step = restorePublished(settled(), { sequence: 12, snapshot: old });
    assert.equal(step.effects.length, 1);
    assert.equal(step.state.sequence, 12);
  });

  it('but not where it is there, nor before the first publish, nor during one', () => {
    const done = settled();
    assert.deepEqual(restorePublished(done, { sequence: 41, snapshot: done.published }).effects, []);
    assert.deepEqual(restorePublished(startWith(['a']), { sequence: 0, snapshot: null }).effects, []);
    assert.deepEqual(restorePublished(publishing(), { sequence: 0, snapshot: null }).effects, []);
  });
});
