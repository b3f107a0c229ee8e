import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeApplied, encodeApplied, type RingApplied } from '../../shared/nats/ring-applied.ts';

const APPLIED: RingApplied = {
  worker: 'worker-1',
  epoch: 3,
  version: 17,
  claimedMs: 4.25,
  firstTickMs: 9,
  slots: 341,
  rows: 10,
  missed: 0,
};
const read = (value: unknown) => decodeApplied(new TextEncoder().encode(JSON.stringify(value)));

test('What is written is read, with and without a first tick; unknown fields are left out.', () => {
  for (const applied of [APPLIED, { ...APPLIED, firstTickMs: null }]) {
    assert.deepEqual(decodeApplied(encodeApplied(applied)), { ok: true, value: applied });
    assert.deepEqual(read({ ...applied, more: 1 }), { ok: true, value: applied });
  }
});

test('What is no such message is kept out, with the reason.', () => {
  const bad: readonly [unknown, RegExp][] = [
    [null, /value: .*object/],
    [{ ...APPLIED, worker: 'a.b' }, /worker: expected a worker id/],
    [{ ...APPLIED, version: -1 }, /version/],
    [{ ...APPLIED, missed: 1.5 }, /missed/],
    [{ ...APPLIED, claimedMs: -1 }, /claimedMs/],
    [{ ...APPLIED, claimedMs: 1e12, firstTickMs: null }, /claimedMs/],
    [{ ...APPLIED, firstTickMs: 4 }, /first tick after the claim/],
    [{ ...APPLIED, firstTickMs: undefined }, /firstTickMs/],
  ];
  for (const [value, says] of bad) {
    const decoded = read(value);
    assert.match(decoded.ok ? 'taken' : decoded.reason, says, JSON.stringify(value));
  }
  assert.equal(decodeApplied(new TextEncoder().encode('hello')).ok, false);
  assert.equal(decodeApplied(new Uint8Array([0xff, 0xfe])).ok, false);
  assert.equal(decodeApplied(new Uint8Array(5_000)).ok, false);
});
