import { setTimeout as delay } from 'node:timers/promises';
import type { NatsLink } from '../../../shared/nats/connection.ts';
import { decodeLiveness, type Liveness } from '../../../shared/nats/liveness.ts';
import { LivenessBucket } from '../../../shared/nats/liveness-bucket.ts';
import { probe } from '../../../shared/nats/probe.ts';
import { SnapshotStream } from '../../../shared/nats/snapshot-stream.ts';
import { Fence } from '../../../shared/postgres/fence.ts';
import { doubtOrder } from '../../../shared/ring/issued-order.ts';
import { type CommandContext, CommandError } from '../context.ts';
import { type DrainProgress, measureDrain } from '../drain-progress.ts';
import { shorten } from '../output.ts';
import { readIssued } from './ring.ts';

export interface DrainRequest {
  readonly worker: string;
  /** False: undrain. */
  readonly isDrained: boolean;
}

const ANSWER_LIMIT_MS = 1_000;
const LOOK_EVERY_MS = 50;
const PATIENCE_MS = 5_000;
const SAID_AFTER_MS = 2_000;

/**
 * Takes all slots from a worker that lives on, or lets it have some again, and tells what came of it. Asking again is
 * harmless. Exit code 1 when nothing was done, or the ring has not followed within five seconds.
 */
export async function drainWorker(context: CommandContext, request: DrainRequest): Promise<number> {
  const link = await context.nats();
  // Connected before anything is asked for: what is begun can then be watched.
  const { postgres, table, adoption } = await context.adopted();
  const [stream, fence] = [await SnapshotStream.attach(link), new Fence(postgres, table, adoption)];
  await refuseUnlessFit(link, request);
  await askWorker(link, request);
  const { worker, isDrained } = request;
  const look = async () => {
    const snapshot = (await stream.newest(null))?.snapshot ?? null;
    const [owned, issued] = await Promise.all([fence.ownedBy(worker), readIssued(fence)]);
    // A forged message says nothing; the leader replaces it at once.
    const isHonest = snapshot !== null && doubtOrder(snapshot, issued) === null;
    return measureDrain({ ...request, snapshot: isHonest ? snapshot : null, owned });
  };
  const progress = await follow(look, (seen) => context.output.progress(`waiting: ${describeWaiting(request, seen)}`));
  const state: Liveness['state'] = isDrained ? 'drained' : 'active';
  context.output.result({ worker, state, ...progress }, () =>
    progress.isDone
      ? describeDone(request, progress)
      : `${worker} says that it is ${state}, but after ${PATIENCE_MS / 1000} s ${describeWaiting(request, progress)}`,
  );
  return progress.isDone ? 0 : 1;
}

/** The coordinator would give the last one's rows back to it: who asks should know before, not wonder afterwards. */
async function refuseUnlessFit(link: NatsLink, { worker, isDrained }: DrainRequest): Promise<void> {
  const entries = await (await LivenessBucket.attach(link)).entries();
  const alive = entries.flatMap(({ value }) => (value === null ? [] : [value]));
  const ids = alive.map(({ id }) => id).sort();
  if (!ids.includes(worker)) {
    throw new CommandError(
      ids.length === 0 ? 'no worker is alive' : `no worker ${worker} is alive; there are ${shorten(ids, 12)}`,
    );
  }
  const isAnotherActive = alive.some(({ id, state }) => id !== worker && state === 'active');
  if (!isDrained || isAnotherActive) return;
  throw new CommandError(
    `${worker} cannot be drained: no other worker is active, and no row may be without an owner. Start or undrain another one first.`,
  );
}

async function askWorker(link: NatsLink, { worker, isDrained }: DrainRequest): Promise<void> {
  const subject = isDrained ? link.names.workerDrain(worker) : link.names.workerUndrain(worker);
  const outcome = await probe(link, subject, ANSWER_LIMIT_MS);
  switch (outcome.kind) {
    case 'answered': {
      const decoded = decodeLiveness(worker, outcome.bytes);
      if (!decoded.ok) throw new CommandError(`${worker} answers what is no liveness value: ${decoded.reason}`);
      if (decoded.value.state === 'leaving')
        throw new CommandError(`${worker} is leaving; it gives up its slots anyway`);
      return;
    }
    case 'no-responders':
      throw new CommandError(
        `nobody answers at ${subject}: ${worker} has just ended, is of an older version, or may not subscribe to it`,
      );
    case 'foreign':
      throw new CommandError(`${worker} answers for another installation: ${outcome.installation}`);
    case 'timeout':
      throw new CommandError(`${worker} does not answer; whether it was asked is unknown, asking again is harmless`);
  }
}

/** Looks until it is done or the patience ends; says once what it waits for. */
async function follow(look: () => Promise<DrainProgress>, say: (seen: DrainProgress) => void): Promise<DrainProgress> {
  const startedMs = performance.now();
  let isSaid = false;
  for (;;) {
    const seen = await look();
    const tookMs = performance.now() - startedMs;
    if (seen.isDone || tookMs > PATIENCE_MS) return seen;
    if (!isSaid && tookMs > SAID_AFTER_MS) {
      isSaid = true;
      say(seen);
    }
    await delay(LOOK_EVERY_MS);
  }
}

function describeDone({ worker, isDrained }: DrainRequest, { ring, given }: DrainProgress): string {
  return isDrained
    ? `${worker} is drained: ring ${ring} is without it, and others own all slots; it lives on, idle, until it is undrained or ends`
    : `${worker} is undrained: ring ${ring} gives it ${given} slots, and it owns them`;
}

/** What is not as it should be yet, and why that may be. */
function describeWaiting({ isDrained }: DrainRequest, { ring, given, owned }: DrainProgress): string {
  if (isDrained && given === 0) return `ring ${ring} is without it, but ${owned} of its slots have no new owner yet`;
  if (given > 0 && !isDrained) return `it owns only ${owned} of the ${given} slots that ring ${ring} gives it`;
  return isDrained
    ? `ring ${ring} still gives it ${given} slots: no coordinator leads, or no other worker is active any more`
    : `ring ${ring} is still without it: no coordinator leads`;
}
