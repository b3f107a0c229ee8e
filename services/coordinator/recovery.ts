import { earliest } from '../../shared/machine/machine.ts';
import type { RingApplied } from '../../shared/nats/ring-applied.ts';
import type { Assignment } from '../../shared/ring/assignment.ts';
import type { Recovery } from '../../shared/ring/recovery.ts';
import { compareOrder, type Order, type Snapshot } from '../../shared/ring/snapshot.ts';
import type { CoordinatorEffect, CoordinatorEvent, MemberChange } from './protocol.ts';
import { addMisses, describeMisses, reportAtMs, type StrayMisses } from './stray-misses.ts';

/**
 * How long does each disruption take to mend? Follows every snapshot of this term from the evidence of its first cause to
 * the last word of the workers that gained by it, and sums it up as one record.
 *
 * A disruption's life: evidence at hand → decided (its snapshot is being published) → published → summed up, when all who
 * gained have told, or at the limit without those who did not.
 *
 * It only looks on: nothing is decided by it, and any message it lives from may be lost. What it does not know it leaves
 * out. All times are this process's own; a worker's claim is dated back from its word by the durations it tells, so the
 * message's way counts with both.
 */
export interface RecoveryState {
  /** Since when each member has been under suspicion, or was last: one that was cleared in silence keeps its entry. */
  readonly suspectedMs: ReadonlyMap<string, number>;
  /** When the evidence of the next snapshot's first cause came; null: there is no cause yet, or it is not known. */
  readonly evidenceMs: number | null;
  /** Oldest first. */
  readonly disruptions: readonly Disruption[];
  readonly strayMisses: StrayMisses | null;
  /** Summed up in this term, oldest first. */
  readonly recent: readonly Recovery[];
}

interface Disruption {
  readonly snapshot: Snapshot;
  readonly evidenceMs: number | null;
  readonly decidedMs: number;
  /** Null: not acknowledged yet, nor told of by a worker. */
  readonly publishedMs: number | null;
  readonly isAcknowledged: boolean;
  /** How many gained. */
  readonly workers: number;
  /** Those of them who have not told yet. */
  readonly awaited: ReadonlySet<string>;
  readonly lastClaimMs: number | null;
  readonly lastFirstTickMs: number | null;
  readonly slowest: string | null;
  readonly slots: number;
  readonly rows: number;
  readonly missed: number;
}

export interface RecoveryStep {
  readonly state: RecoveryState;
  readonly effects: readonly CoordinatorEffect[];
}

export const NO_RECOVERY: RecoveryState = {
  suspectedMs: new Map(),
  evidenceMs: null,
  disruptions: [],
  strayMisses: null,
  recent: [],
};

/** From the publish on. Whoever gained and has not told by then is frozen, dead, cut off, or its word was lost. */
const LIMIT_MS = 5_000;
const KEPT = 256;

/** Suspicions among a step's reports: what a worker's departure will be dated by. */
export function noteSuspicions(
  state: RecoveryState,
  effects: readonly CoordinatorEffect[],
  nowMs: number,
): RecoveryState {
  let suspectedMs: Map<string, number> | null = null;
  for (const effect of effects) {
    if (effect.kind !== 'report' || effect.report.kind !== 'member-suspected') continue;
    suspectedMs ??= new Map(state.suspectedMs);
    suspectedMs.set(effect.report.worker, nowMs);
  }
  return suspectedMs === null ? state : { ...state, suspectedMs };
}

/**
 * A worker came or went, as one more cause or the first. It is dated by the suspicion that it was under, else by now: a key
 * put or deleted, or hard evidence, came just now.
 */
export function noteMember(
  state: RecoveryState,
  change: MemberChange,
  context: { readonly isSuspected: boolean; readonly before: number; readonly after: number; readonly nowMs: number },
): RecoveryState {
  const { before, after, nowMs } = context;
  const isDated = context.isSuspected && change.kind === 'left' && change.evidence !== 'left';
  const suspectedMs = isDated ? state.suspectedMs.get(change.worker) : undefined;
  const noted = noteCauses(state, { before, after, evidenceMs: suspectedMs ?? nowMs });
  if (!noted.suspectedMs.has(change.worker)) return noted;
  const others = new Map(noted.suspectedMs);
  others.delete(change.worker);
  return { ...noted, suspectedMs: others };
}

