import { assertNever, earliest, type Step } from '../../shared/machine/machine.ts';
import type { Unready } from '../../shared/machine/trouble.ts';
import type { Liveness } from '../../shared/nats/liveness.ts';
import type { ClaimedSlot } from '../../shared/postgres/fence.ts';
import { compareOrder, type Order, type Snapshot } from '../../shared/ring/snapshot.ts';
import { addSample, type DatabaseClock, isMeasured, stepBetween, UNMEASURED } from './database-clock.ts';
import { advanceDeparture, type Departure, departureWakeAtMs, finishOwnedRead, startDeparture } from './departure.ts';
import {
  advanceHeartbeat,
  finishRemoval,
  finishRenewal,
  type HeartbeatState,
  heartbeatWakeAtMs,
  hurryHeartbeat,
  NOT_REGISTERED,
  withdraw,
} from './heartbeat.ts';
import {
  addMissed,
  type ClockStep,
  countMissed,
  keepOnly,
  type Missed,
  NONE_MISSED,
  noteLeft,
  noteStep,
  noteTaken,
  settle,
  type Uncounted,
} from './missed-ticks.ts';
import type { WorkerConfig, WorkerEffect, WorkerEvent, WorkerReport } from './protocol.ts';
import { judgeWorker, NOT_READY_YET, type Readiness, readinessWakeAtMs, watchServers } from './readiness.ts';
import {
  abandonRound,
  advanceRound,
  dueTick,
  failIds,
  failTick,
  finishTick,
  forgetList,
  NO_ROUND,
  type RoundContext,
  type RoundState,
  type RoundStep,
  receiveIds,
  roundWakeAtMs,
  STEP_BACK_TICKS,
  stepBack,
} from './round.ts';
import { blockedRowsOf } from './row-trouble.ts';
import {
  abandonClaim,
  failClaim,
  finishClaim,
  loseSlots,
  mergeSlots,
  NO_SLICE,
  newestOf,
  receiveSnapshot,
  retryClaim,
  type SliceState,
  type SliceStep,
  sliceWakeAtMs,
  within,
} from './slice.ts';
import { beginTakeover, describeMissed, describeTakeover, isFirstTick, type Takeover } from './takeover.ts';
import {
  advanceVetting,
  forgetEpoch,
  isVettingNewest,
  NO_VETTING,
  type Received,
  receiveIssued,
  type Vetting,
  type VettingStep,
  vetSnapshot,
} from './vetting.ts';

/**
 * The whole worker as one machine: it hands each event to the part it concerns, then lets every part do what its time has
 * come for. The parts (slice, round, heartbeat, departure) know nothing of each other; what one must learn of another
 * passes through here.
 *
 * Stages: checking (is my id free?) → running → stopped. A worker registers last: only when it has a clock, the newest
 * snapshot and a first round behind it, so that a join never hands rows to one that is not warm.
 */
export interface WorkerState {
  readonly config: WorkerConfig;
  readonly stage: 'checking' | 'running' | 'stopped';
  readonly identityCheck: Polled;
  readonly clock: DatabaseClock;
  readonly clockRead: Polled;
  /** When the newest measurement of the database's clock was begun, ms; -Infinity: none was. */
  readonly measuredMs: number;
  /** Since when the clock's samples may be wrong, as after a pause: no tick begins before a later measurement. Null: they hold. */
  readonly doubtedSinceMs: number | null;
  /** The wake-up last asked for, ms; null: none. */
  readonly askedWakeMs: number | null;
  /** The database's clock was set forward. Oldest first. */
  readonly clockSteps: readonly ClockStep[];
  readonly newestRead: Polled;
  readonly hasReadNewest: boolean;
  /** Every snapshot passes through it before the slice sees it. */
  readonly vetting: Vetting;
  readonly slice: SliceState;
  /** The last snapshot's, while its first tick is under way. */
  readonly takeover: Takeover | null;
  /** Slots taken over that were behind, and have not been ticked since. */
  readonly uncounted: Uncounted;
  /** Missed ticks counted in the round under way. */
  readonly missed: Missed;
  /** Missed ticks not yet reported to the leader, in row-seconds. */
  readonly untoldMissed: number;
  readonly round: RoundState;
  readonly heartbeat: HeartbeatState;
  /** It has been asked to have no slots, and lives on. */
  readonly isDrained: boolean;
  readonly departure: Departure | null;
  /** It only watches: nothing else depends on it. */
  readonly readiness: Readiness;
}

