import { addRows, removeRows } from '../../../shared/postgres/rows.ts';
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
