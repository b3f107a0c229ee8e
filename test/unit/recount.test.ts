import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  demandRecount,
  failRecount,
  finishRecount,
  NO_RECOUNT,
  type Recount,
  recountAtMs,
} from '../../services/coordinator/recount.ts';

const TOOK_MS = 5;

/** Demanded again as soon as each count is done; how long each of them then waits. */
function contradictedForLong(counts: number, tookMs: number): number[] {
  let recount = NO_RECOUNT;
  let nowMs = 1_000;
  return Array.from({ length: counts }, () => {
    recount = demandRecount(recount, nowMs);
    const atMs = recountAtMs(recount) ?? Number.NaN;
    const waitedMs = atMs - nowMs;
    nowMs = atMs + tookMs;
    recount = finishRecount(recount, tookMs, nowMs);
    return waitedMs;
  });
}

describe('a recount', () => {
  it('is not due until it is demanded, and then starts at once', () => {
    assert.equal(recountAtMs(NO_RECOUNT), null);
    const due = demandRecount(NO_RECOUNT, 70);
    assert.equal(recountAtMs(due), 70);
    assert.equal(recountAtMs(demandRecount(due, 90)), 70);
  });

  it('waits longer each time that it is contradicted, up to two seconds', () => {
    assert.deepEqual(contradictedForLong(8, TOOK_MS), [0, 100, 200, 400, 800, 1_600, 2_000, 2_000]);
  });

  it('of a large table takes a tenth of the time at first, a fiftieth in the long run', () => {
    assert.deepEqual(contradictedForLong(6, 1_000), [0, 10_000, 20_000, 40_000, 50_000, 50_000]);
  });

  it('starts at once again after a time without contradictions', () => {
    const counted = finishRecount(demandRecount(NO_RECOUNT, 0), TOOK_MS, TOOK_MS);
    const soon = demandRecount(counted, 5_000);
    assert.equal(finishRecount(soon, TOOK_MS, 5_005).pauseMs, 200);
    const late = demandRecount(counted, 20_000);
    assert.equal(recountAtMs(late), 20_000);
    assert.equal(finishRecount(late, TOOK_MS, 20_005).pauseMs, 100);
  });

  it('that fails stays due, and is tried again after growing pauses', () => {
    let recount: Recount = demandRecount(NO_RECOUNT, 0);
    const pauses = Array.from({ length: 6 }, () => {
      recount = failRecount(recount, TOOK_MS, 0);
      return recountAtMs(recount);
    });
    assert.deepEqual(pauses, [500, 1_000, 2_000, 4_000, 5_000, 5_000]);
  });

  it('that fails after minutes is not tried again for as long', () => {
    assert.equal(recountAtMs(failRecount(demandRecount(NO_RECOUNT, 0), 300_000, 300_000)), 600_000);
  });
});
