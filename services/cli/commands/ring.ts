import { SnapshotStream } from '../../../shared/nats/snapshot-stream.ts';
import { Fence } from '../../../shared/postgres/fence.ts';
import { describeDoubt, doubtOrder, type Issued } from '../../../shared/ring/issued-order.ts';
import { describeCause, type Snapshot } from '../../../shared/ring/snapshot.ts';
import { type CommandContext, CommandError } from '../context.ts';
import { formatTable, shorten } from '../output.ts';
import { compareRings } from '../ring-difference.ts';

/** How many snapshots the stream keeps: as much history as there is. */
const HISTORY_MOST = 256;

export async function showRing(context: CommandContext, args: { readonly version: number | null }): Promise<number> {
  const snapshot = args.version === null ? await readNewest(context) : await findVersion(context, args.version);
  context.output.result(snapshot, () => describeSnapshot(snapshot));
  return 0;
}

/** Prints the newest, then each new one, until the process is asked to end. */
export async function watchRing(context: CommandContext, signal: AbortSignal): Promise<number> {
  const stream = await SnapshotStream.attach(await context.nats());
  const print = (snapshot: Snapshot) => context.output.result(snapshot, () => describeInLine(snapshot));
  const stop = stream.subscribe(null, (received) => {
    if (received.ok) print(received.snapshot);
    else context.output.progress(`not a snapshot: ${received.reason}`);
  });
  const newest = await stream.newest(null);
  if (newest?.snapshot != null) print(newest.snapshot);
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  stop();
  return 0;
}

export async function showHistory(context: CommandContext, args: { readonly limit: number }): Promise<number> {
  const snapshots = await readHistory(context, args.limit);
  if (context.output.isJson) {
    for (const snapshot of snapshots) context.output.result(snapshot, () => '');
    return 0;
  }
  const rows = snapshots.map((snapshot) => [
    snapshot.version,
    snapshot.epoch,
    snapshot.at,
    snapshot.workers.length,
    snapshot.rows,
    snapshot.moved.rows,
    snapshot.moved.minimumRows,
    describeCause(snapshot.cause),
  ]);
  const head = ['ring', 'epoch', 'at', 'workers', 'rows', 'moved', 'minimum', 'cause'];
  context.output.result(null, () => formatTable(head, rows));
  return 0;
}

export async function diffRings(
  context: CommandContext,
  args: { readonly from: number; readonly to: number },
): Promise<number> {
  const [from, to] = [await findVersion(context, args.from), await findVersion(context, args.to)];
  const difference = compareRings(from, to);
  context.output.result({ from: args.from, to: args.to, ...difference }, () =>
    [
      `ring ${args.from} → ${args.to}: ${difference.movedSlots} of ${to.slots} slots change owner`,
      formatTable(
        ['worker', 'slots before', 'slots after', 'gained', 'lost'],
        difference.workers.map(({ id, before, after, gained, lost }) => [id, before, after, gained, lost]),
      ),
    ].join('\n'),
  );
  return 0;
}

/** @throws CommandError when nothing was published yet. */
export async function readNewest(context: CommandContext): Promise<Snapshot> {
  const stream = await SnapshotStream.attach(await context.nats());
  const newest = await stream.newest(null);
  if (newest?.snapshot != null) return newest.snapshot;
  if (newest?.reason !== undefined) throw new CommandError(`the newest message is no snapshot: ${newest.reason}`);
  throw new CommandError('no snapshot has been published yet; start a coordinator and a worker');
}

/**
 * The newest snapshot, held against Postgres: for commands that compare the two.
 * @throws CommandError when nothing was published yet, or when no leader can have published the newest message.
 */
export async function readNewestIssued(context: CommandContext): Promise<Snapshot> {
  const snapshot = await readNewest(context);
  const { postgres, table, adoption } = await context.adopted();
  const issued = await readIssued(new Fence(postgres, table, adoption));
  const doubt = doubtOrder(snapshot, issued);
  if (doubt === null) return snapshot;
  const reason = describeDoubt(doubt, snapshot, issued);
  throw new CommandError(
    `no leader published the newest message on ring.snapshot: ${reason}; a leader replaces it at once, so start a coordinator, or ask again`,
  );
}

/** Read after the snapshot that it is to be held against: a leader draws its epoch before it publishes. */
export async function readIssued(fence: Fence): Promise<Issued> {
  const [epoch, newest] = await Promise.all([fence.lastEpoch(), fence.newest()]);
  return { epoch, version: newest?.version ?? 0 };
}

async function readHistory(context: CommandContext, limit: number): Promise<Snapshot[]> {
  const stream = await SnapshotStream.attach(await context.nats());
  const stored = await stream.history(limit);
  return stored.flatMap(({ snapshot }) => (snapshot === null ? [] : [snapshot]));
}

/** Versions go on from term to term, so one names one ring; should two terms have used it, the later counts. */
async function findVersion(context: CommandContext, version: number): Promise<Snapshot> {
  const snapshots = await readHistory(context, HISTORY_MOST);
  const found = snapshots.findLast((snapshot) => snapshot.version === version);
  if (found !== undefined) return found;
  const first = snapshots.at(0)?.version ?? 0;
  const last = snapshots.at(-1)?.version ?? 0;
  throw new CommandError(`ring ${version} is not kept; the stream has ${first} to ${last}`);
}

function describeSnapshot(snapshot: Snapshot): string {
  const { version, epoch, at, cause, slots, rows, moved, workers } = snapshot;
  const head = [
    `ring ${version} (epoch ${epoch}) of ${at}: ${describeCause(cause)}`,
    `${workers.length} workers, ${rows} rows in ${slots} slots; moved ${moved.rows} rows, at least ${moved.minimumRows} had to`,
  ];
  const lines = workers.map((worker) => [worker.id, worker.rows, shorten(worker.slots.split(','), 8)]);
  return [...head, formatTable(['worker', 'rows', 'slots'], lines)].join('\n');
}

function describeInLine(snapshot: Snapshot): string {
  const shares = snapshot.workers.map(({ id, rows }) => `${id} ${rows}`);
  return `${snapshot.at} ring ${snapshot.version} ${describeCause(snapshot.cause)}: ${shorten(shares, 12)}`;
}
