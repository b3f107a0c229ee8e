import { planOffice } from '../../services/coordinator/office.ts';
import type {
  CoordinatorEffect,
  CoordinatorEvent,
  CoordinatorReport,
  Office,
  ProbeAnswer,
} from '../../services/coordinator/protocol.ts';
import { livenessOf } from '../../services/worker/machine.ts';
import { assertNever } from '../../shared/machine/machine.ts';
import type { Evidence } from '../../shared/ring/snapshot.ts';
import type { StreamName } from './fake-nats.ts';
import { connectionOf, countTable, pruneChanges } from './table-effects.ts';
import type { CoordinatorNode, WorkerNode, World } from './world.ts';

/** A coordinator's effects, performed on the fake servers. */
export function performCoordinatorEffect(world: World, node: CoordinatorNode, effect: CoordinatorEffect): void {
  const { postgres, nats, timeline } = world;
  switch (effect.kind) {
    case 'read-leader':
      return askNats(world, node, 'leadership', {
        apply: () => readLeader(world),
        answer: (entry) => ({ kind: 'leader-read', entry }),
        failed: { kind: 'leader-read-failed' },
      });
    case 'write-leader':
      return writeLeader(world, node, effect);
    case 'remove-leader':
      return askNats(world, node, 'leadership', {
        apply: () => {
          const revision = nats.leadership.delete('leader', { revision: effect.revision, nowMs: timeline.nowMs });
          if (revision !== null) world.broadcast(world.coordinators, { kind: 'leader-observed', entry: null }, 'watch');
          return revision;
        },
        answer: () => null,
        failed: null,
      });
    case 'probe-leader': {
      const leader = world.coordinators.findLast(({ id }) => id === effect.leader);
      return probe(world, node, leader, (answer) => ({ kind: 'leader-probed', leader: effect.leader, answer }), null);
    }
    case 'take-office':
      return takeOffice(world, node, effect);
    case 'read-members':
      return askNats(world, node, 'liveness', {
        apply: () => readEntries(world),
        answer: (entries) => ({ kind: 'members-read', entries }),
        failed: { kind: 'members-read', entries: null },
      });
    case 'probe-worker': {
      const worker = pickProbed(world, effect.worker);
      const value = worker === undefined ? null : livenessOf(worker.state);
      return probe(world, node, worker, (answer) => ({ kind: 'worker-probed', worker: effect.worker, answer }), value);
    }
    case 'read-key':
      return askNats(world, node, 'liveness', {
        apply: () => readEntries(world).find(({ id }) => id === effect.worker) ?? null,
        answer: (entry) => ({ kind: 'key-read', worker: effect.worker, outcome: { entry } }),
        failed: { kind: 'key-read', worker: effect.worker, outcome: 'failed' },
      });
    case 'delete-key': {
      noteAct(world, node, effect.kind);
      const decidedMs = timeline.nowMs;
      const evidence = node.state.term?.membership.members.get(effect.worker)?.suspicion?.evidence ?? null;
      return askNats(world, node, 'liveness', {
        apply: () => deleteKey(world, effect, { evidence, decidedMs }),
        answer: (outcome) => ({ kind: 'key-deleted', worker: effect.worker, outcome }),
        failed: { kind: 'key-deleted', worker: effect.worker, outcome: 'failed' },
      });
    }
    case 'read-progress': {
      const hasRows = (slots: readonly number[]) => slots.some((slot) => (postgres.weights[slot] ?? 0) > 0);
      return askPostgres(world, node, {
        apply: () => ({
          ticks: postgres.progress(),
          asked: effect.asked.map(({ worker }) => worker),
          idle: effect.asked.filter(({ slots }) => !hasRows(slots)).map(({ worker }) => worker),
        }),
        answer: (progress) => ({ kind: 'progress-read', progress }),
        failed: { kind: 'progress-read', progress: null },
      });
    }
    case 'count-table':
      return askPostgres(world, node, {
        apply: () => countTable(world, node),
        answer: ({ drift, ...table }) => {
          world.drifts.set(node, drift);
          return { kind: 'table-counted', table };
        },
        failed: { kind: 'table-counted', table: null },
      });
    case 'read-changes':
      return askPostgres(world, node, {
        apply: () => ({ ...postgres.table.changesSince(effect.since), connection: connectionOf(world, node) }),
        answer: (change) => ({ kind: 'table-changed', since: effect.since, change }),
        failed: { kind: 'table-changed', since: effect.since, change: null },
      });
    case 'check-table':
      return askPostgres(world, node, {
        apply: () => ({ kind: 'sound' as const }),
        answer: (verdict) => ({ kind: 'table-checked', verdict }),
        failed: { kind: 'table-checked', verdict: null },
      });
    case 'publish-snapshot':
      noteAct(world, node, effect.kind);
      return publish(world, node, effect);
    case 'read-newest':
      return askNats(world, node, 'ring', {
        apply: () => ({ newest: nats.ring.newest, lastEpoch: postgres.isDown ? null : postgres.lastEpoch }),
        answer: (read) => ({ kind: 'newest-read', ...read }),
        failed: { kind: 'newest-read', newest: null, lastEpoch: null },
      });
    case 'publish-recovery':
      world.recoveries.push(effect.recovery);
      return;
    case 'prune-changes':
      return askPostgres(world, node, {
        isWrite: true,
        apply: () => pruneChanges(world, node, effect),
        answer: (outcome) => ({ kind: 'table-pruned', at: effect.at, outcome }),
        failed: { kind: 'table-pruned', at: effect.at, outcome: 'failed' },
      });
    case 'mend-table':
    case 'publish-size':
      return;
    case 'report':
      return noteReport(world, node, effect.report);
    case 'stop':
      // What was sent before is on its way; the process is gone.
      node.crash();
      return;
    default:
      return assertNever(effect);
  }
}

