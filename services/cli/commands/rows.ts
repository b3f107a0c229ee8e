import { addRows, layRows, removeRows } from '../../../shared/postgres/rows.ts';
import type { CommandContext } from '../context.ts';

export async function changeRows(
  context: CommandContext,
  args: { readonly change: 'add' | 'remove'; readonly count: number },
): Promise<number> {
  const { postgres, table } = await context.adopted();
  const change = args.change === 'add' ? addRows : removeRows;
  const done = await change(postgres, table, args.count);
  const result = args.change === 'add' ? { added: done } : { removed: done };
  context.output.result(result, () => `${args.change === 'add' ? 'added' : 'removed'} ${done} rows`);
  if (done < args.count) context.output.progress(`the table had only ${done} rows`);
  return 0;
}

/** Keeps the table locked while it works, so it is asked for, never done unasked. */
export async function layTable(context: CommandContext): Promise<number> {
  const { postgres, table } = await context.adopted();
  context.output.progress('laying the rows by slot; the table is locked meanwhile …');
  const startedMs = performance.now();
  await layRows(postgres, table);
  const tookMs = Math.round(performance.now() - startedMs);
  context.output.result({ tookMs }, () => `the rows lie by slot now; the table was locked for at most ${tookMs} ms`);
  return 0;
}
