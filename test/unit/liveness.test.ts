import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeLiveness, encodeLiveness, type Liveness } from '../../shared/nats/liveness.ts';
import { makeLiveness } from '../support/nats-link.ts';

const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

test('A liveness value survives its encoding, in the order of the design.', () => {
  const value = makeLiveness('worker-1', { ring: 17, tick: 1_795_428_000, rows: 3, state: 'leaving' });
  const bytes = encodeLiveness(Object.fromEntries(Object.entries(value).reverse()) as unknown as Liveness);
  assert.equal(
    new TextDecoder().decode(bytes),
    '{"id":"worker-1","startedAt":"2026-11-23T10:00:00.000Z","ring":17,"tick":1795428000,"rows":3,"state":"leaving"}',
  );
  assert.deepEqual(decodeLiveness('worker-1', bytes), { ok: true, value });
});

test('Fields of a newer version are left out.', () => {
  const value = makeLiveness('w');
  assert.deepEqual(decodeLiveness('w', encode({ ...value, region: 'eu' })), { ok: true, value });
});

test('What is no liveness value is kept out with a reason.', () => {
  const value = makeLiveness('w');
  const cases: [string, Uint8Array, RegExp][] = [
    ['w', new Uint8Array(), /expected JSON, got 0 bytes/],
    ['w', new Uint8Array([0xff, 0xfe]), /expected JSON, got 2 bytes/],
    ['w', new TextEncoder().encode('hello'), /expected JSON/],
    ['w', encode(null), /value: /],
    ['w', encode({ ...value, id: 'v' }), /expected the id of its key, "w", got "v"/],
    ['w', encode({ ...value, tick: -1 }), /tick: /],
    ['w', encode({ ...value, ring: 1.5 }), /ring: /],
    ['w', encode({ ...value, rows: '3' }), /rows: /],
    ['w', encode({ ...value, state: 'asleep', startedAt: 'now' }), /startedAt: .*\(and 1 more\)/],
    ['w', encode({ ...value, note: 'x'.repeat(5_000) }), /expected at most 4096 bytes, got 5\d\d\d/],
    ['a.b', encode({ ...value, id: 'a.b' }), /contains "\."/],
    ['', encode({ ...value, id: '' }), /empty/],
  ];
  for (const [key, bytes, expected] of cases) {
    const decoded = decodeLiveness(key, bytes);
    assert.equal(decoded.ok, false);
    if (!decoded.ok) assert.match(decoded.reason, expected);
  }
});
