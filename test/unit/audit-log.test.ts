import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type AuditedRow, AuditLog, type AuditSample } from '../../services/cli/audit-log.ts';
import { isUneven } from '../../shared/ring/assignment.ts';

const SECOND = 1_000;

/** A row of worker a whose slot was last ticked for `lastTick`. */
function row(value: number | null, lastTick: number, change: Partial<AuditedRow> = {}): AuditedRow {
  return { id: 'r1', value, slot: 7, owner: 'a', lastTick, ...change };
}

function sample(atSeconds: number, ...rows: AuditedRow[]): AuditSample {
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
    assert.deepEqual(result.worst, [{ id: 'r1', slot: 7, owner: 'a', missed: 1, double: 0 }]);
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
    assert.deepEqual(log.findings()[11], { id: 'r21', slot: 11, owner: 'a', missed: 1, double: 0 });
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

describe('the audit does not mistake', () => {
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