/** Something asked again and again, one question under way at most. */
interface Polled {
  readonly isBusy: boolean;
  readonly nextAtMs: number;
}

type WorkerStep = Step<WorkerState, WorkerEffect>;
interface Change {
  readonly state: WorkerState;
  readonly effects: readonly WorkerEffect[];
}

const AT_ONCE: Polled = { isBusy: false, nextAtMs: Number.NEGATIVE_INFINITY };
const IDENTITY_RETRY_MS = 250;
const CLOCK_EVERY_MS = 5_000;
const CLOCK_RETRY_MS = 250;
/** A measurement older than this is repeated when the fence contradicts it. */
const CLOCK_DOUBTED_AFTER_MS = 100;
/** A step that comes so much later than asked shows that the process or its machine stood still. */
const LATE_STEP_MS = 1_000;
const NEWEST_EVERY_MS = 5_000;
const NEWEST_RETRY_MS = 250;

export function startWorker(config: WorkerConfig): WorkerState {
  return {
    config,
    stage: 'checking',
    identityCheck: AT_ONCE,
    clock: UNMEASURED,
    clockRead: AT_ONCE,
    measuredMs: Number.NEGATIVE_INFINITY,
    doubtedSinceMs: null,
    askedWakeMs: null,
    clockSteps: [],
    newestRead: AT_ONCE,
    hasReadNewest: false,
    vetting: NO_VETTING,
    slice: NO_SLICE,
    takeover: null,
    uncounted: new Map(),
    missed: NONE_MISSED,
    untoldMissed: 0,
    round: NO_ROUND,
    heartbeat: NOT_REGISTERED,
    isDrained: false,
    departure: null,
    readiness: NOT_READY_YET,
  };
}

export function stepWorker(state: WorkerState, event: WorkerEvent, nowMs: number): WorkerStep {
  if (state.stage === 'stopped') return { state, effects: [], wakeAtMs: null };
  const isLate = state.askedWakeMs !== null && nowMs - state.askedWakeMs > LATE_STEP_MS;
  // A late step does not renew a doubt: else a process that is always late would never tick.
  const awake = isLate && state.doubtedSinceMs === null ? distrustClock(state, nowMs) : state;
  const handled = handle(awake, event, nowMs);
  const advanced = advance(handled.state, nowMs);
  const effects = [...handled.effects, ...advanced.effects];
  const { lastTick } = advanced.state.round;
  const watched = watchServers(state.readiness, { event, effects, lastTick }, nowMs);
  const next = { ...advanced.state, readiness: watched.state };
  const askedWakeMs = wakeAtMs(next);
  const reports = watched.reports.map((report): WorkerEffect => ({ kind: 'report', report }));
  return { state: { ...next, askedWakeMs }, effects: [...effects, ...reports], wakeAtMs: askedWakeMs };
}

/** Why readiness probes are refused; null: the worker is ready. */
export function findUnready(state: WorkerState, nowMs: number): Unready | null {
  const { slice, heartbeat, readiness } = state;
  const { applying } = slice;
  return judgeWorker(readiness, {
    stage: state.stage,
    isLeaving: state.departure !== null,
    isRegistered: heartbeat.phase === 'registered',
    hasRing: slice.applied !== null,
    natsPrefix: state.config.natsPrefix ?? '',
    rows: livenessOf(state).rows,
    claiming: applying === null ? null : { slots: applying.claims.length, sinceMs: applying.startedMs },
    nowMs,
  });
}

