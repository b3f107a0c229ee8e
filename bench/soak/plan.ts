import { Random } from '../../test/simulation/random.ts';

/**
 * What is to go wrong, and when: drawn from a seed, before anything is started.
 *
 * Every kind comes once before any comes again, so that also a short run has seen many. Servers are restarted in the first
 * half only: their last processes then live long enough for their memory to be judged.
 */
export type FaultKind = keyof typeof FAULTS;

export interface Fault {
  readonly kind: FaultKind;
  /** In [0, 1): whom it hits, among those who can be hit when it comes. */
  readonly draw: number;
  /** How long the trouble, or the absence, lasts. */
  readonly lastsMs: number;
  /** Workers or rows. */
  readonly count: number;
}

/** One fault, or two at the same instant. */
export interface Trouble {
  readonly atMs: number;
  readonly faults: readonly Fault[];
}

interface Ranges {
  readonly lastsMs: readonly [number, number];
  readonly count?: readonly [number, number];
  readonly isServers?: true;
}

export const FAULTS = {
  'kill-worker': { lastsMs: [200, 5_000] },
  'stop-worker': { lastsMs: [200, 5_000] },
  'freeze-worker': { lastsMs: [1_000, 8_000] },
  'kill-half-the-workers': { lastsMs: [200, 5_000] },
  'kill-leader': { lastsMs: [200, 5_000] },
  'stop-leader': { lastsMs: [200, 5_000] },
  'freeze-leader': { lastsMs: [1_000, 8_000] },
  'cut-worker-from-nats': { lastsMs: [500, 8_000] },
  'refuse-worker-at-nats': { lastsMs: [500, 8_000] },
  'cut-worker-from-postgres': { lastsMs: [500, 10_000] },
  'refuse-worker-at-postgres': { lastsMs: [500, 10_000] },
  'cut-worker-from-both': { lastsMs: [500, 8_000] },
  'add-rows': { lastsMs: [500, 5_000], count: [1, 200] },
  'remove-rows': { lastsMs: [500, 5_000], count: [1, 100] },
  'burst-of-joins': { lastsMs: [3_000, 8_000], count: [1, 4] },
  'burst-of-leaves': { lastsMs: [500, 5_000], count: [1, 3] },
  'restart-nats': { lastsMs: [0, 5_000], isServers: true },
  'kill-nats': { lastsMs: [0, 10_000], isServers: true },
  'restart-postgres': { lastsMs: [0, 5_000], isServers: true },
  'kill-postgres': { lastsMs: [0, 5_000], isServers: true },
} as const satisfies Readonly<Record<string, Ranges>>;

const KINDS = Object.keys(FAULTS) as FaultKind[];
/** Short pauses bring the next trouble in the midst of a recovery, long ones let the system come to rest. */
const PAUSES_MS = [500, 2_000, 6_000, 12_000] as const;
const TWO_AT_ONCE_SHARE = 0.15;

/** The troubles of a span, in order; none begins after its end. */
export function planTroubles(options: { readonly seed: number; readonly spanMs: number }): Trouble[] {
  const random = new Random(options.seed);
  const troubles: Trouble[] = [];
  let bag: FaultKind[] = [];
  let atMs = random.between(0, 2_000);
  while (atMs < options.spanMs) {
    const mayRestartServers = atMs < options.spanMs / 2;
    const faults = [drawFault(mayRestartServers)];
    if (random.chance(TWO_AT_ONCE_SHARE)) faults.push(drawFault(mayRestartServers));
    troubles.push({ atMs, faults });
    const lastsMs = Math.max(...faults.map((fault) => fault.lastsMs));
    atMs += lastsMs + random.between(0, random.pick(PAUSES_MS));
  }
  return troubles;

  function drawFault(mayRestartServers: boolean): Fault {
    let kind = bag.pop();
    while (kind === undefined || (!mayRestartServers && isOfServers(kind))) {
      if (bag.length === 0) bag = shuffle(KINDS, random);
      kind = bag.pop();
    }
    const { lastsMs, count = [1, 1] }: Ranges = FAULTS[kind];
    return { kind, draw: random.next(), lastsMs: random.between(...lastsMs), count: random.between(...count) };
  }
}

export function describeTrouble({ faults }: Trouble): string {
  return faults.map(({ kind }) => kind).join(' + ');
}

function isOfServers(kind: FaultKind): boolean {
  return (FAULTS[kind] as Ranges).isServers === true;
}

function shuffle<Item>(items: readonly Item[], random: Random): Item[] {
  const left = [...items];
  const shuffled: Item[] = [];
  while (left.length > 0) shuffled.push(...left.splice(random.between(0, left.length - 1), 1));
  return shuffled;
}
