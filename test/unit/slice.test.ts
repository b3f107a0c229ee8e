import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  failClaim,
  finishClaim,
  loseSlots,
  mergeSlots,
  NO_SLICE,
  receiveSnapshot,
  retryClaim,
  type SliceState,
  sliceWakeAtMs,
} from '../../services/worker/slice.ts';
import type { Order } from '../../shared/ring/snapshot.ts';
import { makeClaim, makeSnapshotOf, type Shares } from '../support/machine-fixtures.ts';

const order = (epoch: number, version: number): Order => ({ epoch, version });
const snapshot = (epoch: number, version: number, shares: Shares) => makeSnapshotOf(order(epoch, version), shares);

/** A slice on which the snapshot is applied already. */
function applied(epoch: number, version: number, shares: Shares, before: SliceState = NO_SLICE): SliceState {
  const ring = snapshot(epoch, version, shares);
  const begun = receiveSnapshot(before, ring, 'a', 0);
  if (begun.applied !== null) return begun.state;
  return finishClaim(begun.state, { order: ring, result: makeClaim(shares.a ?? []) }, 'a', 0).state;
}

describe('slice: applying snapshots', () => {
  it('DESIGN §7: claims first, and swaps slice and version in one assignment when the claim is done', () => {
    const ring = snapshot(1, 1, { a: [0, 2], b: [1] });
    const begun = receiveSnapshot(NO_SLICE, ring, 'a', 10);
    assert.deepEqual(begun.effects, [{ kind: 'claim', order: order(1, 1), slots: [0, 2] }]);
    assert.equal(begun.applied, null);
    assert.deepEqual([begun.state.applied, begun.state.slots], [null, []]);

    const done = finishClaim(begun.state, { order: order(1, 1), result: makeClaim([0, 2]) }, 'a', 16);
    assert.deepEqual(done, {
      state: { ...NO_SLICE, applied: ring, slots: [0, 2] },
      effects: [],
      applied: { snapshot: ring, gained: [0, 2], lost: [], tookMs: 6 },
    });
  });

  it('DESIGN §7: ignores a snapshot that is not above the applied (epoch, version)', () => {
    const state = applied(2, 5, { a: [0] });
    for (const [epoch, version] of [
      [2, 5],
      [2, 4],
      [1, 99],
    ] as const) {
      const step = receiveSnapshot(state, snapshot(epoch, version, { a: [1] }), 'a', 1);
      assert.deepEqual(step, { state, effects: [], applied: null });
    }
  });

  it('DESIGN §4: a later epoch goes before a higher version', () => {
    const step = receiveSnapshot(applied(2, 50, { a: [0] }), snapshot(3, 1, { a: [0, 1] }), 'a', 1);
    assert.deepEqual(step.effects, [{ kind: 'claim', order: order(3, 1), slots: [0, 1] }]);
  });

  it('DESIGN §7: of several snapshots that wait only the newest is applied', () => {
    let { state } = receiveSnapshot(NO_SLICE, snapshot(1, 1, { a: [0] }), 'a', 0);
    for (const version of [2, 4, 3]) {
      const step = receiveSnapshot(state, snapshot(1, version, { a: [version] }), 'a', 1);
      assert.deepEqual(step.effects, []);
      state = step.state;
    }
    const done = finishClaim(state, { order: order(1, 1), result: makeClaim([0]) }, 'a', 2);
    assert.equal(done.state.applied?.version, 1);
    assert.equal(done.applied?.snapshot.version, 1);
    assert.deepEqual(done.effects, [{ kind: 'claim', order: order(1, 4), slots: [4] }]);
    assert.equal(done.state.waiting, null);
    assert.equal(done.state.applying?.snapshot.version, 4);
  });

  it('claims only what is new where the snapshot follows on the one applied, and nothing where nothing is', () => {
    const state = applied(1, 1, { a: [0, 1] });
    const step = receiveSnapshot(state, snapshot(1, 2, { a: [0, 1, 5] }), 'a', 1);
    assert.deepEqual(step.effects, [{ kind: 'claim', order: order(1, 2), slots: [5] }]);
    const done = finishClaim(step.state, { order: order(1, 2), result: makeClaim([5]) }, 'a', 2);
    assert.deepEqual([done.applied?.gained, done.state.slots], [[5], [0, 1, 5]]);

    const ring = snapshot(1, 2, { a: [0], b: [1] });
    const shrunk = receiveSnapshot(state, ring, 'a', 1);
    assert.deepEqual(shrunk.effects, []);
    assert.deepEqual(shrunk.applied, { snapshot: ring, gained: [], lost: [1], tookMs: 0 });
  });

  it('claims all after a gap and in another epoch: what never came may have given away what it has again now', () => {
    const state = applied(1, 1, { a: [0, 1] });
    for (const [epoch, version] of [
      [1, 3],
      [2, 2],
    ] as const) {
      const step = receiveSnapshot(state, snapshot(epoch, version, { a: [0, 1] }), 'a', 1);
      assert.deepEqual(step.effects, [{ kind: 'claim', order: order(epoch, version), slots: [0, 1] }]);
    }
  });

  it('claims again with the next snapshot what the fence last said is another worker’s', () => {
    const state = applied(1, 1, { a: [0, 1, 2] });
    const claimsOf = (before: SliceState) => receiveSnapshot(before, snapshot(1, 2, { a: [0, 1, 3] }), 'a', 1).effects;
    const lost = loseSlots(state, [1, 2]).state;
    assert.deepEqual(claimsOf(lost), [{ kind: 'claim', order: order(1, 2), slots: [1, 3] }]);
    const refused = finishClaim(lost, { order: order(1, 1), result: makeClaim([2], 0, [1]) }, 'a', 1).state;
    assert.deepEqual(refused.contested, [1]);
    assert.deepEqual(claimsOf(refused), [{ kind: 'claim', order: order(1, 2), slots: [1, 3] }]);
    const again = finishClaim(lost, { order: order(1, 1), result: makeClaim([1, 2]) }, 'a', 1).state;
    assert.deepEqual(claimsOf(again), [{ kind: 'claim', order: order(1, 2), slots: [3] }]);
  });

  it('a slot refused with a snapshot is claimed again with the next, and no more once it is claimed', () => {
    const begun = receiveSnapshot(NO_SLICE, snapshot(1, 1, { a: [0, 1] }), 'a', 0).state;
    const refused = finishClaim(begun, { order: order(1, 1), result: makeClaim([0], 0, [1]) }, 'a', 0).state;
    const next = receiveSnapshot(refused, snapshot(1, 2, { a: [0, 1] }), 'a', 1);
    assert.deepEqual(next.effects, [{ kind: 'claim', order: order(1, 2), slots: [1] }]);
    const done = finishClaim(next.state, { order: order(1, 2), result: makeClaim([1]) }, 'a', 1).state;
    assert.deepEqual(receiveSnapshot(done, snapshot(1, 3, { a: [0, 1] }), 'a', 2).effects, []);
  });

  it('needs no claim for a snapshot that gives it nothing', () => {
    const ring = snapshot(1, 2, { b: [0, 1] });
    const step = receiveSnapshot(applied(1, 1, { a: [0, 1] }), ring, 'a', 5);
    assert.deepEqual(step.effects, []);
    assert.deepEqual(step.applied, { snapshot: ring, gained: [], lost: [0, 1], tookMs: 0 });
    assert.deepEqual([step.state.slots, step.state.lingering], [[], [0, 1]]);
  });

  it('applies a waiting snapshot that gives it nothing in the step that ends the claim before', () => {
    const begun = receiveSnapshot(NO_SLICE, snapshot(1, 1, { a: [0] }), 'a', 0);
    const waits = receiveSnapshot(begun.state, snapshot(1, 2, { b: [0] }), 'a', 1);
    const done = finishClaim(waits.state, { order: order(1, 1), result: makeClaim([0]) }, 'a', 2);
    assert.equal(done.state.applied?.version, 2);
    assert.deepEqual([done.state.slots, done.state.lingering, done.state.applying], [[], [0], null]);
  });

  it('tells in one report what two snapshots gave that are applied in one step', () => {
    const begun = receiveSnapshot(applied(1, 1, { a: [0, 7] }), snapshot(1, 2, { a: [0, 5, 6, 7] }), 'a', 1);
    const newest = snapshot(1, 3, { a: [0, 5], b: [6, 7] });
    const waits = receiveSnapshot(begun.state, newest, 'a', 3);
    const done = finishClaim(waits.state, { order: order(1, 2), result: makeClaim([5, 6]) }, 'a', 11);
    assert.deepEqual(done.applied, { snapshot: newest, gained: [5], lost: [7], tookMs: 10 });
    assert.deepEqual([done.state.slots, done.state.lingering, done.effects], [[0, 5], [6, 7], []]);
  });

  it('claims at once, when a claim ends, what was disputed meanwhile and not part of it', () => {
    const begun = receiveSnapshot(applied(1, 1, { a: [0, 1] }), snapshot(1, 2, { a: [0, 1, 5, 6] }), 'a', 1);
    const disputed = loseSlots(begun.state, [1]).state;
    const done = finishClaim(disputed, { order: order(1, 2), result: makeClaim([5], 0, [6]) }, 'a', 2);
    assert.deepEqual(done.effects, [{ kind: 'claim', order: order(1, 2), slots: [1] }]);
    assert.deepEqual([done.state.contested, done.state.reclaiming], [[1, 6], true]);
  });
});

