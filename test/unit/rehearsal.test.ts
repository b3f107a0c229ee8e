import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rehearseHandover } from '../../shared/ring/rehearsal.ts';

test('a handover is rehearsed for every number of slots that there may be, with a pause after each round', async () => {
  for (const slots of [256, 4096, 65_536]) {
    let pauses = 0;
    await rehearseHandover(slots, async () => {
      pauses += 1;
    });
    assert.equal(pauses, 6, `${slots} slots`);
  }
});