export function livenessOf(state: WorkerState): Liveness {
  return {
    id: state.config.id,
    startedAt: state.config.startedAt,
    ring: state.slice.applied?.version ?? 0,
    tick: state.round.lastTick,
    rows: state.round.list?.ids.length ?? state.round.rows,
    state: state.departure !== null ? 'leaving' : state.isDrained ? 'drained' : 'active',
    blocked: blockedRowsOf(state.round.trouble),
  };
}

function handle(state: WorkerState, event: WorkerEvent, nowMs: number): Change {
  switch (event.kind) {
    case 'wake':
      return only(state);
    case 'pause-noticed':
      return only(distrustClock(state, nowMs));
    case 'identity-checked':
      return finishIdentityCheck(state, event, nowMs);
    case 'clock-measured':
      return only(finishMeasurement(state, event, nowMs));
    case 'clock-failed':
      return only({ ...state, clockRead: pause(CLOCK_RETRY_MS, nowMs) });
    case 'renewed':
    case 'renewal-failed':
      return finishHeartbeat(state, event.kind === 'renewed');
    case 'renewal-taken':
      return giveWay(state);
    case 'key-removed':
      return only({ ...state, heartbeat: finishRemoval(state.heartbeat, event.removed) });
    case 'snapshot-received':
      // Until my id is known to be free I am perhaps another's double; the newest is read when it is.
      if (state.stage === 'checking') return only(state);
      return vet(state, { snapshot: event.snapshot, sequence: null }, nowMs);
    case 'issued-read':
      return takeVetted(state, receiveIssued(state.vetting, event.issued, vettingContext(state, nowMs)), nowMs);
    case 'newest-read':
      return receiveNewest(state, event, nowMs);
    case 'newest-failed':
      return only({ ...state, newestRead: pause(NEWEST_RETRY_MS, nowMs) });
    case 'claimed':
    case 'claim-failed':
      return receiveClaim(state, event, nowMs);
    case 'ticked':
    case 'tick-failed':
      return receiveTick(state, event, nowMs);
    case 'rebased':
      return event.slots === 0 ? only(state) : reported(state, { kind: 'rebased', slots: event.slots });
    case 'ids-read':
      return takeRound(state, receiveIds(state.round, event, roundContext(state, nowMs)));
    case 'ids-failed':
      return only({ ...state, round: failIds(state.round, event.tick) });
    case 'owned-read':
      return only({ ...state, departure: finishOwnedRead(state.departure, event.slots, nowMs) });
    case 'rebase-failed':
    case 'disconnected':
      return only(state);
    case 'reconnected':
      return only({ ...state, newestRead: AT_ONCE, heartbeat: hurryHeartbeat(state.heartbeat) });
    case 'drain-requested':
    case 'undrain-requested':
      return setDrained(state, event.kind === 'drain-requested');
    case 'leave-requested':
      return leave(state, nowMs);
    default:
      return assertNever(event);
  }
}

function advance(state: WorkerState, nowMs: number): Change {
  if (state.stage === 'stopped') return only(state);
  if (state.stage === 'checking') {
    if (!isDue(state.identityCheck, nowMs)) return only(state);
    return { state: { ...state, identityCheck: ask() }, effects: [{ kind: 'check-identity' }] };
  }
  const effects: WorkerEffect[] = [];
  let next = state;
  if (isDue(next.clockRead, nowMs)) {
    next = { ...next, clockRead: ask() };
    effects.push({ kind: 'measure-clock' });
  }
  if (isDue(next.newestRead, nowMs)) {
    next = { ...next, newestRead: ask() };
    effects.push({ kind: 'read-newest' });
  }
  const vetting = advanceVetting(next.vetting, newestOf(next.slice), nowMs);
  next = { ...next, vetting: vetting.state };
  effects.push(...vetting.effects);
  const slice = retryClaim(next.slice, nowMs);
  const round = advanceRound(next.round, roundContext(next, nowMs));
  next = { ...next, slice: slice.state, round: round.state };
  effects.push(...slice.effects, ...round.effects);
  const told = tellMissed(next);
  next = told.state;
  effects.push(...told.effects);
  if (isWarm(next) || next.departure !== null) {
    const { heartbeatMs } = next.config;
    const heartbeat = advanceHeartbeat(next.heartbeat, livenessOf(next), { nowMs, heartbeatMs });
    next = { ...next, heartbeat: heartbeat.state };
    effects.push(...heartbeat.effects);
  }
  const departed = advanceDeparture(next.departure, {
    slice: next.slice,
    worker: next.config.id,
    isWithdrawn: next.heartbeat.phase === 'withdrawn',
    graceMs: next.config.graceMs,
    nowMs,
  });
  next = { ...next, departure: departed.departure, stage: departed.isOver ? 'stopped' : next.stage };
  return { state: next, effects: [...effects, ...departed.effects] };
}

