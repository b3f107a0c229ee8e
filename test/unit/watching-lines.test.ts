import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { makeWorkerMetrics } from '../../services/worker/metrics.ts';
import type { Ids } from '../../services/worker/protocol.ts';
import { IDS_PER_LINE, WatchingLines } from '../../services/worker/watching-lines.ts';
import { UuidList } from '../../shared/postgres/uuid-list.ts';

interface Line {
  readonly level: number;
  readonly tick?: number;
  readonly part?: number;
  readonly parts?: number;
  readonly ids?: readonly string[];
  readonly count?: number;
  readonly checksum?: string;
}

function makeLines(logIdsMax = 10_000) {
  const texts: string[] = [];
  const output = { isBehind: false, hasRoom: true };
  const metrics = makeWorkerMetrics(new Registry());
  const log = pino({ level: 'info' }, { write: (text: string) => void texts.push(text) });
  const lines = new WatchingLines({ log, metrics, logIdsMax, output });
  let tick = 0;
  const print = (ids: Ids, isChanged: boolean) => {
    tick += 1;
    lines.print({ kind: 'watching', tick, ring: 7, ids, isChanged, tookMs: 1 });
  };
  const written = (): Line[] => texts.map((text) => JSON.parse(text));
  const shortened = async () => (await metrics.shortenedLists.get()).values[0]?.value ?? 0;
  return { texts, output, print, written, shortened };
}

function makeIds(count: number): UuidList {
  const bytes = Buffer.alloc(count * 16);
  for (let index = 0; index < count; index += 1) bytes.writeUInt32BE(index, index * 16);
  return new UuidList(bytes);
}

async function until(isTrue: () => boolean): Promise<void> {
  for (let attempt = 0; attempt < 500 && !isTrue(); attempt += 1) await wait(5);
  assert.ok(isTrue());
}

test('a uuid list says its ids as Postgres does, in slices as an array does', () => {
  const ids = makeIds(3);
  assert.equal(ids.length, 3);
  assert.deepEqual(ids.slice(1, 9), ['00000001-0000-0000-0000-000000000000', '00000002-0000-0000-0000-000000000000']);
  assert.deepEqual(ids.slice(3), []);
});

test('a list of no ids and a short one are one line each', () => {
  const { print, written } = makeLines();
  print([], true);
  print(['a', 'b'], true);
  assert.deepEqual(
    written().map(({ ids, count, parts }) => [ids, count, parts]),
    [
      [[], 0, undefined],
      [['a', 'b'], 2, undefined],
    ],
  );
});

test('DESIGN §8: a long list comes in parts, each line under 16 KiB, all of them together the list', async () => {
  const { print, texts, written } = makeLines();
  const ids = makeIds(9_999);
  print(ids, true);
  const parts = Math.ceil(9_999 / IDS_PER_LINE);
  await until(() => texts.length === parts);
  assert.ok(texts.every((text) => Buffer.byteLength(text) < 16 * 1024));
  assert.deepEqual(
    written().flatMap((line) => line.ids ?? []),
    ids.slice(),
  );
  assert.deepEqual(
    written().map(({ part }) => part),
    Array.from({ length: parts }, (_, index) => index + 1),
  );
});

test('above --log-ids-max a list is printed when it changed, and else its count and checksum', async () => {
  const { print, written, texts } = makeLines(100);
  const ids = makeIds(150);
  print(ids, true);
  print(ids, false);
  await until(() => texts.length === 2);
  const [first, second] = written();
  assert.equal(first?.ids?.length, 150);
  assert.deepEqual([second?.ids, second?.count], [undefined, 150]);
  assert.match(second?.checksum ?? '', /^[0-9a-f]{16}$/);
});

test('a slow reader gets count and checksum, with one warning and a count of how often, and the list when it has caught up', async () => {
  const { print, written, output, shortened } = makeLines();
  const ids = makeIds(20);
  output.isBehind = true;
  print(ids, true);
  print(ids, false);
  assert.deepEqual(
    written().map(({ level, ids: some }) => [level, some]),
    [
      [40, undefined],
      [30, undefined],
      [30, undefined],
    ],
  );
  assert.equal(await shortened(), 2);
  output.isBehind = false;
  print(ids, false);
  assert.equal(written().at(-1)?.ids?.length, 20);
});

test('a long list waits for room, while each second is still told', async () => {
  const { print, written, output, texts } = makeLines(1_000);
  const ids = makeIds(IDS_PER_LINE * 20);
  output.hasRoom = false;
  print(ids, true);
  await wait(40);
  const before = texts.length;
  assert.ok(before < 20);
  print(ids, false);
  assert.equal(written().at(-1)?.tick, 2);
  assert.equal(written().at(-1)?.ids, undefined);
  output.hasRoom = true;
  await until(() => texts.length === 21);
  assert.deepEqual(
    written().flatMap((line) => line.ids ?? []),
    ids.slice(),
  );
});

test('a list that is outdated before it is printed whole is left off for the new one', async () => {
  const { print, written, output, texts } = makeLines();
  output.hasRoom = false;
  print(makeIds(9_000), true);
  output.hasRoom = true;
  print(['a'], true);
  const { length } = texts;
  await wait(60);
  assert.equal(texts.length, length);
  assert.deepEqual(written().at(-1)?.ids, ['a']);
});
