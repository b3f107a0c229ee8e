import type { Perform } from '../../shared/machine/driver.ts';
import { assertNever } from '../../shared/machine/machine.ts';
import type { NatsLink } from '../../shared/nats/connection.ts';
import type { PublishOutcome } from '../../shared/nats/history-stream.ts';
import type { RemoveOutcome } from '../../shared/nats/kv-bucket.ts';
import type { LeadershipBucket } from '../../shared/nats/leadership-bucket.ts';
import { decodeLiveness } from '../../shared/nats/liveness.ts';
import type { LivenessBucket } from '../../shared/nats/liveness-bucket.ts';
import { describeNatsError } from '../../shared/nats/nats-errors.ts';
import { probe } from '../../shared/nats/probe.ts';
import type { RecoveryStream } from '../../shared/nats/recovery-stream.ts';
import type { SnapshotStream } from '../../shared/nats/snapshot-stream.ts';
import type { TableStream } from '../../shared/nats/table-stream.ts';
import type { Adoption } from '../../shared/postgres/adoption.ts';
import type { AdoptionVerdict } from '../../shared/postgres/adoption-check.ts';
import { describeFailure } from '../../shared/postgres/failure.ts';
import type { Fence } from '../../shared/postgres/fence.ts';
import { TableError } from '../../shared/postgres/table.ts';
import type { TableWatch } from '../../shared/postgres/table-watch.ts';
import type { TickProgress } from '../../shared/postgres/tick-progress.ts';
import { describeForgedEpoch, planOffice } from './office.ts';
import type {
  CoordinatorConfig,
  CoordinatorEffect,
  CoordinatorEvent,
  CoordinatorReport,
  Office,
  ProbeAnswer,
} from './protocol.ts';

/** The outside that a coordinator's effects act on. */
export interface CoordinatorOutside {
  readonly link: NatsLink;
  readonly leadership: LeadershipBucket;
  readonly liveness: LivenessBucket;
  readonly snapshots: SnapshotStream;
  readonly sizes: TableStream;
  readonly recoveries: RecoveryStream;
  readonly fence: Fence;
  readonly progress: TickProgress;
  readonly table: TableWatch;
  readonly checkAdoption: () => Promise<AdoptionVerdict>;
  /** Adopts the table again. */
  readonly adopt: () => Promise<Adoption>;
  /** Postgres' refusal with what to run, where that can be told. Never rejects. */
  readonly explain: (error: unknown) => Promise<unknown>;
  readonly report: (report: CoordinatorReport) => void;
  readonly stop: (code: 0 | 1, reason: string) => void;
}

/** Each effect's I/O. Every failure becomes the event that the machine expects for it; nothing here decides. */
export function performCoordinator(
  config: CoordinatorConfig,
  outside: CoordinatorOutside,
): Perform<CoordinatorEvent, CoordinatorEffect> {
  const { leadership, liveness, link, table } = outside;
  return (effect) => {
    switch (effect.kind) {
      case 'read-leader':
        return leadership.read().then(
          (entry) => ({ kind: 'leader-read', entry }),
          (error) => ({ kind: 'leader-read-failed', reason: describeNatsError(error) }),
        );
      case 'write-leader':
        return writeLeader(config, leadership, effect);
      case 'remove-leader':
        return noteAside(outside, 'remove-leader', leadership.remove(effect.revision));
      case 'probe-leader':
        return askProbe(link, link.names.coordinatorProbe(effect.leader), null).then((answer) => ({
          kind: 'leader-probed',
          leader: effect.leader,
          answer,
        }));
      case 'take-office':
        return takeOffice(outside, effect);
      case 'read-members':
        return liveness.entries().then(
          (entries) => ({ kind: 'members-read', entries }),
          (error) => ({ kind: 'members-read', entries: null, reason: describeNatsError(error) }),
        );
      case 'probe-worker':
        return askProbe(link, link.names.workerProbe(effect.worker), effect.worker).then((answer) => ({
          kind: 'worker-probed',
          worker: effect.worker,
          answer,
        }));
      case 'read-key':
        return liveness.read(effect.worker).then(
          (entry) => ({ kind: 'key-read', worker: effect.worker, outcome: { entry } }),
          (error) => ({
            kind: 'key-read',
            worker: effect.worker,
            outcome: 'failed',
            reason: describeNatsError(error),
          }),
        );
      case 'delete-key':
        return liveness.deleteAt(effect.worker, effect.revision).then(
          (outcome) => ({ kind: 'key-deleted', worker: effect.worker, outcome }),
          (error) => ({
            kind: 'key-deleted',
            worker: effect.worker,
            outcome: 'failed',
            reason: describeNatsError(error),
          }),
        );
      case 'read-progress':
        return readProgress(outside, effect.asked);
      case 'count-table':
        return table.count().then(
          (size) => ({ kind: 'table-counted', table: size }),
          async (error) => ({ kind: 'table-counted', table: null, reason: await explain(outside, error) }),
        );
      case 'read-changes': {
        const { since } = effect;
        return table.changesSince(since).then(
          (change) => ({ kind: 'table-changed', since, change }),
          async (error) => ({ kind: 'table-changed', since, change: null, reason: await explain(outside, error) }),
        );
      }
      case 'prune-changes':
        return prune(outside, effect);
      case 'check-table':
        return outside.checkAdoption().then(
          (verdict) => ({ kind: 'table-checked', verdict }),
          (error) => ({ kind: 'table-checked', verdict: null, reason: describeFailure(error) }),
        );
      case 'mend-table':
        return mendTable(outside, effect);
      case 'publish-size': {
        const { rows, added, removed } = effect;
        const size = { rows, added, removed, at: new Date().toISOString() };
        return noteAside(outside, 'publish-size', outside.sizes.publish(size));
      }
      case 'publish-snapshot':
        return publish(outside, effect);
      case 'read-newest':
        return readNewestAndEpoch(outside);
      case 'publish-recovery':
        return noteAside(outside, 'publish-recovery', outside.recoveries.publish(effect.recovery));
      case 'report':
        outside.report(effect.report);
        return null;
      case 'stop':
        outside.stop(effect.code, effect.reason);
        return null;
      default:
        return assertNever(effect);
    }
  };
}

