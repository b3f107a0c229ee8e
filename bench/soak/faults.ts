import { assertNever } from '../../shared/machine/machine.ts';
import type { Fleet } from './fleet.ts';
import type { Member } from './member.ts';
import type { Pause } from './pause.ts';
import type { Fault, FaultKind } from './plan.ts';
import type { SoakServer } from './servers.ts';

/** What faults act on. */
export interface Stage {
  readonly fleet: Fleet;
  readonly nats: SoakServer;
  readonly postgres: SoakServer;
  /** Over at once when the run is to end. */
  readonly pause: Pause;
  readonly addRows: (count: number) => Promise<void>;
  readonly removeRows: (count: number) => Promise<void>;
}

/** Lets a fault come, last and pass: afterwards as many run as before. Resolves to whom it hit, null: nobody could be. */
export async function performFault(stage: Stage, fault: Fault): Promise<string | null> {
  const { fleet, nats, postgres, pause } = stage;
  const { lastsMs, count } = fault;
  const rest = () => pause(lastsMs);
  switch (fault.kind) {
    case 'kill-worker':
      return endAndStart(takeWorkers(fleet, fault, { count: 1, mayEnd: true }), rest, kill);
    case 'kill-half-the-workers': {
      const half = Math.floor(fleet.running('worker').length / 2);
      return endAndStart(takeWorkers(fleet, fault, { count: half, mayEnd: true }), rest, kill);
    }
    case 'stop-worker':
    case 'burst-of-leaves':
      return endAndStart(takeWorkers(fleet, fault, { count, mayEnd: true }), rest, leave);
    case 'burst-of-joins':
      return joinAndLeave(fleet, count, rest);
    case 'freeze-worker':
      return freeze(takeWorkers(fleet, fault, { count: 1, mayEnd: false }), rest);
    case 'kill-leader':
    case 'stop-leader': {
      const leader = takeLeader(fleet);
      // The spared one is unseated instead, so that another leads the next time.
      if (leader[0]?.isSpared === true) return freeze(leader, () => pause(Math.max(lastsMs, UNSEATED_AFTER_MS)));
      return endAndStart(leader, rest, fault.kind === 'kill-leader' ? kill : leave);
    }
    case 'freeze-leader':
      return freeze(takeLeader(fleet), rest);
    case 'cut-worker-from-nats':
    case 'refuse-worker-at-nats':
    case 'cut-worker-from-postgres':
    case 'refuse-worker-at-postgres':
    case 'cut-worker-from-both':
      return partition(takeWorkers(fleet, fault, { count: 1, mayEnd: false }), fault.kind, rest);
    case 'add-rows':
      await stage.addRows(count);
      await rest();
      await stage.removeRows(count);
      return `${count} rows`;
    case 'remove-rows':
      await stage.removeRows(count);
      await rest();
      await stage.addRows(count);
      return `${count} rows`;
    case 'restart-nats':
    case 'kill-nats':
      await nats.suffer({ how: fault.kind === 'kill-nats' ? 'killed' : 'in order', rest });
      return nats.name;
    case 'restart-postgres':
    case 'kill-postgres':
      await postgres.suffer({ how: fault.kind === 'kill-postgres' ? 'killed' : 'in order', rest });
      return postgres.name;
    default:
      return assertNever(fault.kind);
  }
}

/** Longer than a lease: the standby has taken over by then. */
const UNSEATED_AFTER_MS = 4_000;

/** Takes workers that no other fault has, beginning at the one drawn. */
function takeWorkers(
  fleet: Fleet,
  { draw }: Fault,
  wanted: { readonly count: number; readonly mayEnd: boolean },
): Member[] {
  const free = fleet.running('worker').filter((member) => !member.isTaken && !(wanted.mayEnd && member.isSpared));
  const from = Math.floor(draw * free.length);
  const taken = [...free.slice(from), ...free.slice(0, from)].slice(0, wanted.count);
  for (const member of taken) member.isTaken = true;
  return taken;
}

function takeLeader({ leader }: Fleet): Member[] {
  if (leader === null || leader.isTaken) return [];
  leader.isTaken = true;
  return [leader];
}

const kill = (member: Member) => member.kill();
const leave = (member: Member) => member.leave();

/** Each by itself: one that takes long to leave holds up no other's return. */
async function endAndStart(
  members: readonly Member[],
  rest: () => Promise<void>,
  end: (member: Member) => Promise<void>,
): Promise<string | null> {
  return forEach(members, async (member) => {
    await end(member);
    await rest();
    await member.start();
  });
}

async function freeze(members: readonly Member[], rest: () => Promise<void>): Promise<string | null> {
  return forEach(members, async (member) => {
    member.freeze();
    await rest();
    member.thaw();
  });
}

async function partition(
  members: readonly Member[],
  kind: FaultKind,
  rest: () => Promise<void>,
): Promise<string | null> {
  return forEach(members, async ({ nats, postgres }) => {
    const proxies = [...(kind.endsWith('postgres') ? [] : [nats]), ...(kind.endsWith('nats') ? [] : [postgres])];
    for (const proxy of proxies) {
      if (kind.startsWith('refuse')) proxy.refuse();
      else proxy.cut();
    }
    await rest();
    for (const proxy of proxies) proxy.heal();
  });
}

async function joinAndLeave(fleet: Fleet, count: number, rest: () => Promise<void>): Promise<string> {
  const guests = await Promise.all(Array.from({ length: count }, () => fleet.add('worker')));
  for (const guest of guests) guest.isTaken = true;
  await rest();
  await Promise.all(guests.map((guest) => fleet.remove(guest)));
  return guests.map(({ name }) => name).join(', ');
}

/** At the same instant; gives each back when its own trouble has passed. */
async function forEach(members: readonly Member[], act: (member: Member) => Promise<void>): Promise<string | null> {
  await Promise.all(
    members.map(async (member) => {
      await act(member);
      member.isTaken = false;
    }),
  );
  return members.length === 0 ? null : members.map(({ name }) => name).join(', ');
}
