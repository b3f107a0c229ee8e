import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Assignment, assign } from '../../shared/ring/assignment.ts';
import {
  type Cause,
  compareOrder,
  decodeSnapshot,
  describeCause,
  encodeSnapshot,
  makeSnapshot,
  type Snapshot,
  sliceOf,
  toAssignment,
} from '../../shared/ring/snapshot.ts';

/** The message of DESIGN §4, its slots cut down to 64 so that they are complete. */
const message = {
  version: 17,
  epoch: 3,
  at: '2026-11-23T10:00:00.000Z',
  cause: { kind: 'worker-left', worker: 'worker-7c9f-x2x', evidence: 'connection-closed' },
  slots: 64,
  rows: 1200,
  moved: { slots: 21, rows: 400, minimumRows: 400 },
  workers: [
    { id: 'worker-7c9f-aaa', rows: 600, slots: '0-3,9,12-63' },
    { id: 'worker-7c9f-bbb', rows: 600, slots: '4-8,10-11' },
  ],
} satisfies Snapshot;

const toBytes = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const toText = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** `message` with the value at a path replaced, or taken away where it is undefined. */
function altered(path: readonly (string | number)[], value: unknown): unknown {
  const copy = structuredClone(message);
  const last = path.at(-1)!;
  const parent = path.slice(0, -1).reduce<object>((object, key) => Reflect.get(object, key), copy);
  if (value === undefined) Reflect.deleteProperty(parent, last);
  else Reflect.set(parent, last, value);
  return copy;
}

function reasonFor(value: unknown, slots: number | null = 64): string {
  const decoded = decodeSnapshot(toBytes(value), { slots });
  return decoded.ok ? 'accepted' : decoded.reason;
}

test('DESIGN §4: a snapshot is the JSON shown there, its fields in that order', () => {
  const { workers, version, cause, ...rest } = message;
  const { worker, evidence, kind } = cause;
  const shuffled: Snapshot = { workers, ...rest, cause: { evidence, worker, kind }, version };
  assert.equal(toText(encodeSnapshot(shuffled)), JSON.stringify(message));
});

test('a snapshot that was encoded is decoded to the same', () => {
  for (const slots of [64, null]) {
    assert.deepEqual(decodeSnapshot(encodeSnapshot(message), { slots }), { ok: true, snapshot: message });
  }
});

test('fields that a newer coordinator may add are left out', () => {
  const newer = { ...message, region: 'eu', workers: message.workers.map((worker) => ({ ...worker, zone: 1 })) };
  assert.deepEqual(decodeSnapshot(toBytes(newer), { slots: 64 }), { ok: true, snapshot: message });
});

test('a snapshot without workers owns nothing and may still know how many rows there are', () => {
  const nobody = { ...message, workers: [] };
  const decoded = decodeSnapshot(toBytes(nobody), { slots: 64 });
  assert.ok(decoded.ok);
  assert.deepEqual(new Set(toAssignment(decoded.snapshot).owners), new Set([-1]));
});

test('what is not JSON in UTF-8, or too large, is kept out', () => {
  const reason = (bytes: Uint8Array, maxBytes?: number): string => {
    const decoded = decodeSnapshot(bytes, { slots: 64, ...(maxBytes !== undefined && { maxBytes }) });
    return decoded.ok ? 'accepted' : decoded.reason;
  };
  assert.match(reason(new Uint8Array()), /^expected JSON, got 0 bytes/);
  assert.match(reason(new TextEncoder().encode('{"version": 1')), /^expected JSON, got 13 bytes/);
  assert.match(reason(Uint8Array.of(0x22, 0xff, 0x22)), /^expected JSON, got 3 bytes/);
  assert.equal(reason(new Uint8Array(1024 * 1024 + 1)), 'expected at most 1048576 bytes, got 1048577');
  assert.equal(reason(toBytes(message), 100), `expected at most 100 bytes, got ${toBytes(message).length}`);
});