/** How many causes the planner has collected, before and after something happened: the first one brings its evidence. */
export function noteCauses(
  state: RecoveryState,
  causes: { readonly before: number; readonly after: number; readonly evidenceMs: number | null },
): RecoveryState {
  if (causes.after === 0) return state.evidenceMs === null ? state : { ...state, evidenceMs: null };
  return causes.before > 0 ? state : { ...state, evidenceMs: causes.evidenceMs };
}

/**
 * Since when has the leader been known to be gone? What a standby sees; null while it may well live. The key that this
 * coordinator itself puts says nothing of the former leader.
 */
export function noteLeaderLoss(
  lostMs: number | null,
  event: CoordinatorEvent,
  { id, nowMs }: { readonly id: string; readonly nowMs: number },
): number | null {
  switch (event.kind) {
    case 'leader-observed':
      if (event.entry?.id === id) return lostMs;
      return event.entry === null ? (lostMs ?? nowMs) : null;
    case 'leader-read':
      // One that is still there may be a dead leader's.
      return event.entry === null ? (lostMs ?? nowMs) : lostMs;
    case 'leader-probed':
      if (event.answer.kind === 'answered') return null;
      return event.answer.kind === 'no-responders' ? (lostMs ?? nowMs) : lostMs;
    default:
      return lostMs;
  }
}

/** A snapshot was planned and goes out. */
export function noteDecision(
  state: RecoveryState,
  decision: {
    readonly snapshot: Snapshot;
    readonly evidenceMs: number | null;
    readonly before: Assignment | null;
    readonly after: Assignment;
    readonly nowMs: number;
  },
): RecoveryState {
  const { snapshot, evidenceMs, nowMs } = decision;
  const awaited = findGaining(decision.before, decision.after);
  const disruption: Disruption = {
    snapshot,
    evidenceMs,
    decidedMs: nowMs,
    publishedMs: null,
    isAcknowledged: false,
    workers: awaited.size,
    awaited,
    lastClaimMs: null,
    lastFirstTickMs: null,
    slowest: null,
    slots: 0,
    rows: 0,
    missed: 0,
  };
  return { ...state, disruptions: [...state.disruptions, disruption] };
}

/** The stream has it. A worker that heard it and told before this proves that it was out earlier. */
export function noteAcknowledgement(state: RecoveryState, order: Order, nowMs: number): RecoveryState {
  return mapDisruptions(state, (disruption) =>
    disruption.isAcknowledged || compareOrder(disruption.snapshot, order) !== 0
      ? disruption
      : { ...disruption, isAcknowledged: true, publishedMs: disruption.publishedMs ?? nowMs },
  );
}

/**
 * A worker that has claimed at (epoch, version) has claimed all that earlier snapshots of this term gave it, too: of
 * several that wait for it, it may have applied only the newest. The figures count for the newest of them.
 *
 * A report of missed ticks alone (no slots) completes nothing. If no disruption under way fits, its ticks are stray.
 */
export function receiveApplied(state: RecoveryState, applied: RingApplied, nowMs: number): RecoveryState {
  const isOnlyMissed = applied.slots === 0;
  const covers = ({ snapshot, awaited }: Disruption) =>
    snapshot.epoch === applied.epoch && snapshot.version <= applied.version && awaited.has(applied.worker);
  const newest = state.disruptions.findLast(covers);
  if (newest === undefined) return { ...state, strayMisses: addMisses(state.strayMisses, applied, nowMs) };
  return mapDisruptions(state, (disruption) => {
    if (isOnlyMissed) {
      return disruption === newest ? { ...disruption, missed: disruption.missed + applied.missed } : disruption;
    }
    return covers(disruption)
      ? takeWord(disruption, applied, { hasFigures: disruption === newest, nowMs })
      : disruption;
  });
}

/** Sums up what is over, or overdue. */
export function advanceRecovery(before: RecoveryState, nowMs: number): RecoveryStep {
  const { state, effects } = reportStrays(before, nowMs);
  const isOver = (disruption: Disruption) =>
    disruption.isAcknowledged && (disruption.awaited.size === 0 || nowMs >= limitMs(disruption));
  const over = state.disruptions.filter(isOver);
  if (over.length === 0) return { state, effects };
  const recoveries = over.map(sumUp);
  return {
    state: {
      ...state,
      disruptions: state.disruptions.filter((disruption) => !isOver(disruption)),
      recent: [...state.recent, ...recoveries].slice(-KEPT),
    },
    effects: [
      ...effects,
      ...recoveries.flatMap((recovery): CoordinatorEffect[] => [
        { kind: 'report', report: { kind: 'recovered', recovery } },
        { kind: 'publish-recovery', recovery },
      ]),
    ],
  };
}

