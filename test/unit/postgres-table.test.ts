import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { changeFunctions } from '../../shared/postgres/change-triggers.ts';
import { describeTable, parseTableNames, quoteTable, slotExpression, TableError } from '../../shared/postgres/table.ts';
import { ACCEPTED, REFUSED, withDefaults } from '../support/table-names.ts';

const DEFAULTS = { table: 'public.work_items', idColumn: 'id', valueColumn: 'value', workerColumn: 'currentworker' };
const parse = (change: Partial<typeof DEFAULTS> = {}) => parseTableNames({ ...DEFAULTS, ...change });

describe('names of tables and columns', () => {
  for (const [what, { given, names }] of Object.entries(ACCEPTED)) {
    test(`are read as SQL reads them: ${what}`, () => {
      assert.deepEqual(parseTableNames(given), names);
    });
  }

  test('that are none are refused with what was expected', () => {
    for (const wrong of [...REFUSED, { table: 'a\0b' }]) {
      assert.throws(
        () => parseTableNames(withDefaults(wrong)),
        (error) => error instanceof TableError && error.code === 'bad-name' && /^expected/.test(error.message),
        JSON.stringify(wrong),
      );
    }
    assert.throws(() => parse({ idColumn: '' }), /expected a column's name/);
    assert.throws(() => parse({ idColumn: 'Value' }), /three different columns/);
    assert.throws(() => parse({ idColumn: 'Xmin' }), /xmin, which is one of Postgres itself/);
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
  const bodies = changeFunctions(parse(), 4096).map(({ body }) => body);
  assert.ok(bodies.join('\n').includes(slotExpression('id', 4096)));
});

test('messages name a table as SQL needs it', () => {
  assert.equal(describeTable({ schema: 'public', table: 'work_items' }), 'public.work_items');
  assert.equal(describeTable({ schema: 'My', table: 'Items' }), '"My"."Items"');
  assert.equal(describeTable({ schema: 'a b', table: 'c"d' }), '"a b"."c""d"');
});