function wakeAtMs(state: WorkerState): number | null {
  if (state.stage === 'stopped') return null;
  if (state.stage === 'checking') return earliest(pollAtMs(state.identityCheck), ...readinessWakeAtMs(state.readiness));
  return earliest(
    pollAtMs(state.clockRead),
    pollAtMs(state.newestRead),
    state.vetting.retryAtMs,
    sliceWakeAtMs(state.slice),
    roundWakeAtMs(state.round, { clock: trustedClock(state), phaseMs: state.config.phaseMs }),
    isWarm(state) || state.departure !== null ? heartbeatWakeAtMs(state.heartbeat) : null,
    departureWakeAtMs(state.departure, state.config.graceMs),
    ...readinessWakeAtMs(state.readiness),
  );
}

function isWarm(state: WorkerState): boolean {
  return (
    state.heartbeat.phase === 'registered' ||
    (state.hasReadNewest &&
      !isVettingNewest(state.vetting) &&
      state.round.lastTick > 0 &&
      state.slice.applying === null)
  );
}

function finishIdentityCheck(
  state: WorkerState,
  { outcome, reason }: Extract<WorkerEvent, { kind: 'identity-checked' }>,
  nowMs: number,
): Change {
  switch (outcome) {
    case 'free':
      return {
        state: { ...state, stage: 'running', identityCheck: pause(Number.POSITIVE_INFINITY, nowMs) },
        effects: [{ kind: 'serve-probe' }],
      };
    case 'held':
      return stop(
        state,
        1,
        reason ?? `a worker ${state.config.id} is alive already; give each worker an id of its own (--worker-id)`,
      );
    case 'unclear': {
      // Its key is there but it does not answer: frozen, or dead on a vanished host. Its key's end decides.
      const waiting = { ...state, identityCheck: pause(IDENTITY_RETRY_MS, nowMs) };
      return reason === undefined ? reported(waiting, { kind: 'identity-unclear' }) : only(waiting);
    }
    default:
      return assertNever(outcome);
  }
}

function finishHeartbeat(state: WorkerState, isAcknowledged: boolean): Change {
  const heartbeat = finishRenewal(state.heartbeat, isAcknowledged);
  const next = { ...state, heartbeat };
  const isNew = state.heartbeat.phase === 'unregistered' && heartbeat.phase === 'registered';
  return isNew ? reported(next, { kind: 'registered' }) : only(next);
}

function receiveNewest(
  state: WorkerState,
  event: Extract<WorkerEvent, { kind: 'newest-read' }>,
  nowMs: number,
): Change {
  const read = { ...state, hasReadNewest: true, newestRead: pause(NEWEST_EVERY_MS, nowMs) };
  if (event.snapshot === null) return only(read);
  return vet(read, { snapshot: event.snapshot, sequence: event.sequence ?? null }, nowMs);
}

function vet(state: WorkerState, received: Received, nowMs: number): Change {
  return takeVetted(state, vetSnapshot(state.vetting, received, newestOf(state.slice)), nowMs);
}

