import assert from 'node:assert/strict';
import { test } from 'node:test';
import { natsNames, streamOfBucket, subjectOfKey } from '../../shared/nats/names.ts';
import { formatServerAddress, parseServerAddress } from '../../shared/nats/server-address.ts';

test('Without a prefix the names are those of the design.', () => {
  const { workerProbe, workerDrain, workerUndrain, coordinatorProbe, ...names } = natsNames('');
  assert.deepEqual(names, {
    prefix: '',
    livenessBucket: 'workers',
    leadershipBucket: 'coordinators',
    snapshotStream: 'RING',
    snapshotSubject: 'ring.snapshot',
    appliedSubject: 'ring.applied',
    recoveryStream: 'RECOVERY',
    recoverySubject: 'ring.recovery',
    tableStream: 'TABLE',
    tableSubject: 'table.size',
    workerService: 'worker',
    coordinatorService: 'coordinator',
  });
  assert.equal(workerProbe('worker-7c9f-aaa'), 'worker.worker-7c9f-aaa.probe');
  assert.equal(coordinatorProbe('c1'), 'coordinator.c1.probe');
  assert.deepEqual([workerDrain('w'), workerUndrain('w')], ['worker.w.drain', 'worker.w.undrain']);
});

test('A prefix stands before every name, with an underscore or, in subjects, a dot.', () => {
  const { workerProbe, workerDrain, workerUndrain, coordinatorProbe, ...names } = natsNames('blue');
  assert.deepEqual(names, {
    prefix: 'blue',
    livenessBucket: 'blue_workers',
    leadershipBucket: 'blue_coordinators',
    snapshotStream: 'blue_RING',
    snapshotSubject: 'blue.ring.snapshot',
    appliedSubject: 'blue.ring.applied',
    recoveryStream: 'blue_RECOVERY',
    recoverySubject: 'blue.ring.recovery',
    tableStream: 'blue_TABLE',
    tableSubject: 'blue.table.size',
    workerService: 'blue_worker',
    coordinatorService: 'blue_coordinator',
  });
  assert.equal(workerProbe('w'), 'blue.worker.w.probe');
  assert.equal(coordinatorProbe('c'), 'blue.coordinator.c.probe');
  assert.deepEqual([workerDrain('w'), workerUndrain('w')], ['blue.worker.w.drain', 'blue.worker.w.undrain']);
});

test('Buckets are found where every KV client looks for them.', () => {
  const { livenessBucket } = natsNames('blue');
  assert.equal(streamOfBucket(livenessBucket), 'KV_blue_workers');
  assert.equal(subjectOfKey(livenessBucket, 'w1'), '$KV.blue_workers.w1');
});

test('A prefix that would change what a subject means is refused.', () => {
  for (const prefix of ['a.b', '*', '>', 'a b', 'ü']) assert.throws(() => natsNames(prefix), /NATS prefix: expected/);
});

test('A server address is read with scheme, credentials and port, and shown without credentials.', () => {
  const cases = [
    { server: 'localhost', expected: { host: 'localhost', port: 4222, isTls: false }, shown: 'localhost:4222' },
    { server: 'nats://n:1', expected: { host: 'n', port: 1, isTls: false }, shown: 'n:1' },
    { server: 'tls://n.example', expected: { host: 'n.example', port: 4222, isTls: true }, shown: 'n.example:4222' },
    { server: '[::1]:4333', expected: { host: '::1', port: 4333, isTls: false }, shown: '[::1]:4333' },
    {
      server: 'nats://me:123%40@n:5',
      expected: { host: 'n', port: 5, isTls: false, user: 'me', password: '123@' },
      shown: 'n:5',
    },
    { server: 'nats://secret@n', expected: { host: 'n', port: 4222, isTls: false, token: 'secret' }, shown: 'n:4222' },
  ];
  for (const { server, expected, shown } of cases) {
    const address = parseServerAddress(server);
    assert.deepEqual(address, expected);
    assert.equal(formatServerAddress(address), shown);
  }
});

test('An unreadable server address is named without its credentials.', () => {
  assert.throws(
    () => parseServerAddress('nats://me:secret@:x'),
    (error: Error) => error.message.includes('nats://:x') && !error.message.includes('secret'),
  );
});
