import { LivenessBucket } from '../../../shared/nats/liveness-bucket.ts';
import type { CommandContext } from '../context.ts';
import { formatTable } from '../output.ts';

/** Who is alive, as the liveness bucket has it. */
export async function listWorkers(context: CommandContext): Promise<number> {
  const bucket = await LivenessBucket.attach(await context.nats());
  const entries = await bucket.entries();
  entries.sort((a, b) => (a.id < b.id ? -1 : 1));
  const garbage = entries.filter(({ value }) => value === null);
  for (const { id, reason } of garbage) context.output.progress(`key ${id} holds no liveness value: ${reason}`);
  const workers = entries.flatMap(({ value }) => (value === null ? [] : [value]));
  context.output.result(workers, () =>
    workers.length === 0
      ? 'no worker is alive'
      : formatTable(
          ['worker', 'state', 'rows', 'blocked', 'ring', 'tick', 'started'],
          workers.map(({ id, state, rows, blocked, ring, tick, startedAt }) => {
            // Workers of an earlier version do not say.
            return [id, state, rows, blocked ?? '?', ring, tick, startedAt];
          }),
        ),
  );
  return 0;
}