test('a field that is missing or wrong is named with its path and what came', () => {
  const cases: readonly [readonly (string | number)[], unknown, RegExp][] = [
    [['version'], undefined, /^version: .*got nothing/],
    [['version'], -1, /^version: .*got -1/],
    [['version'], 1.5, /^version: .*got 1.5/],
    [['version'], 2 ** 53, /^version: .*got 9007199254740992/],
    [['epoch'], '3', /^epoch: .*got "3"/],
    [['at'], '2026-11-23 10:00', /^at: .*got "2026-11-23 10:00"/],
    [['slots'], 0, /^slots: /],
    [['slots'], 2 ** 21, /^slots: /],
    [['slots'], 48, /^slots: expected a power of two, got 48/],
    [['rows'], null, /^rows: .*got null/],
    [['moved'], undefined, /^moved: .*got nothing/],
    [['moved', 'minimumRows'], -400, /^moved\.minimumRows: .*got -400/],
    [['cause'], 'worker-left', /^cause: .*got "worker-left"/],
    [['cause', 'kind'], 'boredom', /^cause\.kind: .*got "boredom"/],
    [['cause', 'worker'], 'a.b', /^cause\.worker: .*contains "\."/],
    [['cause', 'worker'], null, /^cause\.worker: .*got null/],
    [['cause', 'evidence'], 'hearsay', /^cause\.evidence: .*got "hearsay"/],
    [['cause', 'others'], [{ kind: 'hm' }], /^cause\.others\[0\]\.kind: .*got "hm"/],
    [['cause', 'others'], [{ kind: 'operator', others: [] }], /^cause\.others\[0\]\.others: causes nest one level/],
    [['workers'], {}, /^workers: .*got an object/],
    [['workers', 1], undefined, /^workers\[1\]: .*got null/],
    [['workers', 1, 'id'], 'a b', /^workers\[1\]\.id: .*contains " "/],
    [['workers', 1, 'id'], '', /^workers\[1\]\.id: .*empty/],
    [['workers', 0, 'rows'], Number.NaN, /^workers\[0\]\.rows: .*got null/],
    [['workers', 0, 'slots'], [0, 1], /^workers\[0\]\.slots: .*got an array/],
  ];
  for (const [path, value, reason] of cases) assert.match(reasonFor(altered(path, value)), reason, path.join('.'));
  for (const value of [null, [], 'text', 7]) assert.match(reasonFor(value), /^message: /);
});

test('a snapshot of another table is refused by its number of slots', () => {
  assert.match(reasonFor(message, 4096), /^expected a snapshot of 4096 slots, got one of 64/);
});

