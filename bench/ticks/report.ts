import { formatNumber, type Table } from '../support/markdown.ts';
import { lineChart, type Series } from '../support/svg.ts';
import type { FullSpeedResult } from './full-speed.ts';
import type { OneHertzResult } from './one-hertz.ts';

export function rateTable(results: readonly FullSpeedResult[]): Table {
  return {
    head: [
      'rows, workers, layout',
      'bare UPDATE rows/s',
      'this project',
      'id = ANY',
      'row by row',
      'to bare',
      'to id = ANY',
      'Postgres CPU µs/row: bare, this, ANY',
      'WAL B/row: bare, this',
    ],
    rows: results.map((one) => [
      `${formatNumber(one.rows)}, ${one.workers}, ${one.layout}`,
      formatNumber(one.rate.bare),
      formatNumber(one.rate.ours),
      formatNumber(one.rate.plain),
      formatNumber(one.rate.rowByRow),
      one.oursToBare.toFixed(2),
      one.oursToPlain.toFixed(2),
      [one.cpuUs.bare, one.cpuUs.ours, one.cpuUs.plain].map((us) => formatNumber(us, 1)).join(', '),
      [one.walBytesPerRow.bare, one.walBytesPerRow.ours].map((bytes) => formatNumber(bytes)).join(', '),
    ]),
  };
}

export function aloneTable(results: readonly FullSpeedResult[]): Table {
  return {
    head: [
      'rows, workers, layout',
      'rows/s',
      'HOT',
      'table grows to',
      'statement p50, p99 ms',
      'round p50, p99 ms',
      'worker CPU µs/row',
      'event loop p99 ms',
      'worker MB',
    ],
    rows: results.map(({ rows, workers, layout, alone }) => [
      `${formatNumber(rows)}, ${workers}, ${layout}`,
      formatNumber(alone.rate),
      alone.hotShare.toFixed(4),
      `${alone.growth.toFixed(2)}×`,
      `${formatNumber(alone.statementP50Ms, 1)}, ${formatNumber(alone.statementP99Ms, 1)}`,
      `${formatNumber(alone.roundP50Ms)}, ${formatNumber(alone.roundP99Ms)}`,
      alone.workerCpuUs.toFixed(2),
      alone.workerDelayP99Ms.toFixed(0),
      alone.workerMb.toFixed(0),
    ]),
  };
}

export function hertzTable(results: readonly OneHertzResult[]): Table {
  const percent = (share: number | null) => (share === null ? '–' : `${formatNumber(share * 100, 1)} %`);
  return {
    head: [
      'rows, workers',
      'seconds',
      'missed, double ticks',
      'round ms (mean)',
      'HOT',
      'table grows to',
      'WAL B/row',
      'Postgres',
      'workers',
      'coordinator',
      'NATS',
      'worker MB',
    ],
    rows: results.map((one) => [
      `${formatNumber(one.rows)}, ${one.workers}`,
      formatNumber(one.seconds),
      `${formatNumber(one.missedTicks)}, ${formatNumber(one.doubleTicks)}`,
      formatNumber(one.roundMeanMs),
      one.hotShare.toFixed(4),
      `${one.growth.toFixed(2)}×`,
      formatNumber(one.walBytesPerRow),
      percent(one.load.postgres),
      percent(one.load.workers),
      percent(one.load.coordinator),
      percent(one.load.nats),
      formatNumber(one.workerMb),
    ]),
  };
}

/** Rates of the most common number of workers, rows laid by slot. */
export function rateChart(results: readonly FullSpeedResult[]): string {
  const workers = results.map((one) => one.workers).includes(4) ? 4 : (results[0]?.workers ?? 1);
  const shown = results.filter((one) => one.workers === workers);
  const of = (label: string, layout: string, pick: (one: FullSpeedResult) => number): Series => ({
    label,
    points: shown.filter((one) => one.layout === layout).map((one) => ({ x: one.rows, y: pick(one) })),
  });
  const layouts = [...new Set(shown.map(({ layout }) => layout))];
  const first = layouts[0] ?? 'laid';
  const series = [
    of('bare UPDATE', first, (one) => one.rate.bare),
    ...layouts.map((layout) => of(`this, ${layout}`, layout, (one) => one.rate.ours)),
    of('id = ANY', first, (one) => one.rate.plain),
    of('row by row', first, (one) => one.rate.rowByRow),
  ];
  return lineChart({
    title: `Rows incremented per second, ${workers} workers`,
    xLabel: 'rows in the table',
    series,
    formatX: (x) => formatNumber(x),
    formatY: (y) => formatNumber(y),
  });
}