export function recoveryWakeAtMs(state: RecoveryState): number | null {
  const limits = state.disruptions.filter(({ isAcknowledged }) => isAcknowledged).map(limitMs);
  const { strayMisses } = state;
  return earliest(strayMisses === null ? null : reportAtMs(strayMisses), ...limits);
}

function reportStrays(state: RecoveryState, nowMs: number): RecoveryStep {
  const { strayMisses } = state;
  if (strayMisses === null || nowMs < reportAtMs(strayMisses)) return { state, effects: [] };
  return { state: { ...state, strayMisses: null }, effects: [describeMisses(strayMisses)] };
}

function takeWord(
  disruption: Disruption,
  applied: RingApplied,
  how: { readonly hasFigures: boolean; readonly nowMs: number },
): Disruption {
  const { nowMs } = how;
  const awaited = new Set(disruption.awaited);
  awaited.delete(applied.worker);
  const { claimedMs, firstTickMs } = applied;
  // Dated back no further than the decision, which no claim can come before: the duration is the worker's word only.
  const tickedForMs = firstTickMs === null ? 0 : firstTickMs - claimedMs;
  const claimMs = Math.max(disruption.decidedMs, nowMs - tickedForMs);
  const figures = how.hasFigures ? applied : { slots: 0, rows: 0, missed: 0 };
  return {
    ...disruption,
    awaited,
    publishedMs: Math.min(disruption.publishedMs ?? claimMs, claimMs),
    lastClaimMs: Math.max(disruption.lastClaimMs ?? claimMs, claimMs),
    lastFirstTickMs: firstTickMs === null ? disruption.lastFirstTickMs : nowMs,
    slowest: applied.worker,
    slots: disruption.slots + figures.slots,
    rows: disruption.rows + figures.rows,
    missed: disruption.missed + figures.missed,
  };
}

function sumUp(disruption: Disruption): Recovery {
  const { snapshot, evidenceMs, decidedMs, publishedMs, lastClaimMs, lastFirstTickMs, awaited } = disruption;
  const isComplete = awaited.size === 0;
  const claimMs = isComplete ? lastClaimMs : null;
  // The last claim may be of a worker without rows, and come after the others' first ticks.
  const tickMs = isComplete && claimMs !== null && lastFirstTickMs !== null ? Math.max(lastFirstTickMs, claimMs) : null;
  const endMs = isComplete ? (tickMs ?? claimMs ?? publishedMs) : null;
  return {
    epoch: snapshot.epoch,
    version: snapshot.version,
    at: snapshot.at,
    cause: snapshot.cause,
    moved: snapshot.moved,
    workers: disruption.workers,
    slots: disruption.slots,
    rows: disruption.rows,
    phases: {
      evidenceToDecided: between(evidenceMs, decidedMs),
      decidedToPublished: between(decidedMs, publishedMs),
      publishedToLastClaim: between(publishedMs, claimMs),
      lastClaimToLastFirstTick: between(claimMs, tickMs),
      total: between(evidenceMs, endMs),
    },
    missed: disruption.missed,
    isComplete,
    missing: [...awaited].sort(),
    slowest: disruption.slowest,
  };
}

/** In hundredths of a ms; null where either end is not known. */
function between(fromMs: number | null, toMs: number | null): number | null {
  return fromMs === null || toMs === null ? null : Math.round((toMs - fromMs) * 100) / 100;
}

function limitMs({ publishedMs, decidedMs }: Disruption): number {
  return (publishedMs ?? decidedMs) + LIMIT_MS;
}

/** Who has a slot that it did not have before; from none, everybody gains. */
function findGaining(before: Assignment | null, after: Assignment): ReadonlySet<string> {
  const gaining = new Set<string>();
  after.owners.forEach((owner, slot) => {
    const worker = after.workers[owner];
    if (worker !== undefined && worker !== before?.workers[before.owners[slot] ?? -1]) gaining.add(worker);
  });
  return gaining;
}

function mapDisruptions(state: RecoveryState, change: (disruption: Disruption) => Disruption): RecoveryState {
  return state.disruptions.length === 0 ? state : { ...state, disruptions: state.disruptions.map(change) };
}
