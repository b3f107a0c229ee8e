import type { CoordinatorEvent } from '../../services/coordinator/protocol.ts';
import { isMeasured } from '../../services/worker/database-clock.ts';
import { livenessOf } from '../../services/worker/machine.ts';
import type { WorkerEffect, WorkerEvent } from '../../services/worker/protocol.ts';
import { assertNever } from '../../shared/machine/machine.ts';
import type { Liveness } from '../../shared/nats/liveness.ts';
import type { BegunTick } from './fake-postgres.ts';
import { nameOf } from './fake-rows.ts';
import type { Locking } from './statements.ts';
import type { WorkerNode, World } from './world.ts';

/** A worker's effects, performed on the fake servers. */
export function performWorkerEffect(world: World, node: WorkerNode, effect: WorkerEffect): void {
  const { postgres, nats } = world;
  const holder = { worker: node.id, incarnation: node.incarnation };
  switch (effect.kind) {
    case 'check-identity':
      return checkIdentity(world, node);
    case 'serve-probe':
      return;
    case 'report':
      if (effect.report.kind === 'ticks-missed') world.missed.noteReport(node, effect.report.missed);
      return;
    case 'measure-clock': {
      const sentMs = node.nowMs;
      return askPostgres(world, node, {
        apply: () => postgres.clockMs,
        answer: (serverMs) => {
          const hostMs = world.timeline.nowMs;
          if (!isMeasured(node.state.clock)) world.missed.noteFirstMeasured(node, hostMs);
          return { kind: 'clock-measured', serverMs, sentMs, receivedMs: node.nowMs, hostMs };
        },
        failed: { kind: 'clock-failed' },
      });
    }
    case 'renew':
      hearUnstored(world, node, { kind: 'worker-heard', value: effect.value });
      return world.request<WorkerEvent, 'renewed' | 'renewal-taken' | 'renewal-failed'>(node, {
        server: 'nats',
        stream: 'liveness',
        apply: () => renew(world, node, effect.value),
        answer: (kind) => ({ kind }),
        failed: { kind: 'renewal-failed' },
      });
    case 'remove-key':
      hearUnstored(world, node, { kind: 'worker-removed', worker: node.id, revision: null });
      return world.request<WorkerEvent, boolean>(node, {
        server: 'nats',
        stream: 'liveness',
        apply: () => removeKey(world, node),
        answer: (removed) => ({ kind: 'key-removed', removed }),
        failed: { kind: 'key-removed', removed: false },
      });
    case 'read-newest':
      return world.request<WorkerEvent, typeof nats.ring.newest>(node, {
        server: 'nats',
        stream: 'ring',
        apply: () => nats.ring.newest,
        answer: ({ snapshot, sequence }) => ({ kind: 'newest-read', snapshot, sequence }),
        failed: { kind: 'newest-failed' },
      });
    case 'read-issued':
      return askPostgres(world, node, {
        apply: () => ({
          epoch: postgres.lastEpoch,
          version: effect.withVersion ? (postgres.newest()?.version ?? 0) : null,
        }),
        answer: (issued) => ({ kind: 'issued-read', issued }),
        failed: { kind: 'issued-read', issued: null },
      });
    case 'claim':
      return askPostgres(world, node, {
        isWrite: true,
        locking: { by: node, slots: effect.slots },
        apply: () => postgres.claim({ ...holder, order: effect.order, slots: effect.slots }),
        answer: (result) => ({ kind: 'claimed', order: effect.order, result }),
        failed: { kind: 'claim-failed', order: effect.order, reason: 'unreachable' },
      });
    case 'tick': {
      const { kind: _, lane, ...asked } = effect;
      const { tick, slots } = effect;
      const isLast = effect.isLast ?? lane === 'gained';
      const withBefore = lane === 'gained' || lane === 'held' || effect.withBefore === true;
      let begun: BegunTick | null = null;
      const begin = () => {
        begun = postgres.beginTick();
      };
      return askPostgres(world, node, {
        isWrite: true,
        locking: { by: node, slots, begin },
        apply: () => {
          const { before = [], ...result } = postgres.tick({ ...holder, ...asked, isLast, withBefore: true, begun });
          world.missed.noteTick(node, before, { isCounted: withBefore });
          return withBefore ? { ...result, before } : result;
        },
        answer: (result) => ({ kind: 'ticked', lane, tick, slots, isLast, result }),
        failed: { kind: 'tick-failed', lane, tick, slots, reason: 'unreachable' },
      });
    }
    case 'rebase':
      return askPostgres(world, node, {
        isWrite: true,
        locking: { by: node, slots: effect.slots },
        apply: () => postgres.rebase({ ...holder, slots: effect.slots }),
        answer: (slots) => ({ kind: 'rebased', slots }),
        failed: null,
      });
    case 'read-ids':
      return askPostgres(world, node, {
        apply: () =>
          effect.slots.flatMap((slot) => [...postgres.table.rows.of(slot)].map((id) => nameOf(id, slot))).sort(),
        answer: (ids) => ({ kind: 'ids-read', tick: effect.tick, ids }),
        failed: { kind: 'ids-failed', tick: effect.tick },
      });
    case 'read-owned':
      return askPostgres(world, node, {
        apply: () => postgres.owned(holder),
        answer: (slots) => ({ kind: 'owned-read', slots }),
        failed: { kind: 'owned-read', slots: null },
      });
    case 'tell-applied':
      world.broadcast(world.coordinators, { kind: 'ring-applied', applied: effect.applied });
      return;
    case 'stop':
      node.crash();
      return;
    default:
      return assertNever(effect);
  }
}

