import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { describeForgedEpoch, planOffice } from '../../services/coordinator/office.ts';
import {
  doubtOrder,
  findEpochFloor,
  HIGHEST_HONEST,
  LONGEST_EPOCH_LEAP,
  LONGEST_VERSION_LEAP,
} from '../../shared/ring/issued-order.ts';
import { decodeSnapshot, encodeSnapshot } from '../../shared/ring/snapshot.ts';
import { makeSnapshotOf } from '../support/machine-fixtures.ts';

const LARGEST = Number.MAX_SAFE_INTEGER;

describe('an order', () => {
  const issued = { epoch: 5, version: 100 };
  for (const { order, doubt } of [
    { order: { epoch: 5, version: 101 }, doubt: null },
    { order: { epoch: 1, version: 1 }, doubt: null },
    { order: { epoch: 5, version: 100 + LONGEST_VERSION_LEAP }, doubt: null },
    { order: { epoch: 5, version: 101 + LONGEST_VERSION_LEAP }, doubt: 'version-leap' },
    { order: { epoch: 4, version: LARGEST }, doubt: 'version-leap' },
    { order: { epoch: 6, version: 101 }, doubt: 'epoch-not-issued' },
    { order: { epoch: LARGEST, version: LARGEST }, doubt: 'epoch-not-issued' },
    { order: { epoch: 0, version: 1 }, doubt: 'epoch-not-issued' },
  ]) {
    it(`(${order.epoch}, ${order.version}) ${doubt === null ? 'can be honest' : `is doubted: ${doubt}`}`, () => {
      assert.equal(doubtOrder(order, issued), doubt);
    });
  }

  for (const value of ['9007199254740992', '1.5', '-1', '"7"', '1e400', 'null']) {
    it(`with an epoch or version of ${value} is not even decoded`, () => {
      const text = new TextDecoder().decode(encodeSnapshot(makeSnapshotOf({ epoch: 77, version: 88 }, { a: [0] })));
      for (const number of ['77', '88']) {
        const bytes = new TextEncoder().encode(text.replace(number, value));
        assert.equal(decodeSnapshot(bytes, { slots: null }).ok, false);
      }
    });
  }
});

describe("a new term's epoch", () => {
  it('is above the epochs in the stream and in the fence, as after a restore of Postgres', () => {
    const found = { stream: { epoch: 50, version: 1 }, fence: { epoch: 45, version: 1 }, issuedEpoch: 40 };
    assert.equal(findEpochFloor(found), 50);
    assert.equal(findEpochFloor({ ...found, stream: null }), 45);
    assert.equal(findEpochFloor({ ...found, stream: null, fence: null }), 40);
  });

  it('is not raised above a stream that no restore can explain', () => {
    const found = { fence: { epoch: 45, version: 1 }, issuedEpoch: 40 };
    const at = (epoch: number) => findEpochFloor({ ...found, stream: { epoch, version: 1 } });
    assert.deepEqual([at(45 + LONGEST_EPOCH_LEAP), at(46 + LONGEST_EPOCH_LEAP)], [45 + LONGEST_EPOCH_LEAP, 45]);
    assert.equal(at(LARGEST), 45);
  });

  it('is refused with the remedy where a forged one reached Postgres', () => {
    assert.equal(describeForgedEpoch(HIGHEST_HONEST), null);
    assert.match(describeForgedEpoch(LARGEST) ?? '', /got 9007199254740991.*docs\/operations\.md/);
  });
});

describe('taking office', () => {
  const newest = { sequence: 9, snapshot: makeSnapshotOf({ epoch: 5, version: 12 }, { a: [0] }) };
  const found = { newest, fence: { epoch: 5, version: 11 }, lastEpoch: 5, lapsedEpoch: null };

  it('builds on a newest snapshot that can be honest', () => {
    assert.deepEqual(planOffice(found), { newest, rejected: null, isResumed: false, above: 5 });
    assert.equal(planOffice({ ...found, lapsedEpoch: 5 }).isResumed, true);
    assert.equal(planOffice({ ...found, lapsedEpoch: 5, lastEpoch: 6 }).isResumed, false);
  });

  it('keeps the place of one that cannot be, and nothing of its content', () => {
    for (const order of [
      { epoch: 6, version: 13 },
      { epoch: LARGEST, version: 13 },
      { epoch: 5, version: LARGEST },
    ]) {
      const plan = planOffice({
        ...found,
        newest: { sequence: 9, snapshot: { ...newest.snapshot, ...order } },
        lapsedEpoch: 5,
      });
      assert.deepEqual(plan.newest, { sequence: 9, snapshot: null });
      assert.deepEqual([plan.rejected?.epoch, plan.rejected?.version], [order.epoch, order.version]);
      assert.deepEqual([plan.isResumed, plan.above], [false, order.epoch === 6 ? 6 : 5]);
    }
  });
});