function takeVetted(state: WorkerState, step: VettingStep, nowMs: number): Change {
  const vetted = { ...state, vetting: step.state };
  if (step.accepted === null) return { state: vetted, effects: step.effects };
  const received = receiveSnapshot(state.slice, step.accepted, state.config.id, nowMs);
  const applied = applySlice(vetted, received, [], nowMs);
  return { state: applied.state, effects: [...applied.effects, ...step.effects] };
}

/** The fence refused the epoch itself. A newer snapshot may be in the stream: as after a restore of Postgres. */
function dropUnissued(state: WorkerState, order: Order, lastEpoch: number, nowMs: number): Change {
  const { slice, config } = state;
  const snapshot = [slice.applying?.snapshot, slice.applied].find(
    (one) => one != null && compareOrder(one, order) === 0,
  );
  const dropped = applySlice(state, abandonClaim(slice, order, config.id, nowMs), [], nowMs);
  const reread = { ...dropped.state, newestRead: dropped.state.newestRead.isBusy ? dropped.state.newestRead : AT_ONCE };
  if (snapshot == null) return { state: reread, effects: dropped.effects };
  const vetting = forgetEpoch(reread.vetting, { snapshot, sequence: null }, lastEpoch);
  return { state: { ...reread, vetting: vetting.state }, effects: [...dropped.effects, ...vetting.effects] };
}

function receiveClaim(
  state: WorkerState,
  event: Extract<WorkerEvent, { kind: 'claimed' | 'claim-failed' }>,
  nowMs: number,
): Change {
  if (event.kind === 'claim-failed') {
    const step = failClaim(state.slice, event.order, state.config.id, nowMs);
    const failed: WorkerEffect = { kind: 'report', report: { kind: 'failed', what: 'claim', reason: event.reason } };
    const change = applySlice(state, step, [], nowMs);
    return { state: change.state, effects: [...change.effects, failed] };
  }
  const { claimed, lastEpoch, isSuperseded } = event.result;
  if (isSuperseded === true) return giveWay(state);
  if (lastEpoch !== undefined) return dropUnissued(state, event.order, lastEpoch, nowMs);
  const step = finishClaim(state.slice, event, state.config.id, nowMs);
  const due = dueTick({ clock: trustedClock(state), phaseMs: state.config.phaseMs, nowMs });
  const isBehind = due !== null && claimed.some(({ lastTick }) => lastTick > due + STEP_BACK_TICKS);
  const applied = applySlice(isBehind ? doubtClock(state, nowMs) : state, step, claimed, nowMs);
  // Claimed again after a dispute: nobody ticked these meanwhile.
  const slots = claimed.map(({ slot }) => slot);
  const again = step.applied === null ? tickBehind(applied.state, slots, claimed, nowMs) : only(applied.state);
  const change = { state: again.state, effects: [...again.effects, ...applied.effects] };
  // What was refused and is not mine any more went to another by the snapshot that waited: as it should be.
  const refused = within(event.result.refused, applied.state.slice.slots);
  if (refused.length === 0) return tellTakeover(change, null, nowMs);
  // A newer owner exists: its snapshot is on the way, or was lost on it.
  const report: WorkerReport = { kind: 'claims-refused', slots: refused, ring: event.order.version };
  return {
    state: { ...change.state, newestRead: AT_ONCE, takeover: null },
    effects: [...change.effects, { kind: 'report', report }],
  };
}

