import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodeSlots, parseSlots, SlotSetError } from '../../shared/ring/slot-set.ts';

test('a slot set is written as ranges and single slots', () => {
  assert.equal(encodeSlots([]), '');
  assert.equal(encodeSlots([7]), '7');
  assert.equal(encodeSlots([10, 11]), '10-11');
  assert.equal(encodeSlots([0, 1, 2, 3, 9, 12, 13, 14]), '0-3,9,12-14');
  assert.equal(encodeSlots(Int32Array.of(0, 2, 4)), '0,2,4');
});

test('reading a written slot set gives the same slots', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(511)), (slots) => {
      const sorted = slots.sort((a, b) => a - b);
      assert.deepEqual(parseSlots(encodeSlots(sorted), 512), sorted);
    }),
  );
});

test('equal slot sets are equal texts, however they came about', () => {
  assert.equal(encodeSlots(parseSlots('0,1,2-3,5', 16)), '0-3,5');
});

test('a text that is no slot set of the table is refused with the part that is wrong', () => {
  const cases: readonly [string, RegExp][] = [
    ['a', /the part "a"/],
    ['1,', /the part ""/],
    [',1', /the part ""/],
    [' 1', /the part " 1"/],
    ['1-', /the part "1-"/],
    ['-1', /the part "-1"/],
    ['01', /the part "01"/],
    ['1.5', /the part "1.5"/],
    ['1e1', /the part "1e1"/],
    ['0x1', /the part "0x1"/],
    ['1-2-3', /the part "1-2-3"/],
    ['99999999999', /the part "99999999999"/],
    [`${'9'.repeat(100)}`, /the part "9{40}…"/],
    ['5-5', /end above its start, got "5-5"/],
    ['6-5', /end above its start, got "6-5"/],
    ['16', /slots from 0 to 15, got "16"/],
    ['0-16', /slots from 0 to 15, got "0-16"/],
    ['0-9999999999', /slots from 0 to 15/],
    ['3,2', /ascending slots, got "2" after 3/],
    ['3,3', /ascending slots, got "3" after 3/],
    ['0-5,5', /ascending slots, got "5" after 5/],
    ['4-8,2-9', /ascending slots, got "2-9" after 8/],
  ];
  for (const [text, message] of cases) {
    assert.throws(
      () => parseSlots(text, 16),
      (error) => error instanceof SlotSetError && error.code === 'bad-slot-set' && message.test(error.message),
      text,
    );
  }
});

test('any text is either read as ascending slots of the table or refused', () => {
  const text = fc.oneof(fc.string(), fc.stringMatching(/^[0-9,-]{0,12}$/));
  fc.assert(
    fc.property(text, (candidate) => {
      try {
        const slots = parseSlots(candidate, 64);
        slots.forEach((slot, index) => {
          assert.ok(slot >= 0 && slot < 64 && (index === 0 || slot > slots[index - 1]!));
        });
      } catch (error) {
        assert.ok(error instanceof SlotSetError);
      }
    }),
    { numRuns: 1000 },
  );
});