async function writeLeader(
  config: CoordinatorConfig,
  leadership: LeadershipBucket,
  effect: Extract<CoordinatorEffect, { kind: 'write-leader' }>,
): Promise<CoordinatorEvent> {
  const sentMs = performance.now();
  const value = { id: config.id, epoch: effect.epoch, startedAt: config.startedAt };
  const outcome =
    effect.revision === null ? await leadership.create(value) : await leadership.renew(value, effect.revision);
  return { kind: 'leader-written', sentMs, outcome };
}

async function askProbe(link: NatsLink, subject: string, worker: string | null): Promise<ProbeAnswer> {
  const answer = await probe(link, subject);
  if (answer.kind === 'foreign') return { kind: 'timeout' };
  if (answer.kind !== 'answered') return answer;
  const decoded = worker === null ? null : decodeLiveness(worker, answer.bytes);
  return { kind: 'answered', value: decoded?.ok === true ? decoded.value : null };
}

/**
 * All that a leader must know. The last epoch is read after the stream, so that the epoch of a snapshot found there is
 * known. The new one is drawn before the table is counted: from then on no former leader prunes changes that this count
 * has not seen.
 */
async function takeOffice(
  outside: CoordinatorOutside,
  effect: Extract<CoordinatorEffect, { kind: 'take-office' }>,
): Promise<CoordinatorEvent> {
  const { attempt, lapsedEpoch } = effect;
  const { fence, liveness, table } = outside;
  try {
    const found = await readNewest(outside).catch(throwNatsFailure);
    const [order, lastEpoch, forgedSlots] = await Promise.all([fence.newest(), fence.lastEpoch(), fence.countForged()]);
    requireHonest(lastEpoch);
    const { newest, rejected, isResumed, above } = planOffice({ newest: found, fence: order, lastEpoch, lapsedEpoch });
    const epoch = isResumed ? lastEpoch : await fence.drawEpoch(above);
    requireHonest(epoch);
    const [slots, members, size] = await Promise.all([
      fence.owners(),
      liveness.entries().catch(throwNatsFailure),
      table.count(),
    ]);
    const owners = slots.map(({ worker }) => worker);
    const oddities = { rejected, raisedFrom: above > lastEpoch ? lastEpoch : null, forgedSlots };
    const office: Office = { epoch, newest, fence: { order, owners }, table: size, members, oddities };
    return { kind: 'office-ready', attempt, office };
  } catch (error) {
    if (error instanceof NatsFailure) return { kind: 'office-failed', attempt, reason: error.message, from: 'NATS' };
    return { kind: 'office-failed', attempt, reason: await explain(outside, error), from: 'Postgres' };
  }
}

function requireHonest(epoch: number): void {
  const reason = describeForgedEpoch(epoch);
  if (reason !== null) throw new Error(reason);
}

