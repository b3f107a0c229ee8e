import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { countMissed } from '../../bench/contention/missed-ticks.ts';
import { contentionOptions } from '../../bench/contention/options.ts';
import { figuresTable, throughputChart, verdictsTable } from '../../bench/contention/report.ts';
import { judge, missedShare, speedOf, throughputRatio, type WorkloadResult } from '../../bench/contention/verdicts.ts';

const RESULT: WorkloadResult = {
  workload: 'two-rows',
  isRowLocked: false,
  rows: 100,
  seconds: 20,
  before: { throughput: 110, p99Ms: 30 },
  without: { throughput: 100, p99Ms: 31 },
  with: { throughput: 97, p99Ms: 40 },
  killed: {},
  missed: 10,
  unavoidable: 0,
  avoidable: 10,
  missedByOthers: 10,
  double: 0,
  evictions: 0,
  longestClaimMs: 30,
  unrest: null,
};

const missedTargets = (change: Partial<WorkloadResult>) =>
  judge({ ...RESULT, ...change })
    .filter(({ isMet }) => !isMet)
    .map(({ target }) => target);

describe('bench:contention counts missed ticks', () => {
  const finding = (id: string, missed: number, double = 0) => ({
    id,
    slot: 1,
    owner: 'a',
    missed,
    double,
    isMisnamed: false,
  });

  it('excuses only the seconds that a deliberate lock covers from beginning to end', () => {
    const holds = [{ ids: ['r1'], fromMs: 10_300, toMs: 15_200 }];
    // Seconds 11, 12, 13 and 14; in 10 and 15 the row was free for a while.
    const counted = countMissed([finding('r1', 6)], holds);
    assert.deepEqual(counted, { missed: 6, unavoidable: 4, avoidable: 2, missedByOthers: 0, double: 0 });
  });

  it('excuses whole seconds with exact bounds, and none of a lock that is shorter than a second', () => {
    const whole = [{ ids: ['r1'], fromMs: 10_000, toMs: 12_000 }];
    assert.equal(countMissed([finding('r1', 5)], whole).unavoidable, 2);
    const short = [{ ids: ['r1'], fromMs: 10_500, toMs: 11_499 }];
    assert.equal(countMissed([finding('r1', 5)], short).unavoidable, 0);
    const astride = [{ ids: ['r1'], fromMs: 10_500, toMs: 11_900 }];
    assert.equal(countMissed([finding('r1', 5)], astride).unavoidable, 0);
  });

  it('does not join two locks with a gap between them into one', () => {
    const holds = [
      { ids: ['r1'], fromMs: 10_000, toMs: 10_900 },
      { ids: ['r1'], fromMs: 10_901, toMs: 12_000 },
    ];
    assert.equal(countMissed([finding('r1', 2)], holds).unavoidable, 1);
  });

  it('counts a second that two locks cover once', () => {
    const hold = { ids: ['r1'], fromMs: 10_000, toMs: 11_000 };
    assert.equal(countMissed([finding('r1', 9)], [hold, hold]).unavoidable, 1);
  });

  it('never excuses more than was missed, nor another row’s ticks', () => {
    const holds = [{ ids: ['r1', 'r3'], fromMs: 0, toMs: 60_000 }];
    const counted = countMissed([finding('r1', 3), finding('r2', 5, 1)], holds);
    assert.deepEqual(counted, { missed: 8, unavoidable: 3, avoidable: 5, missedByOthers: 5, double: 1 });
  });
});

describe('bench:contention judges', () => {
  it('the speed by the p99 of the committed transactions', () => {
    const run = { throughput: 10, transactions: 4, latenciesMs: [1, 9, 2, 3], killed: { '40P01': 2 }, holds: [] };
    assert.deepEqual(speedOf(run), { throughput: 10, p99Ms: 9 });
  });

  it('the share of missed ticks without the unavoidable ones, of all that were due while the application ran', () => {
    assert.equal(missedShare({ ...RESULT, missed: 20, unavoidable: 10, avoidable: 10 }), 0.005);
    assert.equal(throughputRatio(RESULT), 0.97);
  });

  it('a workload by missed ticks, killed transactions and throughput, each bound included', () => {
    assert.deepEqual(missedTargets({}), []);
    assert.deepEqual(missedTargets({ with: { ...RESULT.with, throughput: 95 } }), []);
    assert.deepEqual(missedTargets({ avoidable: 11 }), ['at most 0.5 % of the ticks are missed']);
    assert.deepEqual(missedTargets({ killed: { '40P01': 1 } }), ['no application transaction is killed']);
    assert.deepEqual(missedTargets({ with: { ...RESULT.with, throughput: 94.9 } }), [
      'throughput at least 0.95 of that without',
    ]);
  });

  it('the locked row by the other rows, evictions and the longest claim', () => {
    const locked = { isRowLocked: true, missed: 20, unavoidable: 18, avoidable: 2, missedByOthers: 0 };
    assert.deepEqual(missedTargets({ ...locked, longestClaimMs: 100 }), []);
    assert.deepEqual(missedTargets({ ...locked, missedByOthers: 1 }), ['only the locked row misses ticks']);
    assert.deepEqual(missedTargets({ ...locked, evictions: 1 }), ['no worker is evicted']);
    assert.deepEqual(missedTargets({ ...locked, longestClaimMs: 101 }), ['claims take at most 100 ms']);
    assert.deepEqual(missedTargets({ ...locked, longestClaimMs: null }), ['claims take at most 100 ms']);
  });
});

describe('bench:contention reports', () => {
  it('one line for each workload, with the states of what was killed', () => {
    const { head, rows } = figuresTable([{ ...RESULT, killed: { '40P01': 2, '57P01': 1 } }]);
    assert.deepEqual(rows, [
      [
        'two-rows',
        '110.0',
        '100.0',
        '97.0',
        '0.97',
        '31.0',
        '40.0',
        '10',
        '0',
        '0.50 %',
        '0',
        '3 (40P01: 2, 57P01: 1)',
        '0',
        '30',
      ],
    ]);
    assert.equal(head.length, rows[0]?.length);
    assert.match(throughputChart([RESULT]), /two-rows[\s\S]*0\.97/);
  });

  it('one line for each target, met or missed', () => {
    const { rows } = verdictsTable([{ ...RESULT, killed: { '40P01': 2 } }]);
    assert.deepEqual(rows[1], ['two-rows', 'no application transaction is killed', '2 killed', 'MISSED']);
    assert.deepEqual(
      rows.map((cells) => cells.at(-1)),
      ['met', 'MISSED', 'met'],
    );
  });
});

describe('bench:contention takes', () => {
  it('workloads by their keys, and names the known ones otherwise', () => {
    const { workloads } = contentionOptions;
    const read = workloads.read('bulk,locked-row');
    assert.ok(read.ok);
    assert.deepEqual(
      read.value.map(({ key }) => key),
      ['bulk', 'locked-row'],
    );
    const expected = 'some of locked-row,job-queue,two-rows,bulk,single-rows';
    assert.deepEqual(workloads.read('bulk,lock'), { ok: false, expected });
    assert.deepEqual(workloads.read(''), { ok: false, expected });
  });
});
