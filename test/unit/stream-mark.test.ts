import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, test } from 'node:test';
import { MARK_FORMAT, readMark, type StreamKind, writeMark } from '../../shared/nats/stream-mark.ts';

const KINDS: readonly StreamKind[] = ['leadership', 'liveness', 'recoveries', 'sizes', 'snapshots'];
const PAGE = resolve(import.meta.dirname, '../../docs/design.md');

describe('the mark of a stream', () => {
  for (const keepsMetadata of [true, false]) {
    test(`is read back as it was written, ${keepsMetadata ? 'with' : 'without'} metadata`, () => {
      for (const kind of KINDS) {
        const written = writeMark(kind, {}, { keepsMetadata });
        assert.deepEqual(readMark(written), { format: MARK_FORMAT, kind });
        assert.equal('metadata' in written, keepsMetadata);
        assert.deepEqual(writeMark(kind, written, { keepsMetadata }), written, 'writing it again changes nothing');
      }
    });
  }

  test('is found in the metadata alone and in the description alone', () => {
    const { description, metadata } = writeMark('sizes', {}, { keepsMetadata: true });
    assert.deepEqual(readMark({ description: 'ask Anna', ...(metadata && { metadata }) }), {
      format: MARK_FORMAT,
      kind: 'sizes',
    });
    assert.deepEqual(readMark({ ...(description && { description }), metadata: {} }), {
      format: MARK_FORMAT,
      kind: 'sizes',
    });
  });

  test('leaves an operator’s words and metadata, and replaces an earlier mark', () => {
    const current = { description: 'ask Anna [notifi-scaler format=1 kind=sizes]', metadata: { team: 'blue' } };
    assert.deepEqual(writeMark('sizes', current, { keepsMetadata: true }), {
      description: `ask Anna [notifi-scaler format=${MARK_FORMAT} kind=sizes]`,
      metadata: { team: 'blue', 'notifi-scaler.format': String(MARK_FORMAT), 'notifi-scaler.kind': 'sizes' },
    });
  });

  test('never makes the description longer than the server takes', () => {
    const { description = '' } = writeMark('sizes', { description: 'ä'.repeat(2_048) }, { keepsMetadata: false });
    assert.ok(Buffer.byteLength(description) <= 4_096);
    assert.deepEqual(readMark({ description }), { format: MARK_FORMAT, kind: 'sizes' });
  });

  test('of a later version is read with fields that this version does not know; the later format counts', () => {
    const description = 'Notifi-Scaler [notifi-scaler format=3 kind=sizes installation=7f-x]';
    assert.deepEqual(readMark({ description }), { format: 3, kind: 'sizes' });
    const metadata = { 'notifi-scaler.format': '2', 'notifi-scaler.kind': 'sizes' };
    assert.deepEqual(readMark({ description, metadata }), { format: 3, kind: 'sizes' });
  });

  for (const description of [
    '',
    'notifi-scaler',
    'Notifi-Scaler: which workers are alive',
    '[notifi-scaler]',
    '[notifi-scaler format=1]',
    '[notifi-scaler kind=sizes]',
    '[notifi-scaler format=x kind=sizes]',
    '[notifi-scaler format=0 kind=sizes]',
    '[notifi-scaler format=1.5 kind=sizes]',
    '[notifi-scaler format=1 kind=sizes',
  ]) {
    test(`is not found in ${JSON.stringify(description)}`, () => {
      assert.equal(readMark({ description, metadata: { '_nats.ver': '2.15.1' } }), null);
    });
  }

  test('stands in docs/design.md for every kind as the code reads it', () => {
    const marks = [...readFileSync(PAGE, 'utf8').matchAll(/^\| `\w+` \| `(\[notifi-scaler .*\])` \|$/gm)];
    const found = marks.map(([, description = '']) => readMark({ description }));
    assert.deepEqual(found.map((mark) => mark?.kind).sort(), [...KINDS]);
    assert.ok(found.every((mark) => mark?.format === MARK_FORMAT));
  });
});