async function readNewestAndEpoch(outside: CoordinatorOutside): Promise<CoordinatorEvent> {
  const reasons: { newest?: string; lastEpoch?: string } = {};
  const newest = await readNewest(outside).catch((error) => {
    reasons.newest = describeNatsError(error);
    return null;
  });
  const lastEpoch = await outside.fence.lastEpoch().catch((error) => {
    reasons.lastEpoch = describeFailure(error);
    return null;
  });
  return { kind: 'newest-read', newest, lastEpoch, reasons };
}

async function readNewest(outside: CoordinatorOutside): Promise<Office['newest']> {
  const stored = await outside.snapshots.newest(null);
  return stored === null ? { sequence: 0, snapshot: null } : { sequence: stored.sequence, snapshot: stored.snapshot };
}

async function readProgress(
  outside: CoordinatorOutside,
  asked: Extract<CoordinatorEffect, { kind: 'read-progress' }>['asked'],
): Promise<CoordinatorEvent> {
  const { progress } = outside;
  try {
    const [ticks, haveRows] = await Promise.all([
      progress.newest(),
      progress.haveRows(asked.map(({ slots }) => slots)),
    ]);
    const workers = asked.map(({ worker }) => worker);
    const idle = workers.filter((_, index) => !haveRows[index]);
    return { kind: 'progress-read', progress: { ticks, asked: workers, idle } };
  } catch (error) {
    return { kind: 'progress-read', progress: null, reason: await explain(outside, error) };
  }
}

/** What nothing waits for: a failure is reported, and that is all. */
async function noteAside(
  { report }: CoordinatorOutside,
  what: 'remove-leader' | 'publish-size' | 'publish-recovery',
  work: Promise<PublishOutcome | RemoveOutcome>,
): Promise<null> {
  const outcome = await work;
  report({ kind: 'aside', what, reason: outcome.kind === 'failed' ? outcome.reason : null });
  return null;
}

/** What could not be deleted is deleted next time. */
async function prune(
  outside: CoordinatorOutside,
  effect: Extract<CoordinatorEffect, { kind: 'prune-changes' }>,
): Promise<CoordinatorEvent> {
  const { at } = effect;
  try {
    const { isAll } = await outside.table.prune(effect);
    outside.report({ kind: 'aside', what: 'prune', reason: null });
    return { kind: 'table-pruned', at, outcome: isAll ? 'all' : 'some' };
  } catch (error) {
    outside.report({ kind: 'aside', what: 'prune', reason: await explain(outside, error) });
    return { kind: 'table-pruned', at, outcome: 'failed' };
  }
}

/**
 * A schema that was created again has issued no epoch yet. It issues one above those that are known, so that the ring in force
 * stays an honest one: its workers claim their slots again at once, and the next term builds on it.
 */
async function mendTable(
  outside: CoordinatorOutside,
  { what, above }: Extract<CoordinatorEffect, { kind: 'mend-table' }>,
): Promise<CoordinatorEvent> {
  const { fence } = outside;
  try {
    const { slots } = await outside.adopt();
    if ((await fence.lastEpoch()) < above) await fence.drawEpoch(above);
    return { kind: 'table-mended', outcome: { kind: 'mended', what, slots } };
  } catch (error) {
    const kind = error instanceof TableError ? 'refused' : 'failed';
    return { kind: 'table-mended', outcome: { kind, reason: describeFailure(error) } };
  }
}

async function explain(outside: CoordinatorOutside, error: unknown): Promise<string> {
  return describeFailure(await outside.explain(error));
}

/** Tells NATS' failures from Postgres', where both are asked. */
class NatsFailure extends Error {
  readonly code = 'nats-failure';
}

function throwNatsFailure(error: unknown): never {
  throw new NatsFailure(describeNatsError(error), { cause: error });
}

async function publish(
  outside: CoordinatorOutside,
  effect: Extract<CoordinatorEffect, { kind: 'publish-snapshot' }>,
): Promise<CoordinatorEvent> {
  const { snapshot, expectedSequence } = effect;
  const order = { epoch: snapshot.epoch, version: snapshot.version };
  const outcome = await outside.snapshots.publish(snapshot, expectedSequence);
  switch (outcome.kind) {
    case 'published':
      return { kind: 'snapshot-published', sequence: outcome.sequence, order };
    case 'refused':
      return { kind: 'snapshot-refused', order, reason: outcome.reason };
    case 'failed':
      return { kind: 'snapshot-failed', order, reason: outcome.reason };
  }
}
