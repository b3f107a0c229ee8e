import { Inspection } from '../../../shared/postgres/inspection.ts';
import { sliceOf } from '../../../shared/ring/snapshot.ts';
import { type CommandContext, CommandError } from '../context.ts';
import { readNewestIssued } from './ring.ts';

/** Row → slot → worker, by the newest snapshot and by the fence. Exit code 1 when the two disagree. */
export async function showOwner(context: CommandContext, args: { readonly id: string }): Promise<number> {
  const { postgres, table, adoption } = await context.adopted();
  const row = await new Inspection(postgres, table, adoption).findRow(args.id);
  if (row === null) throw new CommandError(`there is no row ${args.id} in ${table.schema}.${table.table}`);
  const snapshot = await readNewestIssued(context);
  const bySnapshot = snapshot.workers.find(({ id }) => sliceOf(snapshot, id).includes(row.slot))?.id ?? null;
  const agree = bySnapshot === row.owner;
  const found = {
    id: row.id,
    slot: row.slot,
    bySnapshot,
    ring: snapshot.version,
    byFence: row.owner,
    lastTick: row.lastTick,
    value: row.value,
    currentWorker: row.currentWorker,
    agree,
  };
  context.output.result(found, () =>
    [
      `row ${row.id} is in slot ${row.slot}`,
      `  by ring ${snapshot.version}: ${bySnapshot ?? 'nobody'}`,
      `  by the fence: ${row.owner ?? 'nobody'}, last tick ${row.lastTick}`,
      `  the row itself says ${row.currentWorker ?? 'nobody'}, value ${row.value ?? 'NULL'}`,
      agree
        ? 'ring and fence agree'
        : 'ring and fence disagree: a handover is under way, or the owner has not claimed it',
    ].join('\n'),
  );
  return agree ? 0 : 1;
}
