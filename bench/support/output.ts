import { writeFile } from 'node:fs/promises';
import { text, toggle } from '../../shared/options/options.ts';

/** Every benchmark's options: where its results go besides the terminal, and the short form. */
export const outputOptions = {
  json: text({ flag: 'json', variable: 'BENCH_JSON', describe: 'file for the results as JSON' }),
  markdown: text({ flag: 'markdown', variable: 'BENCH_MARKDOWN', describe: 'file for the results as Markdown tables' }),
  svg: text({ flag: 'svg', variable: 'BENCH_SVG', describe: 'file for a chart' }),
  quick: toggle({ flag: 'quick', variable: 'BENCH_QUICK', describe: 'the short form: fewer sizes, fewer repetitions' }),
};

/** Progress goes to stderr, so that stdout holds the result alone. */
export function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

export async function writeResults(
  files: { readonly json: string | undefined; readonly markdown: string | undefined; readonly svg: string | undefined },
  results: { readonly json: unknown; readonly markdown: string; readonly svg: string },
): Promise<void> {
  if (files.json !== undefined) await writeFile(files.json, `${JSON.stringify(results.json, null, 2)}\n`);
  if (files.markdown !== undefined) await writeFile(files.markdown, results.markdown);
  if (files.svg !== undefined) await writeFile(files.svg, results.svg);
}
