import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AuditLog, type AuditSample } from '../../services/cli/audit-log.ts';
import type { InspectedRow } from '../../shared/postgres/inspection.ts';
import { isUneven } from '../../shared/ring/assignment.ts';

const SECOND = 1_000;

/** A row of worker a whose slot was last ticked for `lastTick`. */
function row(value: number | null, lastTick: number, change: Partial<InspectedRow> = {}): InspectedRow {
  return { id: 'r1', value, currentWorker: 'a', slot: 7, owner: 'a', lastTick, ...change };
}

function sample(atSeconds: number, ...rows: InspectedRow[]): AuditSample {
  return { atSeconds, workers: ['a'], rows };
}

function audit(...samples: AuditSample[]) {
  const log = new AuditLog(isUneven);
  for (const one of samples) log.add(one);
  return log.result();
}

describe('the audit finds', () => {
  test('nothing where each row grew by one for each second', () => {
    const result = audit(
      sample(SECOND + 0.5, row(10, SECOND)),
      sample(SECOND + 1.5, row(11, SECOND + 1)),
      sample(SECOND + 3.5, row(13, SECOND + 3)),
    );
    assert.deepEqual([result.missed, result.double, result.isClean], [0, 0, true]);
  });

  test('a missed tick: the number went on, the value did not', () => {
    const result = audit(sample(SECOND + 0.5, row(10, SECOND)), sample(SECOND + 2.5, row(11, SECOND + 2)));
    assert.deepEqual([result.missed, result.double, result.isClean], [1, 0, false]);
    assert.deepEqual(result.worst, [{ id: 'r1', slot: 7, owner: 'a', missed: 1, double: 0, isMisnamed: false }]);
  });

  test('every faulty row, not only the worst ten', () => {
    const rows = (value: number, lastTick: number) =>
      Array.from({ length: 12 }, (_, index) => row(value, lastTick, { id: `r${index + 10}`, slot: index }));
    const log = new AuditLog(isUneven);
    assert.deepEqual(log.findings(), []);
    log.add(sample(SECOND + 0.5, ...rows(10, SECOND)));
    log.add(sample(SECOND + 2.5, ...rows(11, SECOND + 2)));
    assert.equal(log.result().worst.length, 10);
    assert.equal(log.findings().length, 12);
    assert.deepEqual(log.findings()[11], { id: 'r21', slot: 11, owner: 'a', missed: 1, double: 0, isMisnamed: false });
  });

  test('a double tick: the value grew by more than the number', () => {
    const result = audit(sample(SECOND + 0.5, row(10, SECOND)), sample(SECOND + 1.5, row(12, SECOND + 1)));
    assert.deepEqual([result.missed, result.double, result.isClean], [0, 1, false]);
  });

  test('double ticks that a forged fence covers, by the clock', () => {
    const result = audit(sample(SECOND + 0.5, row(10, SECOND)), sample(SECOND + 1.5, row(20, SECOND + 10)));
    assert.equal(result.isClean, false);
    assert.ok(result.double > 0, `double ${result.double}`);
  });

  test('rows that nobody ticks any more, counted in seconds', () => {
    const result = audit(sample(SECOND + 0.5, row(10, SECOND)), sample(SECOND + 10.5, row(10, SECOND)));
    assert.deepEqual([result.missed, result.double], [8, 0]);
  });

  test('a gap that is over by the end', () => {
    const result = audit(
      sample(SECOND + 0.5, row(10, SECOND)),
      sample(SECOND + 5.5, row(10, SECOND)),
      sample(SECOND + 6.5, row(11, SECOND + 6)),
    );
    assert.equal(result.missed, 5);
  });

  test('rows without an owner, and uneven shares', () => {
    const rows = ['r1', 'r2', 'r3'].map((id) => row(1, SECOND, { id }));
    const uneven = audit({ atSeconds: SECOND + 0.5, workers: ['a', 'b'], rows });
    assert.deepEqual([uneven.isUneven, uneven.shares, uneven.isClean], [true, { a: 3, b: 0 }, false]);
    const unowned = audit(sample(SECOND + 0.5, row(1, SECOND, { owner: null })));
    assert.deepEqual([unowned.unowned, unowned.isClean], [1, false]);
  });
});