function receiveTick(
  state: WorkerState,
  event: Extract<WorkerEvent, { kind: 'ticked' | 'tick-failed' }>,
  nowMs: number,
): Change {
  if (event.kind === 'tick-failed') {
    const isGained = event.lane === 'gained';
    const round = failTick(state.round, event, roundContext(state, nowMs));
    const takeover = isGained ? null : state.takeover;
    const failed = reportMissed({ ...state, round, takeover });
    const report: WorkerReport = { kind: 'failed', what: 'tick', reason: event.reason };
    return { state: failed.state, effects: [...failed.effects, { kind: 'report', report }] };
  }
  if (event.result.isSuperseded) return giveWay(state);
  if (event.result.isEarly) return refuseEarlyTick(state, event);
  const counted = noteMissed(state, event);
  const doubted = event.result.ahead.length > 0 ? doubtClock(counted, nowMs) : counted;
  const fenced = event.result.lost.length > 0 ? loseSlots(state.slice, event.result.lost) : null;
  const next = fenced === null ? doubted : { ...doubted, slice: fenced.state };
  const rounded = takeRound(next, finishTick(next.round, event, event.lane, roundContext(next, nowMs)));
  const isWhole = event.lane === 'gained' || event.lane === 'held' || rounded.state.round.round === null;
  const missed = isWhole ? reportMissed(rounded.state) : only(rounded.state);
  const told = { state: missed.state, effects: [...rounded.effects, ...missed.effects] };
  const ticked = event.lane === 'gained' ? tellTakeover(told, event, nowMs) : told;
  if (fenced === null) return ticked;
  const effects = [...fenced.effects, ...ticked.effects];
  if (fenced.disputed.length > 0) {
    const ring = state.slice.applied?.version ?? 0;
    effects.push({ kind: 'report', report: { kind: 'slots-lost', slots: fenced.disputed, ring } });
  }
  return { state: ticked.state, effects };
}

/**
 * A later process has this worker's key or slots: this one was frozen or cut off, and has been replaced. It ends even if its
 * successor has ended since: started again, it is the later one.
 */
function giveWay(state: WorkerState): Change {
  return stop(state, 1, `another process lives under the worker id ${state.config.id}`);
}

/** The fence knows later ticks than this worker's clock: perhaps its machine was paused. The clock is measured at once. */
function doubtClock(state: WorkerState, nowMs: number): WorkerState {
  if (state.clockRead.isBusy || nowMs - state.measuredMs < CLOCK_DOUBTED_AFTER_MS) return state;
  return { ...state, clockRead: AT_ONCE };
}

/** What the clock's samples say may be wrong: nothing is ticked before it has been measured again. */
function distrustClock(state: WorkerState, nowMs: number): WorkerState {
  return { ...state, doubtedSinceMs: nowMs, clockRead: state.clockRead.isBusy ? state.clockRead : AT_ONCE };
}

function trustedClock({ clock, doubtedSinceMs }: WorkerState): DatabaseClock {
  return doubtedSinceMs === null ? clock : UNMEASURED;
}

function finishMeasurement(
  state: WorkerState,
  event: Extract<WorkerEvent, { kind: 'clock-measured' }>,
  nowMs: number,
): WorkerState {
  // Sent before the doubt: the machine may have been paused on the answer's way.
  if (state.doubtedSinceMs !== null && event.sentMs < state.doubtedSinceMs) return { ...state, clockRead: AT_ONCE };
  const clock = addSample(state.clock, event);
  const step = stepBetween(state.clock, clock);
  const before = dueTick({ clock: state.clock, phaseMs: state.config.phaseMs, nowMs });
  const clockSteps =
    step === null || before === null ? state.clockSteps : noteStep(state.clockSteps, { tick: before, ticks: step });
  const due = dueTick({ clock, phaseMs: state.config.phaseMs, nowMs });
  // After a refused tick the rounds go on at once from the database's second, however little its clock stepped back: a worker
  // whose tick stands still looks as if it did nothing.
  const round = isMeasured(state.clock) || due === null ? state.round : stepBack(state.round, due);
  return {
    ...state,
    clock,
    clockSteps,
    round,
    doubtedSinceMs: null,
    clockRead: pause(CLOCK_EVERY_MS, nowMs),
    measuredMs: event.sentMs,
  };
}

/** The database's clock shows less than this worker assumes, so no tick is begun before it is measured again. */
function refuseEarlyTick(state: WorkerState, event: Extract<WorkerEvent, { kind: 'ticked' }>): Change {
  const isGained = event.lane === 'gained';
  const isOfRound = event.lane === 'round' || event.lane === 'lingering';
  const next = {
    ...state,
    clock: UNMEASURED,
    clockRead: state.clockRead.isBusy ? state.clockRead : AT_ONCE,
    round: !isOfRound ? state.round : abandonRound(state.round, event.tick),
    takeover: isGained ? null : state.takeover,
  };
  return reported(next, { kind: 'tick-early', tick: event.tick });
}