describe('slice: claims that fail', () => {
  const ring = snapshot(1, 1, { a: [0] });

  it('tries a failed claim again, waiting twice as long each time, a second at most; the old slice stays in force', () => {
    let { state } = receiveSnapshot(applied(1, 0, { a: [7] }), ring, 'a', 0);
    let nowMs = 0;
    for (const delayMs of [50, 100, 200, 400, 800, 1_000, 1_000]) {
      state = failClaim(state, order(1, 1), 'a', nowMs).state;
      assert.equal(sliceWakeAtMs(state), nowMs + delayMs);
      assert.deepEqual(retryClaim(state, nowMs + delayMs - 1), { state, effects: [], applied: null });
      nowMs += delayMs;
      const retried = retryClaim(state, nowMs);
      assert.deepEqual(retried.effects, [{ kind: 'claim', order: order(1, 1), slots: [0] }]);
      state = retried.state;
      assert.equal(sliceWakeAtMs(state), null);
      assert.deepEqual(state.slots, [7]);
    }
  });

  it('goes over to the newer snapshot that waits instead of trying the old claim again', () => {
    const begun = receiveSnapshot(NO_SLICE, ring, 'a', 0);
    const waits = receiveSnapshot(begun.state, snapshot(1, 2, { a: [3] }), 'a', 1);
    const step = failClaim(waits.state, order(1, 1), 'a', 2);
    assert.deepEqual(step.effects, [{ kind: 'claim', order: order(1, 2), slots: [3] }]);
    assert.equal(step.state.applied, null);
    assert.equal(step.state.waiting, null);
  });

  it('an answer to a claim of another order does not finish the one under way', () => {
    const { state } = receiveSnapshot(NO_SLICE, ring, 'a', 0);
    assert.deepEqual(finishClaim(state, { order: order(1, 9), result: makeClaim([0]) }, 'a', 1).state, state);
    assert.deepEqual(failClaim(state, order(1, 9), 'a', 1).state, state);
  });
});