describe('the audit finds, at any sample', () => {
  test('a double and a missed tick that cancel by the end', () => {
    const result = audit(
      sample(SECOND + 0.2, row(10, SECOND)),
      sample(SECOND + 1.2, row(12, SECOND + 1)),
      sample(SECOND + 2.2, row(12, SECOND + 2)),
    );
    assert.deepEqual([result.missed, result.double, result.isClean], [1, 1, false]);
  });

  test('rows without an owner, also where they have one at the end', () => {
    const result = audit(
      sample(SECOND + 0.5, row(10, SECOND, { owner: null })),
      sample(SECOND + 1.5, row(11, SECOND + 1)),
    );
    assert.deepEqual([result.unowned, result.isClean], [1, false]);
  });

  test('shares that were uneven for a second or more, also where they are even at the end', () => {
    const at = (seconds: number, isEven: boolean): AuditSample => ({
      atSeconds: SECOND + seconds,
      workers: ['a', 'b'],
      rows: ['r1', 'r2', 'r3', 'r4'].map((id, index) => {
        const owner = isEven && index % 2 === 0 ? 'b' : 'a';
        return row(Math.floor(seconds), SECOND + Math.floor(seconds), { id, owner, currentWorker: owner });
      }),
    });
    const long = audit(at(0.5, true), at(0.9, false), at(1.3, false), at(1.9, false), at(2.3, true));
    assert.deepEqual([long.isUneven, long.unevenSeconds, long.isClean], [true, 1, false]);
    const handover = audit(at(0.5, true), at(0.9, false), at(1.3, false), at(1.7, true));
    assert.deepEqual([handover.isUneven, handover.unevenSeconds, handover.isClean], [false, 0.4, true]);
  });

  test('a row that names another worker than its owner, after a tick of the owner', () => {
    const b = { owner: 'b' };
    const result = audit(
      sample(SECOND + 0.5, row(10, SECOND)),
      sample(SECOND + 0.9, row(10, SECOND, b)),
      sample(SECOND + 1.3, row(11, SECOND + 1, b)),
      sample(SECOND + 2.3, row(12, SECOND + 2, { ...b, currentWorker: 'b' })),
    );
    assert.deepEqual([result.misnamed, result.missed, result.isClean], [1, 0, false]);
    assert.equal(result.worst[0]?.isMisnamed, true);
  });

  test('how far apart the samples were, and how long Postgres was silent', () => {
    const log = new AuditLog(isUneven);
    log.add(sample(SECOND + 0.5, row(10, SECOND)));
    log.noteSilence(3.25);
    log.add(sample(SECOND + 4.75, row(11, SECOND + 4)));
    const { longestGapSeconds, blindSeconds, missed } = log.result();
    assert.deepEqual([longestGapSeconds, blindSeconds, missed], [4.25, 3.25, 3]);
  });
});

