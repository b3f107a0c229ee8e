import { type Doubt, describeDoubt, doubtOrder, type Issued } from '../../shared/ring/issued-order.ts';
import { compareOrder, type Order, type Snapshot } from '../../shared/ring/snapshot.ts';
import type { WorkerEffect } from './protocol.ts';

/**
 * Lets through only snapshots whose (epoch, version) can be honest, see `shared/ring/issued-order.ts`.
 *
 * A snapshot passes through: known to be honest → applied at once, without a question (the next version of the current
 * epoch always is). Otherwise: waiting → asked (Postgres is being asked) → applied or rejected. While Postgres does not
 * answer it stays waiting, and Postgres is asked again.
 *
 * Invariant: a snapshot is judged only by an answer that was asked for after it came. An older answer may not know the
 * epoch of a leader that has been elected since.
 */
export interface Vetting {
  readonly issued: Issued;
  readonly waiting: readonly Received[];
  readonly asked: readonly Received[];
  /** When Postgres is asked again; null: there is nothing to ask, or the question is under way. */
  readonly retryAtMs: number | null;
  /** The orders rejected most recently, oldest first: a repeated one is counted, and logged no more. */
  readonly rejected: readonly Order[];
}

/** A snapshot, and its place in the stream where that is known. */
export interface Received {
  readonly snapshot: Snapshot;
  readonly sequence: number | null;
}

export interface VettingStep {
  readonly state: Vetting;
  readonly effects: readonly WorkerEffect[];
  /** To be applied; null: none. */
  readonly accepted: Snapshot | null;
}

export const NO_VETTING: Vetting = {
  issued: { epoch: 0, version: 0 },
  waiting: [],
  asked: [],
  retryAtMs: null,
  rejected: [],
};

const RETRY_MS = 250;
/** Each may be a megabyte. What is dropped is not lost: the stream's newest is read again. */
const MOST_WAITING = 16;
const MOST_REMEMBERED = 64;

/** `applied`: the newest order that this worker has accepted; it proves the versions up to it. */
export function vetSnapshot(state: Vetting, received: Received, applied: Order | null): VettingStep {
  const { snapshot } = received;
  const isOld = applied !== null && compareOrder(snapshot, applied) <= 0;
  if (isOld || doubtOrder(snapshot, knownTo(state, applied)) === null) {
    return { state, effects: [], accepted: snapshot };
  }
  const others = state.waiting.filter((other) => compareOrder(other.snapshot, snapshot) !== 0);
  const waiting = { ...state, waiting: [...others, received].slice(-MOST_WAITING) };
  const isBusy = state.asked.length > 0 || state.retryAtMs !== null;
  return { ...(isBusy ? { state: waiting, effects: [] } : askPostgres(waiting, applied)), accepted: null };
}

/** `answer` null: Postgres did not answer. Its version is null where it was not asked for. */
export function receiveIssued(
  state: Vetting,
  answer: { readonly epoch: number; readonly version: number | null } | null,
  context: { readonly applied: Order | null; readonly nowMs: number },
): VettingStep {
  const { applied, nowMs } = context;
  if (answer === null) {
    const waiting = [...state.asked, ...state.waiting].slice(-MOST_WAITING);
    return { state: { ...state, waiting, asked: [], retryAtMs: nowMs + RETRY_MS }, effects: [], accepted: null };
  }
  const issued = { epoch: answer.epoch, version: Math.max(answer.version ?? 0, state.issued.version) };
  let next: Vetting = { ...state, issued, asked: [] };
  const effects: WorkerEffect[] = [];
  let accepted: Snapshot | null = null;
  for (const received of state.asked) {
    const known = knownTo(next, applied);
    const doubt = doubtOrder(received.snapshot, known);
    if (doubt === null) {
      // Each snapshot is whole: only the newest of several is worth applying.
      if (accepted === null || compareOrder(received.snapshot, accepted) > 0) accepted = received.snapshot;
    } else if (doubt === 'version-leap' && answer.version === null) {
      next = { ...next, waiting: [received, ...next.waiting] };
    } else {
      const rejected = rejectSnapshot(next, received, describeDoubt(doubt, received.snapshot, known));
      next = rejected.state;
      effects.push(...rejected.effects);
    }
  }
  if (next.waiting.length === 0) return { state: next, effects, accepted };
  const asked = askPostgres(next, applied);
  return { state: asked.state, effects: [...effects, ...asked.effects], accepted };
}

/** Postgres refused a claim: it has not issued the epoch, or has forgotten it since, as after a restore. */
export function forgetEpoch(state: Vetting, received: Received, lastEpoch: number): VettingStep {
  const issued = { ...state.issued, epoch: lastEpoch };
  const reason = describeDoubt('epoch-not-issued', received.snapshot, issued);
  return { ...rejectSnapshot({ ...state, issued }, received, reason), accepted: null };
}

/** Asks again what Postgres did not answer. */
export function advanceVetting(state: Vetting, applied: Order | null, nowMs: number): VettingStep {
  if (state.retryAtMs === null || nowMs < state.retryAtMs) return { state, effects: [], accepted: null };
  return { ...askPostgres(state, applied), accepted: null };
}

/** Is the stream's newest among those that are not judged yet? */
export function isVettingNewest({ waiting, asked }: Vetting): boolean {
  return [...waiting, ...asked].some(({ sequence }) => sequence !== null);
}

function askPostgres(state: Vetting, applied: Order | null): Pick<VettingStep, 'state' | 'effects'> {
  const { waiting } = state;
  // Looking for the newest claim reads the whole fence: only a leap in version is worth that.
  const known = { epoch: Number.MAX_SAFE_INTEGER, version: knownTo(state, applied).version };
  const withVersion = waiting.some(({ snapshot }) => doubtOrder(snapshot, known) === ('version-leap' satisfies Doubt));
  return {
    state: { ...state, waiting: [], asked: waiting, retryAtMs: null },
    effects: [{ kind: 'read-issued', withVersion }],
  };
}

function rejectSnapshot(
  state: Vetting,
  { snapshot, sequence }: Received,
  reason: string,
): Pick<VettingStep, 'state' | 'effects'> {
  const { epoch, version } = snapshot;
  const isRepeated = state.rejected.some((order) => compareOrder(order, snapshot) === 0);
  const rejected = isRepeated ? state.rejected : [...state.rejected, { epoch, version }].slice(-MOST_REMEMBERED);
  return {
    state: { ...state, rejected },
    effects: [{ kind: 'report', report: { kind: 'snapshot-rejected', epoch, version, sequence, reason, isRepeated } }],
  };
}

function knownTo({ issued }: Vetting, applied: Order | null): Issued {
  return { epoch: issued.epoch, version: Math.max(issued.version, applied?.version ?? 0) };
}
