import type { CoordinatorEffect } from '../../services/coordinator/protocol.ts';
import type { CoordinatorNode, World } from './world.ts';

/** A connection that fails is replaced, and after a failover nobody has the former one. */
export function connectionOf({ postgres, connections }: World, node: CoordinatorNode): string {
  return `server ${postgres.restores}, ${node.incarnation}, ${connections.get(node) ?? 0}`;
}

/** With what no trigger had reported by then. */
export function countTable(world: World, node: CoordinatorNode) {
  const { table } = world.postgres;
  return { ...table.count(), connection: connectionOf(world, node), drift: table.unrecorded.slice() };
}

/** As `MAY_PRUNE` in `shared/postgres/table-watch.ts`. */
export function pruneChanges(
  world: World,
  node: CoordinatorNode,
  { at, epoch, connection }: Extract<CoordinatorEffect, { kind: 'prune-changes' }>,
): 'all' {
  const { table, lastEpoch } = world.postgres;
  const isLastLeader = epoch >= lastEpoch;
  if (isLastLeader && connection === connectionOf(world, node)) table.prune(at);
  return 'all';
}
