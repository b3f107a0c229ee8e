import type { Perform } from '../../shared/machine/driver.ts';
import { assertNever } from '../../shared/machine/machine.ts';
import type { NatsLink } from '../../shared/nats/connection.ts';
import { decodeLiveness } from '../../shared/nats/liveness.ts';
import type { LivenessBucket } from '../../shared/nats/liveness-bucket.ts';
import { describeNatsError } from '../../shared/nats/nats-errors.ts';
import { probe } from '../../shared/nats/probe.ts';
import { publishApplied } from '../../shared/nats/ring-applied.ts';
import type { SnapshotStream } from '../../shared/nats/snapshot-stream.ts';
import { describeFailure } from '../../shared/postgres/failure.ts';
import { CLAIM_LANE, type Fence, type SlotHolder, TICK_LANE } from '../../shared/postgres/fence.ts';
import { hostUptimeMs } from '../../shared/process/host-uptime.ts';
import type { ClockComparison } from './clock-skew.ts';
import type { WorkerConfig, WorkerEffect, WorkerEvent, WorkerReport } from './protocol.ts';

/** The outside that a worker's effects act on. */
export interface WorkerOutside {
  readonly link: NatsLink;
  readonly liveness: LivenessBucket;
  readonly snapshots: SnapshotStream;
  readonly fence: Fence;
  /** Postgres' refusal with what to run, where that can be told. Never rejects. */
  readonly explain: (error: unknown) => Promise<unknown>;
  /** Of the adopted table: a snapshot for another number is not ours. */
  readonly slots: number;
  readonly serveProbe: () => Promise<void>;
  readonly compareClocks: (comparison: ClockComparison) => void;
  readonly report: (report: WorkerReport) => void;
  readonly reject: (reason: string) => void;
  readonly stop: (code: 0 | 1, reason: string) => void;
}