describe('the audit does not mistake', () => {
  test('a former owner’s name before the first tick of the new one, or in a row that was skipped', () => {
    const b = { owner: 'b' };
    const result = audit(
      sample(SECOND + 0.5, row(10, SECOND)),
      // The former owner ticked, then its slot was claimed.
      sample(SECOND + 1.5, row(11, SECOND + 1, b)),
      sample(SECOND + 1.9, row(11, SECOND + 1, b)),
      // Stamped, but the row was locked.
      sample(SECOND + 2.5, row(11, SECOND + 2, b)),
      sample(SECOND + 3.5, row(12, SECOND + 3, { ...b, currentWorker: 'b' })),
    );
    assert.deepEqual([result.misnamed, result.missed], [0, 1]);
  });

  /** A sample whose answer took 2 ms, by the auditor's own clock. */
  const timed = (atSeconds: number, ownSeconds: number, ...rows: InspectedRow[]): AuditSample => ({
    ...sample(atSeconds, ...rows),
    takenMs: { from: ownSeconds * 1000, to: ownSeconds * 1000 + 2 },
  });

  test('seconds that the database’s clock skipped, because it was set forward', () => {
    const result = audit(
      timed(SECOND + 0.5, 50.5, row(10, SECOND)),
      timed(SECOND + 10.5, 51.5, row(11, SECOND + 1)),
      timed(SECOND + 12.5, 53.5, row(13, SECOND + 12)),
      timed(SECOND + 13.5, 54.5, row(14, SECOND + 13)),
    );
    assert.deepEqual([result.missed, result.double, result.seconds], [0, 0, 4]);
    const doubled = audit(timed(SECOND + 0.5, 50.5, row(10, SECOND)), timed(SECOND + 10.5, 51.5, row(18, SECOND + 10)));
    assert.ok(doubled.double > 0, 'skipped seconds allow no ticks');
  });

  test('seconds that come again, because the database’s clock was set back', () => {
    const result = audit(
      timed(SECOND + 0.5, 50.5, row(10, SECOND)),
      timed(SECOND + 1.5, 51.5, row(11, SECOND + 1)),
      timed(SECOND - 7.5, 52.5, row(11, SECOND + 1)),
      timed(SECOND - 5.5, 54.5, row(12, SECOND - 6)),
      timed(SECOND - 4.5, 55.5, row(13, SECOND - 5)),
    );
    assert.deepEqual([result.missed, result.double], [0, 0]);
  });

  test('a new row in a slot that was empty for long', () => {
    const result = audit(
      sample(SECOND + 0.5),
      sample(SECOND + 1.5, row(0, 3)),
      sample(SECOND + 2.5, row(1, SECOND + 2)),
      sample(SECOND + 3.5, row(2, SECOND + 3)),
    );
    assert.deepEqual([result.missed, result.double], [0, 0]);
  });

  test('a new row ticked in the very second it was first seen in', () => {
    const result = audit(
      sample(SECOND + 1.2, row(0, 3)),
      sample(SECOND + 1.9, row(1, SECOND + 1)),
      sample(SECOND + 2.9, row(2, SECOND + 2)),
    );
    assert.deepEqual([result.missed, result.double], [0, 0]);
  });

  test('rows first seen right after an outage: their slots are ticked for the second before, then for that one', () => {
    const result = audit(
      sample(SECOND + 8.3, row(10, SECOND)),
      sample(SECOND + 9.2, row(12, SECOND + 8)),
      sample(SECOND + 10.2, row(13, SECOND + 9)),
    );
    assert.deepEqual([result.missed, result.double], [0, 0]);
  });

  test('a row first seen late in its round, and last seen early in one', () => {
    const result = audit(sample(SECOND + 2.1, row(10, SECOND)), sample(SECOND + 9.9, row(19, SECOND + 9)));
    assert.deepEqual([result.missed, result.double], [0, 0]);
  });

  test('a row that somebody set to another value', () => {
    const result = audit(
      sample(SECOND + 0.5, row(10, SECOND)),
      sample(SECOND + 1.5, row(0, SECOND + 1)),
      sample(SECOND + 2.5, row(1, SECOND + 2)),
    );
    assert.deepEqual([result.missed, result.double], [0, 0]);
  });

  test('a deleted row, whose faults it still remembers', () => {
    const result = audit(
      sample(SECOND + 0.5, row(10, SECOND)),
      sample(SECOND + 1.5, row(12, SECOND + 1)),
      sample(SECOND + 9.5),
    );
    assert.deepEqual([result.rows, result.missed, result.double], [0, 0, 1]);
  });

  test('rows that cannot grow, which it counts apart', () => {
    const rows = [row(null, SECOND), row(2_147_483_647, SECOND, { id: 'r2' })];
    const result = audit(sample(SECOND + 0.5, ...rows), sample(SECOND + 9.5, ...rows));
    assert.deepEqual([result.exhausted, result.missed, result.isClean], [2, 0, true]);
  });
});