/** Takes over what the slice became; where a snapshot was applied, ticks what is behind and tells of it. */
function applySlice(state: WorkerState, step: SliceStep, claimed: readonly ClaimedSlot[], nowMs: number): Change {
  const mine = mergeSlots(step.state.slots, step.state.lingering);
  const next = { ...state, slice: step.state, uncounted: keepOnly(state.uncounted, mine) };
  if (step.applied === null) return { state: next, effects: step.effects };
  const { snapshot, gained, lost, tookMs } = step.applied;
  const rows = rowsOf(snapshot, state.config.id);
  // Of what it had before, it may have claimed some back from another: those are as much behind as what is new.
  const taken = mergeSlots(
    gained,
    claimed.map(({ slot }) => slot),
  );
  const first = tickBehind(next, taken, claimed, nowMs);
  const behind = first.effects.flatMap(({ slots }) => slots);
  const begun = gained.length > 0 ? beginTakeover(step.applied, { behind, nowMs }) : null;
  return {
    state: { ...first.state, takeover: begun ?? next.takeover, round: forgetList(next.round) },
    effects: [
      ...first.effects,
      ...step.effects,
      {
        kind: 'report',
        report: { kind: 'ring-applied', snapshot, gained: gained.length, lost: lost.length, rows, tookMs },
      },
    ],
  };
}

/**
 * Slots whose last tick is behind the round that my own phase has come to get its number at once: their former owner may
 * have died before it. A later number would come early, and be missing from the round it belongs to.
 */
function tickBehind(
  state: WorkerState,
  taken: readonly number[],
  claimed: readonly ClaimedSlot[],
  nowMs: number,
): { readonly state: WorkerState; readonly effects: readonly Extract<WorkerEffect, { kind: 'tick' }>[] } {
  const tick = dueTick({ clock: trustedClock(state), phaseMs: state.config.phaseMs, nowMs });
  const lastTicks = new Map(claimed.map(({ slot, lastTick }) => [slot, lastTick]));
  const behind = tick === null ? taken : taken.filter((slot) => (lastTicks.get(slot) ?? 0) < tick);
  const noted = { ...state, uncounted: noteTaken(state.uncounted, behind, claimed) };
  if (tick === null || behind.length === 0) return { state: noted, effects: [] };
  return { state: noted, effects: [{ kind: 'tick', lane: 'gained', tick, slots: behind }] };
}

/** Counts what the slots that a tick stamped had missed before it; those that it left unstamped are counted later. */
function noteMissed(state: WorkerState, event: Extract<WorkerEvent, { kind: 'ticked' }>): WorkerState {
  const { before = [], held, undecided } = event.result;
  const { clockSteps: steps, round } = state;
  const found = countMissed(before, {
    tick: event.tick,
    uncounted: state.uncounted,
    ownTick: round.lastTick,
    steps,
  });
  const left = event.isLast === true ? [] : [...held, ...undecided];
  const isAfterGap = round.round?.withBefore === true && round.round.tick === event.tick;
  const noted = isAfterGap ? noteLeft(state.uncounted, left, round.lastTick) : state.uncounted;
  const uncounted = settle(noted, left.length === 0 ? event.slots : event.slots.filter((slot) => !left.includes(slot)));
  return { ...state, missed: addMissed(state.missed, found), uncounted };
}

function reportMissed(state: WorkerState): Change {
  const { missed } = state;
  if (missed.missed === 0) return only(state);
  const counted = { ...state, missed: NONE_MISSED, untoldMissed: state.untoldMissed + missed.missed };
  return reported(counted, { kind: 'ticks-missed', ...missed });
}