describe('slice: slots given away and slots in dispute', () => {
  it('DESIGN §7: a slot given away lingers until the fence names another', () => {
    const state = applied(1, 2, { a: [0], b: [1, 2] }, applied(1, 1, { a: [0, 1, 2] }));
    assert.deepEqual([state.slots, state.lingering], [[0], [1, 2]]);
    const step = loseSlots(state, [1]);
    assert.deepEqual(step, { state: { ...state, lingering: [2] }, effects: [], applied: null, disputed: [] });
  });

  it('a lingering slot that comes back is mine again and lingers no more', () => {
    const away = applied(1, 2, { a: [0], b: [1] }, applied(1, 1, { a: [0, 1] }));
    const back = applied(1, 3, { a: [0, 1] }, away);
    assert.deepEqual([back.slots, back.lingering], [[0, 1], []]);
  });

  it('DESIGN §5: fewer slots stamped than asked: claims again at the applied order and reads the newest', () => {
    const state = applied(4, 2, { a: [0, 1, 2] });
    const step = loseSlots(state, [1, 2]);
    assert.deepEqual(step, {
      state: { ...state, contested: [1, 2], reclaiming: true },
      effects: [{ kind: 'claim', order: order(4, 2), slots: [1, 2] }, { kind: 'read-newest' }],
      applied: null,
      disputed: [1, 2],
    });
  });

  it('claims disputed slots once at a time, and again once that claim is answered', () => {
    const disputed = loseSlots(applied(4, 2, { a: [0, 1] }), [1]).state;
    const again = loseSlots(disputed, [1]);
    assert.deepEqual([again.effects, again.disputed], [[], [1]]);
    for (const answered of [
      finishClaim(disputed, { order: order(4, 2), result: makeClaim([], 0, [1]) }, 'a', 1),
      failClaim(disputed, order(4, 2), 'a', 1),
    ]) {
      assert.equal(answered.applied, null);
      assert.equal(answered.state.reclaiming, false);
      assert.equal(loseSlots(answered.state, [1]).effects.length, 2);
    }
  });

  it('claims nothing again while a newer snapshot is being applied: its claim decides', () => {
    const begun = receiveSnapshot(applied(1, 1, { a: [0, 1] }), snapshot(1, 2, { a: [0, 2], b: [1] }), 'a', 0);
    const step = loseSlots(begun.state, [1]);
    assert.deepEqual([step.effects, step.disputed], [[], [1]]);
  });

  it('the answer to a claim of disputed slots does not end the claim of a snapshot that came meanwhile', () => {
    const disputed = loseSlots(applied(1, 1, { a: [0, 1] }), [1]).state;
    const begun = receiveSnapshot(disputed, snapshot(1, 2, { a: [0, 2] }), 'a', 0);
    const answered = finishClaim(begun.state, { order: order(1, 1), result: makeClaim([1]) }, 'a', 1);
    assert.equal(answered.state.reclaiming, false);
    assert.equal(answered.state.applying?.snapshot.version, 2);
  });
});

describe('slice: sorted sets', () => {
  it('merges sorted and without doubles, leaving out what is excluded', () => {
    assert.deepEqual(mergeSlots([1, 10], [2, 10, 30], [2]), [1, 10, 30]);
    assert.deepEqual(mergeSlots([], []), []);
  });
});