function noteAct(world: World, node: CoordinatorNode, effect: CoordinatorEffect['kind']): void {
  const keyPutMs = world.leaderPuts.get(node) ?? Number.NEGATIVE_INFINITY;
  world.leaderActs.push({ coordinator: node.id, effect, atMs: world.timeline.nowMs, keyPutMs });
}

function noteReport(world: World, node: CoordinatorNode, report: CoordinatorReport): void {
  if (report.kind !== 'member-changed' || report.change.kind !== 'left') return;
  const { worker, evidence } = report.change;
  world.departures.push({ worker, evidence, coordinator: node.id, atMs: world.timeline.nowMs });
}

interface Call<Result> {
  readonly isWrite?: boolean;
  readonly apply: () => Result;
  readonly answer: (result: Result) => CoordinatorEvent | null;
  readonly failed: CoordinatorEvent | null;
}

function askNats<Result>(world: World, node: CoordinatorNode, stream: StreamName | null, call: Call<Result>): void {
  world.request<CoordinatorEvent, Result>(node, { server: 'nats', ...(stream !== null && { stream }), ...call });
}

function askPostgres<Result>(world: World, node: CoordinatorNode, call: Call<Result>): void {
  const onFailure = () => void world.connections.set(node, (world.connections.get(node) ?? 0) + 1);
  world.request<CoordinatorEvent, Result>(node, { server: 'postgres', onFailure, ...call });
}

function readLeader(world: World) {
  const entry = world.nats.leadership.get('leader', world.timeline.nowMs);
  return entry === null ? null : { ...entry.value, revision: entry.revision };
}

function readEntries(world: World) {
  const { nowMs } = world.timeline;
  return world.nats.liveness.keys(nowMs).flatMap((id) => {
    const entry = world.nats.liveness.get(id, nowMs);
    return entry === null ? [] : [{ id, revision: entry.revision, value: entry.value }];
  });
}

function writeLeader(
  world: World,
  node: CoordinatorNode,
  effect: Extract<CoordinatorEffect, { kind: 'write-leader' }>,
): void {
  const sentMs = node.nowMs;
  const { id, startedAt } = node.state.config;
  askNats(world, node, 'leadership', {
    apply: () => {
      const value = { id, epoch: effect.epoch, startedAt };
      const put = { revision: effect.revision, nowMs: world.timeline.nowMs };
      const revision = world.nats.leadership.put('leader', value, put);
      if (revision === null) return { kind: 'refused' } as const;
      world.leaderPuts.set(node, world.timeline.nowMs);
      world.broadcast(world.coordinators, { kind: 'leader-observed', entry: { ...value, revision } }, 'watch');
      return { kind: 'won', revision } as const;
    },
    answer: (outcome) => ({ kind: 'leader-written', sentMs, outcome }),
    failed: { kind: 'leader-written', sentMs, outcome: { kind: 'failed' } },
  });
}