test('DESIGN §3.1: a snapshot in which not every slot has exactly one owner is refused', () => {
  const slots = (text: string): unknown => altered(['workers', 1, 'slots'], text);
  assert.equal(
    reasonFor(slots('3-8,10-11')),
    'slot 3: expected one owner, got "worker-7c9f-aaa" and "worker-7c9f-bbb"',
  );
  assert.equal(reasonFor(slots('4-5,7-8,10-11')), 'slot 6: expected an owner, got none (1 slots have none)');
  assert.equal(reasonFor(slots('')), 'slot 4: expected an owner, got none (7 slots have none)');
  assert.match(reasonFor(slots('4-8,10-64')), /^workers\[1\]\.slots of "worker-7c9f-bbb": expected slots from 0 to 63/);
  assert.match(reasonFor(slots('8-4')), /^workers\[1\]\.slots of "worker-7c9f-bbb": expected a range's end above/);
  assert.equal(
    reasonFor(altered(['workers', 1, 'id'], 'worker-7c9f-aaa')),
    'workers[1].id: expected each worker once, got "worker-7c9f-aaa" again',
  );
});

test('rows that do not add up are refused', () => {
  assert.equal(reasonFor(altered(['rows'], 1201)), "rows: expected the workers' rows to add up to 1201, got 1200");
});

test('whatever comes is decoded or refused, never thrown at the reader', () => {
  const text = JSON.stringify(message);
  const damaged = fc
    .tuple(fc.nat(text.length - 1), fc.nat(20), fc.string({ maxLength: 5 }))
    .map(([at, length, put]) => new TextEncoder().encode(text.slice(0, at) + put + text.slice(at + length)));
  const anything = fc.oneof(
    fc.uint8Array(),
    fc.json().map((json) => new TextEncoder().encode(json)),
    damaged,
  );
  fc.assert(
    fc.property(anything, (bytes) => {
      const decoded = decodeSnapshot(bytes, { slots: 64 });
      if (decoded.ok)
        assert.equal(toAssignment(decoded.snapshot).owners.includes(-1), decoded.snapshot.workers.length === 0);
      else assert.notEqual(decoded.reason, '');
    }),
    { numRuns: 2000 },
  );
  const deep = new TextEncoder().encode(`{"version":${'['.repeat(500_000)}${']'.repeat(500_000)}}`);
  assert.equal(decodeSnapshot(deep, { slots: 64 }).ok, false);
});

test('an assignment goes through a snapshot unchanged', () => {
  const ids = fc.uniqueArray(fc.stringMatching(/^[a-z0-9][a-z0-9_-]{0,9}$/), { maxLength: 6 });
  const table = fc
    .integer({ min: 0, max: 6 })
    .chain((power) => fc.array(fc.nat(5), { minLength: 2 ** power, maxLength: 2 ** power }));
  fc.assert(
    fc.property(ids, table, (workers, weights) => {
      const assignment = assign({ weights, workers, previous: null });
      const made = make(assignment, weights);
      const decoded = decodeSnapshot(encodeSnapshot(made), { slots: weights.length });
      assert.deepEqual(decoded, { ok: true, snapshot: made });
      assert.deepEqual(toAssignment(made), assignment);
      assignment.workers.forEach((id, index) => {
        const slice = sliceOf(made, id);
        assert.ok(slice.every((slot) => assignment.owners[slot] === index));
        assert.equal(slice.length, assignment.owners.filter((owner) => owner === index).length);
      });
    }),
  );
});

function make(assignment: Assignment, weights: readonly number[]): Snapshot {
  const moved = { slots: 0, rows: 0, minimumRows: 0 };
  const at = '2026-11-23T10:00:00.000Z';
  return makeSnapshot({
    order: { epoch: 1, version: 1 },
    at,
    cause: { kind: 'bootstrap' },
    assignment,
    weights,
    moved,
  });
}

test('a worker that a snapshot does not name has no slots in it', () => {
  assert.deepEqual(sliceOf(message, 'worker-7c9f-bbb'), [4, 5, 6, 7, 8, 10, 11]);
  assert.deepEqual(sliceOf(message, 'worker-7c9f-ccc'), []);
});

test('DESIGN §10: the largest table a cluster may have fits into one message', () => {
  const weights = new Array<number>(65_536).fill(15);
  const workers = Array.from({ length: 6000 }, (_, index) => `worker-7c9f5d6b8-${(index + 50_000).toString(36)}`);
  const bytes = encodeSnapshot(make(assign({ weights, workers, previous: null }), weights));
  assert.ok(bytes.length <= 1024 * 1024, `${bytes.length} bytes`);
  assert.ok(decodeSnapshot(bytes, { slots: 65_536 }).ok);
});

test('snapshots are ordered by epoch, then by version', () => {
  const inOrder = [
    { epoch: 1, version: 1 },
    { epoch: 1, version: 10 },
    { epoch: 2, version: 2 },
    { epoch: 10, version: 1 },
  ];
  inOrder.forEach((a, i) => {
    inOrder.forEach((b, j) => {
      assert.equal(Math.sign(compareOrder(a, b)), Math.sign(i - j));
    });
  });
});

test('a cause is told in a few words', () => {
  const cases: readonly [Cause, string][] = [
    [{ kind: 'table-resized' }, 'table-resized'],
    [{ kind: 'worker-left', worker: 'worker-7c9f-x2x', evidence: 'left' }, 'worker-left worker-7c9f-x2x'],
    [{ kind: 'worker-joined', worker: 'a', others: [] }, 'worker-joined a'],
    [
      { kind: 'worker-joined', worker: 'a', others: [{ kind: 'table-resized' }, { kind: 'worker-left', worker: 'b' }] },
      'worker-joined a and 2 more',
    ],
  ];
  for (const [cause, words] of cases) assert.equal(describeCause(cause), words);
});