function askPostgres<Result>(
  world: World,
  node: WorkerNode,
  call: {
    readonly isWrite?: boolean;
    readonly locking?: Locking;
    readonly apply: () => Result;
    readonly answer: (result: Result) => WorkerEvent;
    readonly failed: WorkerEvent | null;
  },
): void {
  world.request<WorkerEvent, Result>(node, { server: 'postgres', ...call });
}

/** A bucket's stream without a leader stores nothing, and who listens to its subject hears it all the same. */
function hearUnstored(world: World, node: WorkerNode, event: CoordinatorEvent): void {
  if (!world.nats.leaderless.has('liveness') || !world.reachesNats(node)) return;
  world.broadcast(world.coordinators, event);
}

/** Makes the key, or renews it where it is mine; another living holder's is left alone. */
function renew(world: World, node: WorkerNode, value: Liveness): 'renewed' | 'renewal-taken' | 'renewal-failed' {
  const { liveness } = world.nats;
  const { nowMs } = world.timeline;
  const current = liveness.get(node.id, nowMs);
  if (current !== null && current.value.startedAt !== value.startedAt) return 'renewal-taken';
  const revision = liveness.put(node.id, value, { revision: current?.revision ?? null, nowMs });
  if (revision === null) return 'renewal-failed';
  world.broadcast(world.coordinators, { kind: 'worker-heard', value });
  world.broadcast(world.coordinators, { kind: 'worker-stored', worker: node.id, revision }, 'watch');
  return 'renewed';
}

function removeKey(world: World, node: WorkerNode): boolean {
  const { liveness } = world.nats;
  const { nowMs } = world.timeline;
  const current = liveness.get(node.id, nowMs);
  if (current === null || current.value.startedAt !== node.state.config.startedAt) return true;
  liveness.delete(node.id, { revision: current.revision, nowMs });
  world.broadcast(world.coordinators, { kind: 'worker-removed', worker: node.id, revision: null });
  return true;
}

function checkIdentity(world: World, node: WorkerNode): void {
  const { liveness } = world.nats;
  world.request<WorkerEvent, 'free' | 'held' | 'unclear'>(node, {
    server: 'nats',
    stream: 'liveness',
    apply: () => {
      const { nowMs } = world.timeline;
      const entry = liveness.get(node.id, nowMs);
      if (entry === null) return 'free';
      const holder = world.liveWorkers.find(
        ({ id, incarnation }) => id === node.id && incarnation !== node.incarnation,
      );
      if (holder === undefined) {
        liveness.delete(node.id, { revision: entry.revision, nowMs });
        world.broadcast(world.coordinators, { kind: 'worker-removed', worker: node.id, revision: null });
        return 'free';
      }
      if (holder.isFrozen || !world.reachesNats(holder)) return 'unclear';
      return livenessOf(holder.state).startedAt === node.state.config.startedAt ? 'free' : 'held';
    },
    answer: (outcome) => ({ kind: 'identity-checked', outcome }),
    failed: { kind: 'identity-checked', outcome: 'unclear' },
  });
}
