import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { changeTriggerStatements } from '../../shared/postgres/change-triggers.ts';
import { parseTableNames, quoteTable, slotExpression, TableError } from '../../shared/postgres/table.ts';

const DEFAULTS = { table: 'public.work_items', idColumn: 'id', valueColumn: 'value', workerColumn: 'currentworker' };
const parse = (change: Partial<typeof DEFAULTS> = {}) => parseTableNames({ ...DEFAULTS, ...change });

describe('names of tables and columns', () => {
  test('are read as SQL reads them: plain ones in lower case, quoted ones as they stand', () => {
    assert.deepEqual(parse(), {
      schema: 'public',
      table: 'work_items',
      id: 'id',
      value: 'value',
      worker: 'currentworker',
    });
    assert.equal(parse({ workerColumn: 'currentWorker' }).worker, 'currentworker');
    assert.equal(parse({ workerColumn: '"currentWorker"' }).worker, 'currentWorker');
    assert.deepEqual([parse({ table: 'Work' }).schema, parse({ table: 'Work' }).table], ['public', 'work']);
    assert.deepEqual([parse({ table: '"A.b"."c""d"' }).schema, parse({ table: '"A.b"."c""d"' }).table], ['A.b', 'c"d']);
  });

  test('that are none are refused with what was expected', () => {
    for (const table of ['', '.', 'a.', '.a', 'a.b.c', '"a', 'a"b', '""', 'a\0b', 'x'.repeat(64)]) {
      assert.throws(
        () => parse({ table }),
        (error) => error instanceof TableError && error.code === 'bad-name',
        table,
      );
    }
    assert.throws(() => parse({ idColumn: '' }), /expected a column's name/);
    assert.throws(() => parse({ idColumn: 'value' }), /three different columns/);
  });

  test('survive quoting, whatever they hold', () => {
    const name = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 15 })
      .filter((text) => !text.includes('\0') && Buffer.byteLength(text) < 60);
    const quote = (text: string) => `"${text.replaceAll('"', '""')}"`;
    fc.assert(
      fc.property(name, name, (schema, table) => {
        const names = parse({ table: `${quote(schema)}.${quote(table)}` });
        assert.deepEqual([names.schema, names.table], [schema, table]);
        assert.equal(quoteTable(names), `${quote(schema)}.${quote(table)}`);
      }),
    );
  });
});

test('index, triggers and statements use one text for the slot', () => {
  assert.equal(slotExpression('id', 4096, 'w'), '(pg_catalog.uuid_hash_extended(w."id", 0::bigint) & 4095::bigint)');
  const statements = changeTriggerStatements(parse(), 4096).join('\n');
  assert.ok(statements.includes(slotExpression('id', 4096)));
});
