import { setTimeout as delay } from 'node:timers/promises';
import { addRows } from '../../shared/postgres/rows.ts';
import { quoteName, quoteTable, slotExpression } from '../../shared/postgres/table.ts';
import type { CauseKind } from '../../shared/ring/snapshot.ts';
import { sliceOf } from '../../shared/ring/snapshot.ts';
import type { Fleet } from './fleet.ts';

/** What was done to the fleet, and when, by this process's clock. */
export interface Strike {
  readonly atMs: number;
  /** Whose slots are orphaned; null: whatever moves counts. */
  readonly gone: ReadonlySet<string> | null;
}

export interface RecoveryEvent {
  /** What `--events` names it by. */
  readonly key: string;
  readonly title: string;
  /** From what moment on the handover is measured. */
  readonly from: string;
  /** Of the snapshot that answers it. */
  readonly cause: CauseKind;
  /** DESIGN §9, in ms. Null: it promises no such quantile. */
  readonly promise: { readonly p50: number | null; readonly p99: number; readonly missedPerRow: string };
  /** False: nobody's slots move; it is over when the snapshot is out. */
  readonly movesSlots: boolean;
  strike(fleet: Fleet, victim: string): Promise<Strike>;
  /** Part of the event, as the thaw is of a freeze: audited with it. */
  readonly aftermath?: (fleet: Fleet, victim: string, strike: Strike) => Promise<void>;
  /** Afterwards, unmeasured: makes the fleet what it was. */
  mend(fleet: Fleet, victim: string): Promise<void>;
}

const FREEZE_MS = 5_000;
const PLANNED = { p50: 40, p99: 100, missedPerRow: '0' };

const sent = (fleet: Fleet, victim: string, name: NodeJS.Signals): Strike => ({
  atMs: fleet.signal(victim, name),
  gone: new Set([victim]),
});

async function relaunch(fleet: Fleet, worker: string): Promise<void> {
  await fleet.ended(worker);
  await fleet.launch(worker);
}

async function relaunchCoordinator(fleet: Fleet): Promise<void> {
  const missing = Array.from({ length: fleet.options.coordinators }, (_, index) => `coordinator-${index + 1}`);
  for (const id of missing.filter((one) => !fleet.isRunning(one))) {
    const from = fleet.lines.length;
    await fleet.launch(id);
    await fleet.awaitStandby(id, from);
  }
}

