/**
 * Charts as SVG, by hand: a few rectangles, lines and texts. Pure. They are legible on light and dark pages alike, since
 * GitHub shows them on both.
 */
const FONT = 'font-family="system-ui, sans-serif" font-size="12"';
const INK = '#6b7280';
const COLOURS = ['#2563eb', '#d97706', '#059669', '#dc2626', '#7c3aed', '#0891b2'];
const WIDTH = 720;
const LEFT = 190;
const MARGIN = 24;
const TITLE_HEIGHT = 36;

export function colourOf(index: number): string {
  return COLOURS[index % COLOURS.length] ?? INK;
}

export interface Bar {
  readonly label: string;
  readonly value: number;
  readonly text: string;
}

/** One horizontal bar under the other, each with its label to the left and its text to the right. */
export function barChart(title: string, bars: readonly Bar[]): string {
  const rowHeight = 26;
  // Also where nothing is longer than zero.
  const longest = Math.max(Number.MIN_VALUE, ...bars.map(({ value }) => value));
  const space = WIDTH - LEFT - 110;
  const drawn = bars.flatMap(({ label, value, text }, index) => {
    const y = TITLE_HEIGHT + index * rowHeight;
    const length = Math.max(1, (value / longest) * space);
    return [
      write({ x: LEFT - 8, y: y + 14, anchor: 'end' }, label),
      `<rect x="${LEFT}" y="${y}" width="${length.toFixed(1)}" height="18" rx="2" fill="${colourOf(index)}"/>`,
      write({ x: LEFT + length + 6, y: y + 14 }, text),
    ];
  });
  return draw(title, TITLE_HEIGHT + bars.length * rowHeight + 8, drawn);
}

export interface Series {
  readonly label: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

export interface LineChart {
  readonly title: string;
  readonly xLabel: string;
  /** @default 'logarithmic'; a linear one begins at zero, so what grows in proportion is a straight line through the corner. */
  readonly xScale?: 'logarithmic' | 'linear';
  readonly series: readonly Series[];
  readonly formatX: (x: number) => string;
  readonly formatY: (y: number) => string;
}

/** Lines over an x axis; y begins at zero. */
export function lineChart({ title, xLabel, xScale = 'logarithmic', series, formatX, formatY }: LineChart): string {
  const plot = { left: 80, right: WIDTH - 170, top: TITLE_HEIGHT + 4, bottom: 300 };
  const points = series.flatMap((one) => one.points);
  const xs = [...new Set(points.map(({ x }) => x))].sort((a, b) => a - b);
  const scale = xScale === 'linear' ? (x: number) => x : Math.log;
  const [first, last] = [xScale === 'linear' ? 0 : scale(xs[0] ?? 1), scale(xs.at(-1) ?? 1)];
  const top = niceCeiling(Math.max(...points.map(({ y }) => y)));
  const placeX = (x: number) =>
    first === last
      ? (plot.left + plot.right) / 2
      : plot.left + ((scale(x) - first) / (last - first)) * (plot.right - plot.left);
  const placeY = (y: number) => plot.bottom - (y / top) * (plot.bottom - plot.top);
  const grid = [0, 0.25, 0.5, 0.75, 1].flatMap((share) => [
    `<path d="M${plot.left} ${placeY(share * top).toFixed(1)}H${plot.right}" stroke="${INK}" stroke-opacity="0.3"/>`,
    write({ x: plot.left - 8, y: placeY(share * top) + 4, anchor: 'end' }, formatY(share * top)),
  ]);
  const marks = xs.map((x) => write({ x: placeX(x), y: plot.bottom + 18, anchor: 'middle' }, formatX(x)));
  const lines = series.flatMap((one, index) => {
    const placed = one.points.map(({ x, y }) => `${placeX(x).toFixed(1)} ${placeY(y).toFixed(1)}`);
    const y = plot.top + 14 + index * 20;
    return [
      `<path d="M${placed.join('L')}" fill="none" stroke="${colourOf(index)}" stroke-width="2"/>`,
      ...placed.map(
        (at) => `<circle cx="${at.split(' ')[0]}" cy="${at.split(' ')[1]}" r="3" fill="${colourOf(index)}"/>`,
      ),
      `<rect x="${plot.right + 16}" y="${y - 9}" width="10" height="10" fill="${colourOf(index)}"/>`,
      write({ x: plot.right + 32, y }, one.label),
    ];
  });
  const label = write({ x: (plot.left + plot.right) / 2, y: plot.bottom + 38, anchor: 'middle' }, xLabel);
  return draw(title, plot.bottom + 50, [label, ...grid, ...marks, ...lines]);
}

/** The title twice: to be seen, and for whoever has the chart read out. */
function draw(title: string, height: number, parts: readonly string[]): string {
  const head = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" ${FONT} fill="${INK}">`;
  const titles = [`<title>${escapeText(title)}</title>`, write({ x: MARGIN, y: 20 }, title)];
  return `${[head, ...titles, ...parts].join('\n')}\n</svg>\n`;
}

function write(
  place: { readonly x: number; readonly y: number; readonly anchor?: 'start' | 'middle' | 'end' },
  text: string,
): string {
  const anchor = place.anchor === undefined ? '' : ` text-anchor="${place.anchor}"`;
  return `<text x="${place.x.toFixed(1)}" y="${place.y.toFixed(1)}"${anchor}>${escapeText(text)}</text>`;
}

export function escapeText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** 1, 2 or 5 times a power of ten. */
function niceCeiling(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 5, 10].find((step) => step * power >= value) ?? 10) * power;
}
