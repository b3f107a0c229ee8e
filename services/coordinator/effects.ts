import type { Perform } from '../../shared/machine/driver.ts';
import { assertNever } from '../../shared/machine/machine.ts';
import type { NatsLink } from '../../shared/nats/connection.ts';
import type { LeadershipBucket } from '../../shared/nats/leadership-bucket.ts';
import { decodeLiveness } from '../../shared/nats/liveness.ts';
import type { LivenessBucket } from '../../shared/nats/liveness-bucket.ts';
import { probe } from '../../shared/nats/probe.ts';
import type { RecoveryStream } from '../../shared/nats/recovery-stream.ts';
import type { SnapshotStream } from '../../shared/nats/snapshot-stream.ts';
import type { TableStream } from '../../shared/nats/table-stream.ts';
import type { Fence } from '../../shared/postgres/fence.ts';
import type { TableWatch } from '../../shared/postgres/table-watch.ts';
import { describeError } from '../../shared/process/describe-error.ts';
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
  readonly table: TableWatch;
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
          () => ({ kind: 'leader-read-failed' }),
        );
      case 'write-leader':
        return writeLeader(config, leadership, effect);
      case 'remove-leader':
        return leadership.remove(effect.revision).then(nothing, nothing);
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
          () => ({ kind: 'members-read', entries: null }),
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
          () => ({ kind: 'key-read', worker: effect.worker, outcome: 'failed' }),
        );
      case 'delete-key':
        return liveness.deleteAt(effect.worker, effect.revision).then(
          (outcome) => ({ kind: 'key-deleted', worker: effect.worker, outcome }),
          () => ({ kind: 'key-deleted', worker: effect.worker, outcome: 'failed' }),
        );
      case 'count-table':
        return askTable(outside, 'count', () => table.count()).then((size) => ({ kind: 'table-counted', table: size }));
      case 'read-changes':
        return askTable(outside, 'read', () => table.changesSince(effect.since)).then((change) => ({
          kind: 'table-changed',
          since: effect.since,
          change,
        }));
      case 'prune-changes':
        // What could not be deleted is deleted next time.
        return askTable(outside, 'prune', () => table.prune(effect)).then((result) => ({
          kind: 'table-pruned',
          at: effect.at,
          outcome: result === null ? 'failed' : result.isAll ? 'all' : 'some',
        }));
      case 'publish-size': {
        const { rows, added, removed } = effect;
        return outside.sizes.publish({ rows, added, removed, at: new Date().toISOString() }).then(nothing, nothing);
      }
      case 'publish-snapshot':
        return publish(outside, effect);
      case 'read-newest':
        return readNewestAndEpoch(outside);
      case 'publish-recovery':
        return outside.recoveries.publish(effect.recovery).then(nothing, nothing);
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
    const found = await readNewest(outside);
    const [order, lastEpoch, forgedSlots] = await Promise.all([fence.newest(), fence.lastEpoch(), fence.countForged()]);
    requireHonest(lastEpoch);
    const { newest, rejected, isResumed, above } = planOffice({ newest: found, fence: order, lastEpoch, lapsedEpoch });
    const epoch = isResumed ? lastEpoch : await fence.drawEpoch(above);
    requireHonest(epoch);
    const [slots, members, size] = await Promise.all([fence.owners(), liveness.entries(), table.count()]);
    const owners = slots.map(({ worker }) => worker);
    const oddities = { rejected, raisedFrom: above > lastEpoch ? lastEpoch : null, forgedSlots };
    const office: Office = { epoch, newest, fence: { order, owners }, table: size, members, oddities };
    return { kind: 'office-ready', attempt, office };
  } catch (error) {
    return { kind: 'office-failed', attempt, reason: describeError(await outside.explain(error)) };
  }
}

function requireHonest(epoch: number): void {
  const reason = describeForgedEpoch(epoch);
  if (reason !== null) throw new Error(reason);
}

async function readNewestAndEpoch(outside: CoordinatorOutside): Promise<CoordinatorEvent> {
  const newest = await readNewest(outside).catch(nothing);
  const lastEpoch = await outside.fence.lastEpoch().catch(nothing);
  return { kind: 'newest-read', newest, lastEpoch };
}

async function readNewest(outside: CoordinatorOutside): Promise<Office['newest']> {
  const stored = await outside.snapshots.newest(null);
  return stored === null ? { sequence: 0, snapshot: null } : { sequence: stored.sequence, snapshot: stored.snapshot };
}

/** @returns null where it failed; the reason is reported. */
async function askTable<Result>(
  { explain, report }: CoordinatorOutside,
  what: 'count' | 'read' | 'prune',
  work: () => Promise<Result>,
): Promise<Result | null> {
  try {
    const result = await work();
    report({ kind: 'table-asked', what, reason: null });
    return result;
  } catch (error) {
    report({ kind: 'table-asked', what, reason: describeError(await explain(error)) });
    return null;
  }
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

function nothing(): null {
  return null;
}