export const EVENTS: readonly RecoveryEvent[] = [
  {
    key: 'join',
    title: 'scale up: a worker joins',
    from: 'its liveness key first put',
    cause: 'worker-joined',
    promise: PLANNED,
    movesSlots: true,
    strike: async (fleet) => {
      await fleet.launch(fleet.spareId);
      return { atMs: await fleet.awaitPut(fleet.spareId), gone: null };
    },
    mend: async (fleet) => {
      fleet.signal(fleet.spareId, 'SIGTERM');
      await fleet.ended(fleet.spareId);
    },
  },
  {
    key: 'leave',
    title: 'scale down: SIGTERM',
    from: 'the signal',
    cause: 'worker-left',
    promise: PLANNED,
    movesSlots: true,
    strike: async (fleet, victim) => sent(fleet, victim, 'SIGTERM'),
    mend: relaunch,
  },
  {
    key: 'kill',
    title: 'worker killed: kill -9',
    from: 'the signal',
    cause: 'worker-left',
    promise: { p50: 60, p99: 250, missedPerRow: '≤ 1' },
    movesSlots: true,
    strike: async (fleet, victim) => sent(fleet, victim, 'SIGKILL'),
    mend: relaunch,
  },
  {
    key: 'half',
    title: 'half of the workers killed at once',
    from: 'the first signal',
    cause: 'worker-left',
    promise: { p50: null, p99: 500, missedPerRow: '≤ 1' },
    movesSlots: true,
    strike: async (fleet) => {
      const half = halfOf(fleet);
      const atMs = performance.now();
      for (const worker of half) fleet.signal(worker, 'SIGKILL');
      return { atMs, gone: new Set(half) };
    },
    mend: async (fleet) => {
      for (const worker of halfOf(fleet)) await relaunch(fleet, worker);
    },
  },
  {
    key: 'freeze',
    title: 'worker frozen 5 s, then back',
    from: 'SIGSTOP',
    cause: 'worker-left',
    promise: { p50: null, p99: 2_500, missedPerRow: '≤ 3' },
    movesSlots: true,
    strike: async (fleet, victim) => sent(fleet, victim, 'SIGSTOP'),
    aftermath: async (fleet, victim, { atMs }) => {
      await delay(Math.max(0, atMs + FREEZE_MS - performance.now()));
      fleet.signal(victim, 'SIGCONT');
      await fleet.settle();
    },
    mend: async () => {},
  },
  {
    key: 'leader',
    title: 'leader killed',
    from: 'the signal, to the new leader’s first snapshot heard',
    cause: 'leader-changed',
    promise: { p50: null, p99: 1_000, missedPerRow: '0' },
    movesSlots: false,
    strike: async (fleet) => ({ ...sent(fleet, fleet.leader, 'SIGKILL'), gone: null }),
    mend: relaunchCoordinator,
  },
  {
    key: 'both',
    title: 'leader and worker killed together',
    from: 'the first signal',
    cause: 'worker-left',
    promise: { p50: null, p99: 1_000, missedPerRow: '0 for healthy rows' },
    movesSlots: true,
    strike: async (fleet, victim) => {
      const { atMs } = sent(fleet, fleet.leader, 'SIGKILL');
      return { ...sent(fleet, victim, 'SIGKILL'), atMs };
    },
    mend: async (fleet, victim) => {
      await relaunchCoordinator(fleet);
      await relaunch(fleet, victim);
    },
  },
  {
    key: 'rows-added',
    title: 'rows added, all to one worker’s slots',
    from: 'the commit acknowledged',
    cause: 'table-resized',
    promise: PLANNED,
    movesSlots: true,
    strike: async (fleet, victim) => {
      await changeRows(fleet, victim, 'add');
      return { atMs: performance.now(), gone: null };
    },
    mend: async (fleet) => {
      await changeRows(fleet, null, 'remove');
    },
  },
  {
    key: 'rows-removed',
    title: 'rows removed, all from one worker’s slots',
    from: 'the commit acknowledged',
    cause: 'table-resized',
    promise: PLANNED,
    movesSlots: true,
    strike: async (fleet, victim) => {
      await changeRows(fleet, victim, 'remove');
      return { atMs: performance.now(), gone: null };
    },
    mend: async (fleet) => {
      await addRows(fleet.postgres, fleet.table, changedRows(fleet));
    },
  },
];

function halfOf({ workerIds }: Fleet): string[] {
  return workerIds.slice(0, Math.floor(workerIds.length / 2));
}

/** So many that the shares drift apart, all on one side: else the ring stays as it is. */
function changedRows(fleet: Fleet): number {
  return Math.max(4, Math.round(fleet.options.rows / 8));
}

/** In one statement, so in one transaction; `worker` null: in whichever slots. */
async function changeRows(fleet: Fleet, worker: string | null, change: 'add' | 'remove'): Promise<void> {
  const { table, adoption, newest } = fleet;
  const slots = worker === null || newest === null ? [] : sliceOf(newest, worker);
  const id = quoteName(table.id);
  const isThere = worker === null ? 'true' : `${slotExpression(table.id, adoption.slots)} = ANY ($2::bigint[])`;
  const candidates = changedRows(fleet) * fleet.options.workers * 4;
  const text =
    change === 'add'
      ? `INSERT INTO ${quoteTable(table)} (${id}, ${quoteName(table.value)}) SELECT ${id}, 0 FROM
          (SELECT gen_random_uuid() AS ${id} FROM generate_series(1, ${candidates})) c WHERE ${isThere} LIMIT $1`
      : `DELETE FROM ${quoteTable(table)} WHERE ${id} = ANY (ARRAY(
          SELECT ${id} FROM ${quoteTable(table)} WHERE ${isThere} LIMIT $1 FOR UPDATE SKIP LOCKED))`;
  const values = worker === null ? [changedRows(fleet)] : [changedRows(fleet), slots];
  await fleet.postgres.query('bench', { text, values });
}