/** Each effect's I/O. Every failure becomes the event that the machine expects for it; nothing here decides. */
export function performWorker(config: WorkerConfig, outside: WorkerOutside): Perform<WorkerEvent, WorkerEffect> {
  const { fence } = outside;
  const holder = holderOf(config);
  return (effect) => {
    switch (effect.kind) {
      case 'check-identity':
        return checkIdentity(config, outside);
      case 'serve-probe':
        return outside.serveProbe().then(() => null);
      case 'measure-clock':
        return measureClock(outside);
      case 'renew':
        return renew(outside, effect);
      case 'remove-key':
        return removeKey(outside);
      case 'read-newest':
        return readNewest(outside);
      case 'read-issued':
        return readIssued(fence, effect.withVersion);
      case 'claim':
        return claim(config, outside, effect);
      case 'tick':
        return tick(config, outside, effect);
      case 'rebase':
        return fence.rebase({ ...holder, slots: effect.slots }).then(
          (slots) => ({ kind: 'rebased', slots }),
          (error) => ({ kind: 'rebase-failed', reason: describeFailure(error) }),
        );
      case 'read-ids':
        return fence.readIds({ slots: effect.slots }).then(
          (ids) => ({ kind: 'ids-read', tick: effect.tick, ids }),
          (error) => ({ kind: 'ids-failed', tick: effect.tick, reason: describeFailure(error) }),
        );
      case 'read-owned':
        return fence.owned(holder).then(
          (slots) => ({ kind: 'owned-read', slots }),
          (error) => ({ kind: 'owned-read', slots: null, reason: describeFailure(error) }),
        );
      case 'tell-applied':
        publishApplied(outside.link, effect.applied);
        return null;
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

function holderOf({ id, incarnation }: WorkerConfig): SlotHolder {
  return { worker: id, incarnation };
}

/** A key of my id: its holder is asked. One that answers lives; one that nobody answers for has left its key behind. */
async function checkIdentity(config: WorkerConfig, outside: WorkerOutside): Promise<WorkerEvent> {
  const { id } = config;
  try {
    const entry = await outside.liveness.read(id);
    if (entry === null) return { kind: 'identity-checked', outcome: 'free' };
    const answer = await probe(outside.link, outside.link.names.workerProbe(id));
    if (answer.kind === 'foreign') {
      const reason = `a worker ${id} of installation ${answer.installation} is alive under our names in NATS; give one of the two installations another --nats-prefix (NATS_PREFIX)`;
      return { kind: 'identity-checked', outcome: 'held', reason };
    }
    if (answer.kind === 'answered') return { kind: 'identity-checked', outcome: isAnother(config, answer.bytes) };
    if (answer.kind === 'timeout') return { kind: 'identity-checked', outcome: 'unclear' };
    const outcome = await outside.liveness.deleteAt(id, entry.revision);
    return { kind: 'identity-checked', outcome: outcome === 'deleted' ? 'free' : 'unclear' };
  } catch (error) {
    return { kind: 'identity-checked', outcome: 'unclear', reason: describeNatsError(error) };
  }
}

function isAnother(config: WorkerConfig, bytes: Uint8Array): 'held' | 'free' {
  const decoded = decodeLiveness(config.id, bytes);
  return decoded.ok && decoded.value.startedAt === config.startedAt ? 'free' : 'held';
}

async function measureClock({ fence, compareClocks }: WorkerOutside): Promise<WorkerEvent> {
  const sentMs = performance.now();
  try {
    const { serverMs } = await fence.measureClock();
    const receivedMs = performance.now();
    compareClocks({ serverMs, wallMs: Date.now(), roundTripMs: receivedMs - sentMs });
    return { kind: 'clock-measured', serverMs, sentMs, receivedMs, hostMs: hostUptimeMs() };
  } catch (error) {
    return { kind: 'clock-failed', reason: describeFailure(error) };
  }
}

async function renew(outside: WorkerOutside, effect: Extract<WorkerEffect, { kind: 'renew' }>): Promise<WorkerEvent> {
  const outcome = await outside.liveness.renew(effect.value);
  switch (outcome.kind) {
    case 'renewed':
      return { kind: 'renewed' };
    case 'taken':
      return { kind: 'renewal-taken' };
    case 'failed':
      return { kind: 'renewal-failed', reason: outcome.reason };
  }
}

async function removeKey({ liveness }: WorkerOutside): Promise<WorkerEvent> {
  const outcome = await liveness.remove();
  if (outcome.kind === 'removed') return { kind: 'key-removed', removed: true };
  return { kind: 'key-removed', removed: false, reason: outcome.reason };
}

async function readNewest(outside: WorkerOutside): Promise<WorkerEvent> {
  try {
    const newest = await outside.snapshots.newest(outside.slots);
    if (newest !== null && newest.snapshot === null && newest.isForeign !== true)
      outside.reject(newest.reason ?? 'unreadable');
    if (newest === null) return { kind: 'newest-read', snapshot: null };
    return { kind: 'newest-read', snapshot: newest.snapshot, sequence: newest.sequence };
  } catch (error) {
    return { kind: 'newest-failed', reason: describeNatsError(error) };
  }
}

async function readIssued(fence: Fence, withVersion: boolean): Promise<WorkerEvent> {
  try {
    const [epoch, newest] = await Promise.all([fence.lastEpoch(), withVersion ? fence.newest() : null]);
    return { kind: 'issued-read', issued: { epoch, version: withVersion ? (newest?.version ?? 0) : null } };
  } catch (error) {
    return { kind: 'issued-read', issued: null, reason: describeFailure(error) };
  }
}

async function claim(
  config: WorkerConfig,
  { fence, explain }: WorkerOutside,
  effect: Extract<WorkerEffect, { kind: 'claim' }>,
): Promise<WorkerEvent> {
  const { order, slots } = effect;
  try {
    const result = await fence.claim({ ...holderOf(config), ...order, slots });
    return { kind: 'claimed', order, result };
  } catch (error) {
    return { kind: 'claim-failed', order, reason: describeFailure(await explain(error)) };
  }
}

async function tick(
  config: WorkerConfig,
  { fence, explain }: WorkerOutside,
  effect: Extract<WorkerEffect, { kind: 'tick' }>,
): Promise<WorkerEvent> {
  const { kind: _, lane, ...asked } = effect;
  const { slots } = effect;
  // Gained slots go by the claims' connection: they must not wait behind the round under way.
  const isGained = lane === 'gained';
  // They belong to no round that could try them again.
  const isLast = effect.isLast ?? isGained;
  const connection = isGained ? CLAIM_LANE : TICK_LANE;
  const withBefore = isGained || lane === 'held' || effect.withBefore === true;
  try {
    const result = await fence.tick({ ...holderOf(config), ...asked, isLast, lane: connection, withBefore });
    return { kind: 'ticked', lane, tick: effect.tick, slots, ...(isLast && { isLast }), result };
  } catch (error) {
    return { kind: 'tick-failed', lane, tick: effect.tick, slots, reason: describeFailure(await explain(error)) };
  }
}