/** Tells the leader of missed ticks that belong to no takeover under way. */
function tellMissed(state: WorkerState): Change {
  const { applied } = state.slice;
  if (state.untoldMissed === 0 || state.takeover !== null || applied === null) return only(state);
  const told = describeMissed(applied, state.config.id, state.untoldMissed);
  return { state: { ...state, untoldMissed: 0 }, effects: [{ kind: 'tell-applied', applied: told }] };
}

/** The key says so at once. What is its own it ticks on, until a snapshot, and then the fence, names others for it. */
function setDrained(state: WorkerState, isDrained: boolean): Change {
  if (state.isDrained === isDrained || state.departure !== null) return only(state);
  const told = { ...state, isDrained, heartbeat: hurryHeartbeat(state.heartbeat) };
  return reported(told, { kind: isDrained ? 'drained' : 'undrained' });
}

/** Tells of the takeover when it is over: its first tick is done, or (`ticked` null) claimed, and no slot was behind. */
function tellTakeover(change: Change, ticked: Extract<WorkerEvent, { kind: 'ticked' }> | null, nowMs: number): Change {
  const { takeover, config } = change.state;
  if (takeover === null) return change;
  const isOver = ticked === null ? takeover.behind.length === 0 : isFirstTick(takeover, ticked.slots);
  if (!isOver) return change;
  const state = { ...change.state, takeover: null };
  // Another has some of mine already: a newer snapshot's takeover will tell of it.
  if (ticked !== null && within(ticked.result.lost, state.slice.slots).length > 0)
    return { state, effects: change.effects };
  const first = ticked === null ? null : { ...ticked, nowMs };
  const applied = describeTakeover(takeover, config.id, first, state.untoldMissed);
  return {
    state: { ...state, untoldMissed: 0 },
    effects: [...change.effects, { kind: 'tell-applied', applied }],
  };
}

function leave(state: WorkerState, nowMs: number): Change {
  if (state.departure !== null) return only(state);
  if (state.stage === 'checking') return stop(state, 0, 'asked to leave before the start');
  const leaving = { ...state, departure: startDeparture(nowMs), heartbeat: withdraw(state.heartbeat) };
  return reported(leaving, { kind: 'leaving' });
}

function vettingContext({ slice }: WorkerState, nowMs: number) {
  return { applied: newestOf(slice), nowMs };
}

function roundContext(state: WorkerState, nowMs: number): RoundContext {
  const { slice, config } = state;
  return {
    clock: trustedClock(state),
    phaseMs: config.phaseMs,
    chunkRows: config.chunkRows,
    slots: slice.slots,
    lingering: slice.lingering,
    expectedRows: slice.applied === null ? 0 : rowsOf(slice.applied, config.id),
    ring: slice.applied?.version ?? 0,
    hasUncounted: state.uncounted.size > 0,
    measuredMs: state.measuredMs,
    nowMs,
  };
}

/** What the snapshot says that the worker has; none where it is not in it. */
function rowsOf(snapshot: Snapshot, worker: string): number {
  return snapshot.workers.find(({ id }) => id === worker)?.rows ?? 0;
}

function takeRound(state: WorkerState, step: RoundStep): Change {
  return { state: { ...state, round: step.state }, effects: step.effects };
}

function stop(state: WorkerState, code: 0 | 1, reason: string): Change {
  return { state: { ...state, stage: 'stopped' }, effects: [{ kind: 'stop', code, reason }] };
}

function reported(state: WorkerState, report: WorkerReport): Change {
  return { state, effects: [{ kind: 'report', report }] };
}

function only(state: WorkerState): Change {
  return { state, effects: [] };
}

function isDue(polled: Polled, nowMs: number): boolean {
  return !polled.isBusy && nowMs >= polled.nextAtMs;
}

function ask(): Polled {
  return { isBusy: true, nextAtMs: Number.POSITIVE_INFINITY };
}

function pause(forMs: number, nowMs: number): Polled {
  return { isBusy: false, nextAtMs: nowMs + forMs };
}

function pollAtMs(polled: Polled): number | null {
  return polled.isBusy || polled.nextAtMs === Number.POSITIVE_INFINITY ? null : polled.nextAtMs;
}
