import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type FenceSample, measureHandover } from '../../bench/recovery/handover.ts';
import { drawHistograms } from '../../bench/recovery/histogram-picture.ts';
import type { Measurement } from '../../bench/recovery/measurement.ts';
import { describeInMarkdown, describeInText, type EventResult } from '../../bench/recovery/report.ts';
import { binLogarithmically, summarize } from '../../bench/support/statistics.ts';

describe('bench: statistics', () => {
  it('a quantile is the measured value of its rank', () => {
    const values = Array.from({ length: 100 }, (_, index) => 100 - index);
    assert.deepEqual(summarize(values), { n: 100, p50: 50, p90: 90, p99: 99, max: 100 });
    assert.deepEqual(summarize([3, 1, 2]), { n: 3, p50: 2, p90: 3, p99: 3, max: 3 });
    assert.deepEqual(summarize([7]), { n: 1, p50: 7, p90: 7, p99: 7, max: 7 });
    assert.equal(summarize([]), null);
  });

  it('bins are equally wide on a logarithmic scale, and lose no value', () => {
    const bins = binLogarithmically([0, 1, 5, 15, 150, 99_999], { fromMs: 1, toMs: 1_000, perDecade: 1 });
    assert.deepEqual(
      bins.map(({ fromMs, toMs, count }) => [Math.round(fromMs), Math.round(toMs), count]),
      [
        [1, 10, 3],
        [10, 100, 1],
        [100, 1_000, 2],
      ],
    );
  });
});

describe('bench: handover from outside', () => {
  const sample = (atMs: number, claims: FenceSample['claims']) => ({ atMs, claims });
  const by = (worker: string, isTicked: boolean) => ({ worker, isTicked });
  const before = new Map([
    [7, 'a'],
    [8, 'a'],
    [9, 'b'],
  ]);
  const SAMPLES = [
    sample(90, new Map()),
    sample(130, new Map([[7, by('c', false)]])),
    sample(
      140,
      new Map([
        [7, by('c', true)],
        [8, by('b', false)],
      ]),
    ),
    sample(
      150,
      new Map([
        [7, by('c', true)],
        [8, by('b', true)],
      ]),
    ),
  ];

  it('ends with the last orphaned slot’s claim and first tick', () => {
    const handover = measureHandover({ before, samples: SAMPLES }, { atMs: 100, gone: new Set(['a']) });
    assert.deepEqual(handover, { slots: 2, claimedMs: 40, firstTickMs: 50 });
  });

  it('without anybody gone counts what changed owner, and only slots that count', () => {
    const seen = { before, samples: SAMPLES };
    const fault = { atMs: 100, gone: null };
    assert.deepEqual(measureHandover(seen, fault)?.slots, 2);
    const first = measureHandover(seen, fault, (slot) => slot === 7);
    assert.deepEqual(first, { slots: 1, claimedMs: 30, firstTickMs: 40 });
    assert.equal(
      measureHandover(seen, fault, (slot) => slot === 9),
      null,
    );
  });

  it('is none while a slot of the gone is unclaimed, and has no first tick while one is not ticked', () => {
    const fault = { atMs: 100, gone: new Set(['a']) };
    assert.equal(measureHandover({ before, samples: [] }, fault), null);
    assert.equal(measureHandover({ before, samples: SAMPLES.slice(0, 2) }, fault), null);
    assert.equal(measureHandover({ before, samples: SAMPLES.slice(0, 3) }, fault)?.firstTickMs, null);
  });

  it('what a former owner takes up again is handed over to nobody', () => {
    const samples = [sample(120, new Map([[7, by('a', true)]]))];
    assert.equal(measureHandover({ before, samples }, { atMs: 100, gone: new Set(['a']) }), null);
  });
});

describe('bench: what is told', () => {
  const measurement = (handoverMs: number): Measurement => ({
    handoverMs,
    firstTickMs: handoverMs + 5,
    phases: {
      evidenceToDecided: 25,
      decidedToPublished: 3,
      publishedToLastClaim: 8,
      lastClaimToLastFirstTick: null,
      total: 36,
    },
    isComplete: true,
    slots: 60,
    missed: 2,
    missedTold: 1,
    missedPerRow: 1,
    double: 0,
    rings: 1,
    movedRows: 60,
    minimumRows: 60,
    gapsMs: [2, 3],
  });
  const promise = { p50: 60, p99: 250, missedPerRow: '≤ 1' };
  const result: EventResult = {
    event: { key: 'kill', title: 'killed & gone', from: 'the signal', promise },
    measurements: [measurement(50), measurement(70)],
    failures: ['repetition 3: waited in vain'],
  };
  const setting = {
    workers: 4,
    coordinators: 2,
    rows: 240,
    repeat: 3,
    floorMs: [30, 10, 20],
    evidence: 'probes only',
    machine: 'one',
    at: 'now',
  };

  it('stands in the tables: the figures, the promise, and the phases that are known', () => {
    const page = describeInMarkdown(setting, [result]);
    assert.match(page, /\| killed & gone \| the signal \| 2 \| 50\.0 \| 70\.0 \| 70\.0 \| 70\.0 \| ≤ 60 \/ ≤ 250 \|/);
    assert.match(page, /\| killed & gone \| 4 \| 2 \| 1 \| ≤ 1 \| 0 \| 1 \| 120 \/ 120 \| 0 \| 1 \|/);
    assert.match(page, /\| total \| 2 \| 36\.0 \|/);
    assert.doesNotMatch(page, /lastClaimToLastFirstTick/);
    assert.match(page, /bare processes.*: n 3, p50 20\.0, p90 30\.0, p99 30\.0, max 30\.0 ms/);
    assert.match(page, /looked at every 2\.0 ms \(p50; p99 3\.0\)/);
  });

  it('nothing measured is said, not invented', () => {
    const text = describeInText({ ...result, measurements: [] });
    assert.match(text, /n 0, handover p50 – p90 – p99 – max – ms/);
    assert.match(text, /failed: repetition 3: waited in vain/);
    assert.doesNotMatch(text, /NaN|Infinity/);
  });

  it('the picture has a bar for what was measured, the promises, and no stray markup', () => {
    const marks = [{ label: 'promised p99', atMs: 250 }];
    const picture = drawHistograms('Handover', [{ title: 'killed & gone', valuesMs: [52, 53, 400], marks }]);
    // One for each bar, and the picture's own.
    assert.equal(picture.match(/<title>/g)?.length, 3);
    assert.match(picture, /killed &amp; gone – n 3, p50 53\.0/);
    assert.match(picture, /promised p99/);
    assert.doesNotMatch(picture, /NaN|Infinity/);
    assert.match(drawHistograms('Empty', [{ title: 'none', valuesMs: [], marks: [] }]), /nothing measured/);
  });
});
