import type { CoordinatorConfig, Office, TableSize } from '../../services/coordinator/protocol.ts';
import type { DatabaseClock } from '../../services/worker/database-clock.ts';
import type { WorkerConfig } from '../../services/worker/protocol.ts';
import type { Step, StepFunction } from '../../shared/machine/machine.ts';
import type { Liveness } from '../../shared/nats/liveness.ts';
import type { LivenessEntry } from '../../shared/nats/liveness-bucket.ts';
import type { ClaimResult } from '../../shared/postgres/fence.ts';
import { NO_TROUBLE, type TickResult } from '../../shared/postgres/tick-result.ts';
import { assign } from '../../shared/ring/assignment.ts';
import { encodeSlots } from '../../shared/ring/slot-set.ts';
import type { Cause, Order, Snapshot } from '../../shared/ring/snapshot.ts';

export const LEASE_TTL_MS = 2_000;
export const HEARTBEAT_MS = 500;

/** A database clock that shows `epochMs` when the monotonic clock shows 0. */
export function clockAt(epochMs: number): DatabaseClock {
  return { samples: [{ offsetMs: epochMs, roundTripMs: 0 }] };
}

/** Which slots each worker has, by worker id. */
export type Shares = Readonly<Record<string, readonly number[]>>;

/** A snapshot by hand: whose order and shares matter, and nothing else. */
export function makeSnapshotOf(
  order: Order,
  shares: Shares,
  more: { readonly slots?: number; readonly cause?: Cause } = {},
): Snapshot {
  const workers = Object.keys(shares)
    .sort()
    .map((id) => ({ id, rows: shares[id]?.length ?? 0, slots: encodeSlots(shares[id] ?? []) }));
  return {
    version: order.version,
    epoch: order.epoch,
    at: '2026-11-23T10:00:00.000Z',
    cause: more.cause ?? { kind: 'worker-joined', worker: 'a' },
    slots: more.slots ?? 8,
    rows: workers.reduce((sum, { rows }) => sum + rows, 0),
    moved: { slots: 0, rows: 0, minimumRows: 0 },
    workers,
  };
}

export function makeLiveness(id: string, value: Partial<Liveness> = {}): Liveness {
  return { id, startedAt: '2026-11-23T09:00:00.000Z', ring: 1, tick: 100, rows: 3, state: 'active', ...value };
}

export function makeEntry(id: string, revision: number, value: Partial<Liveness> = {}): LivenessEntry {
  return { id, revision, value: makeLiveness(id, value) };
}

export function makeWorkerConfig(config: Partial<WorkerConfig> = {}): WorkerConfig {
  return {
    id: 'a',
    startedAt: '2026-11-23T09:00:00.000Z',
    incarnation: 1,
    heartbeatMs: HEARTBEAT_MS,
    leaseTtlMs: LEASE_TTL_MS,
    phaseMs: 0,
    chunkRows: 6_000,
    graceMs: 10_000,
    ...config,
  };
}

export function makeCoordinatorConfig(config: Partial<CoordinatorConfig> = {}): CoordinatorConfig {
  return {
    id: 'me',
    startedAt: '2026-11-23T09:00:00.000Z',
    slots: 8,
    leaseTtlMs: LEASE_TTL_MS,
    heartbeatMs: HEARTBEAT_MS,
    wallOffsetMs: 0,
    ...config,
  };
}

/** All slots claimed, none of them ticked before `lastTick`. */
export function makeClaim(slots: readonly number[], lastTick = 0, refused: readonly number[] = []): ClaimResult {
  return { claimed: slots.map((slot) => ({ slot, lastTick, isStanding: lastTick > 0 })), refused };
}

export function makeTickResult(result: Partial<TickResult> = {}): TickResult {
  return {
    stamped: 0,
    rows: 0,
    visible: result.rows ?? 0,
    missed: 0,
    ...NO_TROUBLE,
    checksum: '0',
    exhausted: [],
    exhaustedCount: 0,
    nullCount: 0,
    lost: [],
    ahead: [],
    isEarly: false,
    isSuperseded: false,
    ...result,
  };
}

export function makeTable(weights: readonly number[], at = 'seen-1', connection = 'first'): TableSize {
  const rows = weights.reduce((sum, weight) => sum + weight, 0);
  return { weights: Float64Array.from(weights), rows, at, connection };
}

/** One row in each of eight slots, the given workers alive, and nothing published yet. */
export function makeOffice(office: Partial<Office> & { readonly workers?: readonly string[] } = {}): Office {
  const { workers = [], ...rest } = office;
  return {
    epoch: 5,
    newest: { sequence: 0, snapshot: null },
    fence: { order: null, owners: new Array<string | null>(8).fill(null) },
    table: makeTable(new Array<number>(8).fill(1)),
    members: workers.map((id, index) => makeEntry(id, index + 1)),
    ...rest,
  };
}

/** The assignment that a cold start of these workers over eight slots of one row makes. */
export function assignEvenly(workers: readonly string[]) {
  return assign({ weights: new Int32Array(8).fill(1), workers, previous: null });
}

/** A machine under a fake clock: each event is stepped at the time given, and what came out of the last step is kept. */
export class Harness<State, Event extends { readonly kind: string }, Effect extends { readonly kind: string }> {
  state: State;
  effects: readonly Effect[] = [];
  wakeAtMs: number | null = null;
  readonly #step: StepFunction<State, Event, Effect>;

  constructor(initial: State, step: StepFunction<State, Event, Effect>) {
    this.state = initial;
    this.#step = step;
  }

  /** Steps once; returns the effects. */
  at(nowMs: number, event: Event): readonly Effect[] {
    const out: Step<State, Effect> = this.#step(this.state, event, nowMs);
    this.state = out.state;
    this.effects = out.effects;
    this.wakeAtMs = out.wakeAtMs;
    return out.effects;
  }

  /** The last step's effects of one kind. */
  all<Kind extends Effect['kind']>(kind: Kind): Extract<Effect, { kind: Kind }>[] {
    return this.effects.filter((effect) => effect.kind === kind) as Extract<Effect, { kind: Kind }>[];
  }
}

/** The kinds of effects, in their order. */
export function kindsOf(effects: readonly { readonly kind: string }[]): string[] {
  return effects.map(({ kind }) => kind);
}
