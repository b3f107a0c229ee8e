import { RecoveryStream } from '../../../shared/nats/recovery-stream.ts';
import { PHASES, type Recovery } from '../../../shared/ring/recovery.ts';
import { describeCause } from '../../../shared/ring/snapshot.ts';
import type { CommandContext } from '../context.ts';
import { formatTable, shorten } from '../output.ts';

const HEAD = ['ring', 'epoch', 'at', 'moved', 'workers', 'to plan', 'to publish', 'to claim', 'to tick', 'total ms'];

/** How long the last disruptions took to mend, phase by phase, the newest last. */
export async function listRecoveries(context: CommandContext, args: { readonly limit: number }): Promise<number> {
  const stream = await RecoveryStream.attach(await context.nats());
  const recoveries = await stream.history(args.limit);
  if (context.output.isJson) {
    for (const recovery of recoveries) context.output.result(recovery, () => '');
    return 0;
  }
  context.output.result(null, () =>
    recoveries.length === 0
      ? 'no disruption has been summed up yet'
      : formatTable([...HEAD, 'missed', 'cause'], recoveries.map(describeInRow)),
  );
  return 0;
}

function describeInRow(recovery: Recovery): (string | number)[] {
  const { version, epoch, at, moved, workers, phases, missed, cause, missing } = recovery;
  const untold = missing.length === 0 ? '' : `; not told by ${shorten(missing, 3)}`;
  const times = PHASES.map((phase) => formatMs(phases[phase]));
  return [version, epoch, at, moved.rows, workers, ...times, missed, `${describeCause(cause)}${untold}`];
}

/** Right-aligned like a number, though it may be none. */
function formatMs(ms: number | null): string {
  return (ms === null ? '–' : ms.toFixed(1)).padStart('to publish'.length);
}
