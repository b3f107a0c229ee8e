import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compare } from '../../bench/assignment/comparison.ts';
import { MODULO, OURS } from '../../bench/assignment/strategy.ts';
import { formatNumber, toColumns, toMarkdown } from '../../bench/support/markdown.ts';
import { seededUuids } from '../../bench/support/seeded-uuids.ts';
import { median, quantile } from '../../bench/support/statistics.ts';
import { barChart, lineChart } from '../../bench/support/svg.ts';

const WORKERS = ['a', 'b', 'c', 'd'];

test('a quantile is a value of the list, a median may lie between two', () => {
  assert.equal(median([4, 1, 3, 2]), 2.5);
  assert.equal(median([9, 1, 5]), 5);
  assert.equal(quantile([1, 2, 3, 4], 0.99), 4);
  assert.ok(Number.isNaN(quantile([], 0.5)));
});

test('tables keep their columns, and a number that was not measured is a dash', () => {
  const table = {
    head: ['what', 'rows'],
    rows: [
      ['ours', formatNumber(1_234_567)],
      ['none', formatNumber(null)],
    ],
  };
  assert.equal(toMarkdown(table), '| what | rows |\n|---|---:|\n| ours | 1,234,567 |\n| none | – |');
  assert.equal(toColumns(table), 'what       rows\nours  1,234,567\nnone          –');
});

test('charts are whole SVG documents without a number that is none, and texts are escaped', () => {
  const bars = barChart('a < b', [{ label: 'x & y', value: 0, text: '0' }]);
  const chart = {
    title: 'rates',
    xLabel: 'rows',
    series: [{ label: 'ours', points: [{ x: 1000, y: 3 }] }],
    formatX: String,
    formatY: String,
  };
  const [lines, straight] = [lineChart(chart), lineChart({ ...chart, xScale: 'linear' })];
  for (const svg of [bars, lines, straight]) {
    assert.match(svg, /^<svg [^>]*>[\s\S]*<\/svg>\n$/);
    assert.doesNotMatch(svg, /NaN|Infinity/);
  }
  assert.match(bars, /a &lt; b[\s\S]*x &amp; y/);
});

test('the comparison finds nothing moved for nothing in this project’s assignment, and nearly everything in a modulo', () => {
  const keys = seededUuids(400);
  const ours = compare(OURS, keys, WORKERS);
  assert.deepEqual(ours.spread, { fullest: 1, range: 0 });
  for (const { keys: moved, minimum } of [ours.join, ours.leave, ours.rollingReplacement]) assert.equal(moved, minimum);
  const modulo = compare(MODULO, keys, WORKERS);
  assert.ok(modulo.join.keys > 2 * modulo.join.minimum && modulo.leave.keys > 2 * modulo.leave.minimum);
});
