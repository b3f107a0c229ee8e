import { styleText } from 'node:util';

/** Where a command says what it found: JSON for scripts, text for people; progress and warnings go to stderr. */
export interface Output {
  readonly isJson: boolean;
  /** One result: as one JSON line, or as the text made for people. */
  result(value: unknown, text: () => string): void;
  progress(text: string): void;
}

export function makeOutput(options: { readonly isJson: boolean }): Output {
  return {
    isJson: options.isJson,
    result: (value, text) => process.stdout.write(`${options.isJson ? JSON.stringify(value) : text()}\n`),
    progress: (text) => process.stderr.write(`${text}\n`),
  };
}

/** Columns as wide as their longest cell; numbers to the right. */
export function formatTable(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => String(row[column] ?? '').length)),
  );
  const line = (cells: readonly (string | number)[]) =>
    cells
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        return typeof cell === 'number' ? String(cell).padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd();
  return [bold(line(head)), ...rows.map(line)].join('\n');
}

/** Colour only on a terminal, and never against NO_COLOR. */
function bold(text: string): string {
  return process.stdout.isTTY && !process.env.NO_COLOR ? styleText('bold', text) : text;
}

/** "a, b and 12 more". */
export function shorten(items: readonly string[], most: number): string {
  if (items.length <= most) return items.join(', ');
  return `${items.slice(0, most).join(', ')} and ${items.length - most} more`;
}