/** Reads NATS, then Postgres, as the real one does; whichever is away, the office cannot be taken. */
function takeOffice(
  world: World,
  node: CoordinatorNode,
  { attempt, lapsedEpoch }: Extract<CoordinatorEffect, { kind: 'take-office' }>,
): void {
  const { postgres, nats } = world;
  const failed: CoordinatorEvent = { kind: 'office-failed', attempt, reason: 'unreachable' };
  askNats(world, node, 'ring', {
    apply: () => nats.ring.newest,
    answer: (found) => {
      askPostgres(world, node, {
        isWrite: true,
        apply: () => {
          const order = postgres.newest();
          const { lastEpoch } = postgres;
          const plan = planOffice({ newest: found, fence: order, lastEpoch, lapsedEpoch });
          return {
            epoch: plan.isResumed ? lastEpoch : postgres.drawEpoch(plan.above),
            newest: plan.newest,
            fence: { order, owners: postgres.slots.map(({ worker }) => worker) },
            counted: countTable(world, node),
          };
        },
        answer: ({ counted: { drift, ...table }, ...read }) => {
          world.drifts.set(node, drift);
          askNats(world, node, 'liveness', {
            apply: () => readEntries(world),
            answer: (members) => {
              const office: Office = { ...read, table, members };
              return { kind: 'office-ready', attempt, office };
            },
            failed,
          });
          return null;
        },
        failed,
      });
      return null;
    },
    failed,
  });
}

function deleteKey(
  world: World,
  effect: Extract<CoordinatorEffect, { kind: 'delete-key' }>,
  why: { readonly evidence: Evidence | null; readonly decidedMs: number },
): 'deleted' | 'changed' {
  const { nowMs } = world.timeline;
  const current = world.nats.liveness.get(effect.worker, nowMs);
  if (current === null) return 'deleted';
  if (world.nats.liveness.delete(effect.worker, { revision: effect.revision, nowMs }) === null) return 'changed';
  world.evictions.push({ worker: effect.worker, putMs: current.storedMs, ...why });
  world.broadcast(world.coordinators, { kind: 'worker-removed', worker: effect.worker, revision: null });
  return 'deleted';
}

function publish(
  world: World,
  node: CoordinatorNode,
  effect: Extract<CoordinatorEffect, { kind: 'publish-snapshot' }>,
): void {
  const { snapshot, expectedSequence } = effect;
  const order = { epoch: snapshot.epoch, version: snapshot.version };
  // A stream without a leader: subscribers hear what is not stored, and the publisher hears nothing.
  const isUnheard = world.random.chance(world.weather.dropShare);
  const heaviest = Math.max(0, ...(node.state.term?.table.size.weights ?? []));
  askNats(world, node, null, {
    apply: () => {
      // A plain subscription sees refused publishes too.
      world.broadcastSnapshot(snapshot);
      if (isUnheard || world.nats.leaderless.has('ring')) return 'unheard';
      const sequence = world.nats.ring.publish(snapshot, expectedSequence);
      if (sequence !== null) world.accepted.push({ snapshot, heaviest, atMs: world.timeline.nowMs });
      return sequence;
    },
    answer: (sequence) => {
      if (sequence === 'unheard') return { kind: 'snapshot-failed', order, reason: 'no answer' };
      return sequence === null
        ? { kind: 'snapshot-refused', order, reason: 'wrong last sequence' }
        : { kind: 'snapshot-published', sequence, order };
    },
    failed: { kind: 'snapshot-failed', order, reason: 'no answer' },
  });
}

const PROBE_LIMIT_MS = 100;

/**
 * The process that a probe of this id reaches. A process and its successor both subscribe, and either may get the request: also
 * one that is frozen or cut off, since the server does not know. One whose connection is down subscribes to nothing.
 */
function pickProbed(world: World, id: string): WorkerNode | undefined {
  const serving = world.workers.filter((node) => node.id === id && node.isAlive && node.state.stage === 'running');
  const subscribed = serving.filter(({ isConnected }) => isConnected);
  if (subscribed.length > 1) return world.random.pick(subscribed);
  return subscribed[0] ?? serving[0] ?? world.workers.findLast((node) => node.id === id);
}

/** No process behind the subject: no responders, at once. A frozen or cut-off one, a late answer: nothing, until the timeout. */
function probe(
  world: World,
  asker: CoordinatorNode,
  target: WorkerNode | CoordinatorNode | undefined,
  event: (answer: ProbeAnswer) => CoordinatorEvent,
  value: ReturnType<typeof livenessOf> | null,
): void {
  const delayMs = world.delayMs();
  const isThere = target?.isAlive === true && target.isConnected && !world.isCut(target);
  const isSilent = target?.isAlive === true && (target.isFrozen || world.isCut(target));
  const isUnheard = !world.reachesNats(asker) || asker.deafTo.has('plain');
  if (isUnheard || isSilent || delayMs > PROBE_LIMIT_MS) {
    world.timeline.after(PROBE_LIMIT_MS, () => asker.deliver(event({ kind: 'timeout' })));
    return;
  }
  const isDenied = world.broken === 'probe' && world.random.chance(0.5);
  const answer: ProbeAnswer = isThere && !isDenied ? { kind: 'answered', value } : { kind: 'no-responders' };
  world.timeline.after(delayMs, () => asker.deliver(event(answer)));
}
