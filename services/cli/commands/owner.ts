import { LivenessBucket } from '../../../shared/nats/liveness-bucket.ts';
import { Inspection, type RowLock } from '../../../shared/postgres/inspection.ts';
import { describeTable } from '../../../shared/postgres/table.ts';
import { sliceOf } from '../../../shared/ring/snapshot.ts';
import { type CommandContext, CommandError } from '../context.ts';
import { readNewestIssued } from './ring.ts';

/** Row → slot → worker, by the newest snapshot and by the fence, and who holds its lock. Exit code 1 when the two disagree. */
export async function showOwner(context: CommandContext, args: { readonly id: string }): Promise<number> {
  const { postgres, table, adoption } = await context.adopted();
  const inspection = new Inspection(postgres, table, adoption);
  const row = await inspection.findRow(args.id);
  if (row === null) throw new CommandError(`there is no row ${args.id} in ${describeTable(table)}`);
  const snapshot = await readNewestIssued(context);
  const bySnapshot = snapshot.workers.find(({ id }) => sliceOf(snapshot, id).includes(row.slot))?.id ?? null;
  const agree = bySnapshot === row.owner;
  const lockedBy = await inspection.findLocks(args.id);
  const entries = await (await LivenessBucket.attach(await context.nats())).entries();
  const ownersBlockedRows = entries.find(({ id }) => id === row.owner)?.value?.blocked ?? null;
  const found = {
    id: row.id,
    slot: row.slot,
    bySnapshot,
    ring: snapshot.version,
    byFence: row.owner,
    lastTick: row.lastTick,
    value: row.value,
    currentWorker: row.currentWorker,
    lockedBy,
    ownersBlockedRows,
    agree,
  };
  context.output.result(found, () =>
    [
      `row ${row.id} is in slot ${row.slot}`,
      `  by ring ${snapshot.version}: ${bySnapshot ?? 'nobody'}`,
      `  by the fence: ${row.owner ?? 'nobody'}, last tick ${row.lastTick}`,
      `  the row itself says ${row.currentWorker ?? 'nobody'}, value ${row.value ?? 'NULL'}`,
      ...lockedBy.map(describeLock),
      ...(ownersBlockedRows === null || ownersBlockedRows === 0
        ? []
        : [`  ${row.owner} has ${ownersBlockedRows} rows that get no ticks: its log and metrics say why`]),
      agree
        ? 'ring and fence agree'
        : 'ring and fence disagree: a handover is under way, or the owner has not claimed it',
    ].join('\n'),
  );
  return agree ? 0 : 1;
}

function describeLock({ pid, application, ageSeconds }: RowLock): string {
  const age = ageSeconds === null ? 'of unknown age' : `open for ${ageSeconds.toFixed(1)} s`;
  return `  locked by a transaction ${age}: pid ${pid}, application ${JSON.stringify(application)}`;
}
