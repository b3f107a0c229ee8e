import { binLogarithmically, summarize } from '../support/statistics.ts';
import { escapeText } from '../support/svg.ts';

export interface Histogram {
  readonly title: string;
  readonly valuesMs: readonly number[];
  /** Upright lines, such as what is promised. */
  readonly marks: readonly { readonly label: string; readonly atMs: number }[];
}

const RANGE = { fromMs: 1, toMs: 10_000, perDecade: 10 };
const WIDTH = 900;
const LEFT = 20;
const PLOT_WIDTH = WIDTH - 2 * LEFT;
const ROW_HEIGHT = 120;
const PLOT_HEIGHT = 64;
const TOP = 44;

/** Histograms one below the other on one logarithmic axis of time, as an SVG. Pure. */
export function drawHistograms(title: string, histograms: readonly Histogram[]): string {
  const height = TOP + histograms.length * ROW_HEIGHT + 16;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">`,
    `<title>${escapeText(title)}</title>`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    `<text x="${LEFT}" y="24" font-size="16" fill="#1a1a1a">${escapeText(title)}</text>`,
    ...histograms.map((histogram, index) => drawOne(histogram, TOP + index * ROW_HEIGHT)),
    '</svg>',
    '',
  ].join('\n');
}

function drawOne({ title, valuesMs, marks }: Histogram, top: number): string {
  const base = top + 20 + PLOT_HEIGHT;
  const bins = binLogarithmically(valuesMs, RANGE);
  const most = Math.max(1, ...bins.map(({ count }) => count));
  const bars = bins
    .filter(({ count }) => count > 0)
    .map(({ fromMs, toMs, count }) => {
      const tall = (count / most) * PLOT_HEIGHT;
      const box = `x="${fixed(xOf(fromMs))}" y="${fixed(base - tall)}" width="${fixed(xOf(toMs) - xOf(fromMs) - 1)}"`;
      return `<rect ${box} height="${fixed(tall)}" fill="#3b6fb6"><title>${fixed(fromMs)}–${fixed(toMs)} ms: ${count}</title></rect>`;
    });
  return [
    `<text x="${LEFT}" y="${top + 10}" fill="#1a1a1a">${escapeText(`${title} – ${describe(valuesMs)}`)}</text>`,
    ...bars,
    `<line x1="${LEFT}" y1="${base}" x2="${LEFT + PLOT_WIDTH}" y2="${base}" stroke="#808080"/>`,
    ...[1, 10, 100, 1_000, 10_000].map((ms) => drawTick(ms, base)),
    ...marks.map(({ label, atMs }, index) => drawMark({ label, atMs, y: top + 24 + index * 12, base })),
  ].join('\n');
}

function drawTick(ms: number, base: number): string {
  const text = ms < 1_000 ? `${ms} ms` : `${ms / 1_000} s`;
  return `<text x="${fixed(xOf(ms))}" y="${base + 14}" text-anchor="middle" fill="#606060">${text}</text>`;
}

function drawMark(mark: { readonly label: string; readonly atMs: number; readonly y: number; readonly base: number }) {
  const x = fixed(xOf(mark.atMs));
  const line = `<line x1="${x}" y1="${mark.y - 8}" x2="${x}" y2="${mark.base}" stroke="#c0392b" stroke-dasharray="4 3"/>`;
  return `${line}<text x="${fixed(xOf(mark.atMs) + 4)}" y="${mark.y}" fill="#c0392b">${escapeText(mark.label)}</text>`;
}

function describe(valuesMs: readonly number[]): string {
  const summary = summarize(valuesMs);
  if (summary === null) return 'nothing measured';
  const { n, p50, p99, max } = summary;
  return `n ${n}, p50 ${fixed(p50)}, p99 ${fixed(p99)}, max ${fixed(max)} ms`;
}

function xOf(ms: number): number {
  const clamped = Math.min(RANGE.toMs, Math.max(RANGE.fromMs, ms));
  return LEFT + (Math.log10(clamped / RANGE.fromMs) / Math.log10(RANGE.toMs / RANGE.fromMs)) * PLOT_WIDTH;
}

function fixed(value: number): string {
  return value.toFixed(1);
}
