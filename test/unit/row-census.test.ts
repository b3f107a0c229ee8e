import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { newMember } from '../../services/coordinator/member.ts';
import { startMembership } from '../../services/coordinator/membership.ts';
import {
  noteChanged,
  type RowCensus,
  rowsTold,
  startCensus,
  takeCensus,
} from '../../services/coordinator/row-census.ts';
import { makeSnapshotOf } from '../support/machine-fixtures.ts';

/** Takes one census a second; returns the seconds at which the count was doubted. */
function doubts(seconds: number, rows: (second: number) => { told: number | null; counted: number; changed?: number }) {
  let census: RowCensus = startCensus(0);
  const doubted: number[] = [];
  for (let second = 1; second <= seconds; second += 1) {
    const { told, counted, changed = 0 } = rows(second);
    const step = takeCensus(noteChanged(census, changed), { told, counted }, second * 1_000);
    if (step.isDoubtful) doubted.push(second);
    census = step.census;
  }
  return doubted;
}

describe('the census of rows', () => {
  it('doubts a count from which the workers have differed for five seconds', () => {
    assert.deepEqual(
      doubts(20, (second) => ({ told: second < 3 ? 10 : 14, counted: second > 8 ? 14 : 10 })),
      [8],
    );
  });

  it('doubts nothing while workers are behind recent changes', () => {
    assert.deepEqual(
      doubts(60, (second) => ({ told: 100 * second - 150, counted: 100 * second, changed: 100 })),
      [],
    );
  });

  it('doubts a difference that exceeds recent changes', () => {
    assert.deepEqual(
      doubts(8, (second) => ({ told: 100 * second + 4_000, counted: 100 * second, changed: 100 })),
      [6],
    );
  });

  it('forgets a difference that ends, and one that cannot be seen any more', () => {
    assert.deepEqual(
      doubts(40, (second) => ({ told: second % 5 === 0 ? null : 14, counted: 10 })),
      [],
    );
    assert.deepEqual(
      doubts(40, (second) => ({ told: second % 5 === 0 ? 10 : 14, counted: 10 })),
      [],
    );
  });

  it('doubts ever more rarely where counting again does not help', () => {
    const doubted = doubts(4_000, () => ({ told: 14, counted: 10 }));
    assert.deepEqual(doubted.slice(0, 5), [6, 16, 36, 76, 156]);
    assert.ok(doubted.at(-1)! - doubted.at(-2)! >= 600);
  });
});

describe('the rows that workers report', () => {
  const published = makeSnapshotOf({ epoch: 1, version: 4 }, { a: [0], b: [1] });
  const told = (workers: Record<string, { ring: number; rows: number }>) => {
    const { state } = startMembership([], [], 0);
    const members = new Map(Object.entries(workers).map(([id, words]) => [id, { ...newMember(id, 0), ...words }]));
    return rowsTold({ ...state, members }, published);
  };

  it('are added up once all have applied the newest ring', () => {
    assert.equal(told({ a: { ring: 4, rows: 3 }, b: { ring: 4, rows: 5 } }), 8);
    assert.equal(told({ a: { ring: 4, rows: 3 }, b: { ring: 3, rows: 5 } }), null);
    assert.equal(told({ a: { ring: 4, rows: 3 } }), null);
  });
});
