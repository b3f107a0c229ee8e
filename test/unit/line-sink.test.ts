import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { LineSink } from '../../shared/log/line-sink.ts';

/** A reader that takes so many bytes, then nothing, until it is told that it may go on. */
function makeReader(room: number) {
  const reader = { room, taken: '', isGone: false };
  const write = (bytes: Buffer) => {
    if (reader.isGone) return null;
    const some = bytes.subarray(0, reader.room);
    reader.room -= some.length;
    reader.taken += some.toString();
    return some.length;
  };
  return Object.assign(reader, { write });
}

async function until(isTrue: () => boolean): Promise<void> {
  for (let attempt = 0; attempt < 500 && !isTrue(); attempt += 1) await wait(5);
  assert.ok(isTrue());
}

test('writes at once while there is room, and keeps what there is none for, in order and whole', async () => {
  const reader = makeReader(10);
  const sink = new LineSink({ write: reader.write, onRecovered: () => {} });
  for (const line of ['first\n', 'second\n', 'third\n']) sink.write(line);
  assert.equal(reader.taken, 'first\nseco');
  await wait(20);
  reader.room = 1_000;
  await until(() => reader.taken === 'first\nsecond\nthird\n');
});

test('is behind when lines have waited for a while, and not any more once they are taken', async () => {
  const reader = makeReader(0);
  const sink = new LineSink({ write: reader.write, onRecovered: () => {} });
  sink.write('a line\n');
  assert.deepEqual([sink.isBehind, sink.hasRoom], [false, true]);
  await until(() => sink.isBehind);
  reader.room = 1_000;
  await until(() => !sink.isBehind);
  sink.write('x'.repeat(300_000));
  assert.equal(sink.hasRoom, false);
});

test('drops whole lines beyond its limit, counts them, and says so when the reader has caught up', async () => {
  const reader = makeReader(0);
  const recovered: number[] = [];
  const sink = new LineSink({
    write: reader.write,
    onRecovered: (lines) => void recovered.push(lines),
    mostQueuedBytes: 8,
  });
  for (const line of ['aaa\n', 'bbb\n', 'ccc\n', 'ddd\n']) sink.write(line);
  reader.room = 1_000;
  await until(() => recovered.length > 0);
  assert.equal(reader.taken, 'aaa\nbbb\n');
  assert.deepEqual(recovered, [2]);
});

test('a reader that went away ends the writing, and nothing is kept for it', () => {
  const reader = makeReader(1_000);
  const sink = new LineSink({ write: reader.write, onRecovered: () => {} });
  reader.isGone = true;
  for (let line = 0; line < 10; line += 1) sink.write('x'.repeat(300_000));
  assert.deepEqual([sink.isBehind, sink.hasRoom], [false, true]);
});

test('flushing waits for the reader, but not for one that stands still', () => {
  const reader = makeReader(3);
  const sink = new LineSink({ write: reader.write, onRecovered: () => {} });
  sink.write('a line\n');
  sink.flush(20);
  assert.equal(reader.taken, 'a l');
  reader.room = 1_000;
  sink.flush(20);
  assert.equal(reader.taken, 'a line\n');
});
