import { type CoordinatorState, startCoordinator, stepCoordinator } from '../../services/coordinator/machine.ts';
import type { CoordinatorEffect, CoordinatorEvent } from '../../services/coordinator/protocol.ts';
import { startWorker, stepWorker, type WorkerState } from '../../services/worker/machine.ts';
import type { WorkerEffect, WorkerEvent } from '../../services/worker/protocol.ts';
import type { Recovery } from '../../shared/ring/recovery.ts';
import type { Evidence, Snapshot } from '../../shared/ring/snapshot.ts';
import { performCoordinatorEffect } from './coordinator-effects.ts';
import { FakeBucket, type FakeNats, FakeStream, type StreamName } from './fake-nats.ts';
import { type BrokenFence, FakePostgres } from './fake-postgres.ts';
import { Losses } from './losses.ts';
import { MissedCount } from './missed-count.ts';
import { type Reachable, SimulatedNode, type Way } from './node.ts';
import { Random } from './random.ts';
import { type Locking, Statements } from './statements.ts';
import { Timeline } from './timeline.ts';
import { performWorkerEffect } from './worker-effects.ts';

export type WorkerNode = SimulatedNode<WorkerState, WorkerEvent, WorkerEffect>;
export type CoordinatorNode = SimulatedNode<CoordinatorState, CoordinatorEvent, CoordinatorEffect>;

export interface WorldOptions {
  readonly seed: number;
  readonly slots: number;
  readonly broken: Broken;
}

/** What to break, to see whether the checkers notice: a rule of the fence, or probes, which then find nobody where somebody is. */
export const BROKEN = ['owner', 'tick', 'row', 'claim-order', 'probe'] as const;
export type Broken = BrokenFence | (typeof BROKEN)[number];

/** A worker's key, deleted by a coordinator. */
export interface Eviction {
  readonly worker: string;
  readonly evidence: Evidence | null;
  /** When the deleted value had been put. */
  readonly putMs: number;
  /** When the deletion was sent. */
  readonly decidedMs: number;
}

/** A worker that a leader planned without from then on. */
export interface Departure {
  readonly worker: string;
  readonly evidence: Evidence;
  readonly coordinator: string;
  readonly atMs: number;
}

/** Something that only a leader may do. */
export interface LeaderAct {
  readonly coordinator: string;
  readonly effect: CoordinatorEffect['kind'];
  readonly atMs: number;
  /** When the bucket last stored this coordinator's key; -Infinity: never. */
  readonly keyPutMs: number;
}

export const LEASE_TTL_MS = 2_000;
export const HEARTBEAT_MS = 500;
const RPC_TIMEOUT_MS = 1_000;

/** How bad the network is just now: shares of messages concerned, and the longest delay. */
export interface Weather {
  dropShare: number;
  duplicateShare: number;
  longestDelayMs: number;
}

const QUIET_WEATHER: Weather = { dropShare: 0, duplicateShare: 0, longestDelayMs: 5 };

/** All simulated processes, the two servers between them, and the network that loses what it carries. */
export class World {
  readonly timeline = new Timeline();
  readonly random: Random;
  readonly postgres: FakePostgres;
  readonly statements = new Statements(this.timeline);
  readonly missed: MissedCount;
  readonly nats: FakeNats;
  readonly workers: WorkerNode[] = [];
  readonly coordinators: CoordinatorNode[] = [];
  readonly weather: Weather = { ...QUIET_WEATHER };
  /** Every snapshot that the stream accepted, with the rows of the heaviest slot that its leader knew. */
  readonly accepted: { readonly snapshot: Snapshot; readonly heaviest: number; readonly atMs: number }[] = [];
  /** Snapshots that no leader made. */
  readonly forged = new Set<Snapshot>();
  readonly evictions: Eviction[] = [];
  readonly departures: Departure[] = [];
  readonly leaderActs: LeaderAct[] = [];
  /** When the bucket last stored each coordinator's key. */
  readonly leaderPuts = new Map<CoordinatorNode, number>();
  /** What no trigger had reported when each coordinator last counted the table: it cannot know of more. */
  readonly drifts = new Map<CoordinatorNode, Float64Array>();
  /** How many connections to Postgres each coordinator has lost. */
  readonly connections = new Map<CoordinatorNode, number>();
  readonly losses = new Losses(this.timeline);
  /** When streams without a leader got one again last. */
  leaderlessUntilMs = Number.NEGATIVE_INFINITY;
  /** Cut from NATS together: the network's trouble, not their own. */
  readonly severed = new Set<WorkerNode>();
  /** When they were cut last, and when that ended; Infinity while it lasts. */
  severedMs = { from: Number.NEGATIVE_INFINITY, to: Number.NEGATIVE_INFINITY };
  /** When the last storm was over; Infinity while there is one. */
  calmSinceMs = 0;
  /** Every disruption that a leader summed up. */
  readonly recoveries: Recovery[] = [];
  readonly faults: string[] = [];
  readonly slots: number;
  readonly broken: Broken;
  /** Some installations have no login in the system account. */
  readonly hasSystemAccount: boolean;
  #incarnation = 0;

  constructor(options: WorldOptions) {
    this.random = new Random(options.seed);
    this.slots = options.slots;
    this.broken = options.broken;
    this.hasSystemAccount = this.random.chance(0.75);
    // Measured: keys live 30 to 300 ms longer than the TTL says.
    const lifeMs = LEASE_TTL_MS + this.random.between(30, 300);
    this.nats = {
      isDown: false,
      leaderless: new Set(),
      liveness: new FakeBucket(lifeMs),
      leadership: new FakeBucket(lifeMs),
      ring: new FakeStream(),
    };
    const clockOffsetMs = 1_790_000_000_000 + this.random.between(0, 999);
    const broken = options.broken === 'probe' ? 'none' : options.broken;
    const worldMs = () => this.timeline.nowMs;
    this.postgres = new FakePostgres({ slots: options.slots, clockOffsetMs, worldMs, broken });
    this.missed = new MissedCount(this.postgres);
  }

  get liveWorkers(): WorkerNode[] {
    return this.workers.filter((node) => node.isAlive && node.state.stage !== 'stopped');
  }

  get liveCoordinators(): CoordinatorNode[] {
    return this.coordinators.filter((node) => node.isAlive && !node.state.isStopped);
  }

  startWorker(id: string): WorkerNode {
    this.#incarnation += 1;
    const node: WorkerNode = new SimulatedNode<WorkerState, WorkerEvent, WorkerEffect>({
      ...this.#nodeBasics(id),
      initial: startWorker({
        id,
        startedAt: `start-${this.#incarnation}`,
        incarnation: this.#incarnation,
        heartbeatMs: HEARTBEAT_MS,
        leaseTtlMs: LEASE_TTL_MS,
        phaseMs: this.random.between(0, 800),
        chunkRows: this.random.pick([5, 20, 6_000]),
        graceMs: 10_000,
      }),
      step: stepWorker,
      wake: { kind: 'wake' },
      // Some pauses leave no trace in the host's other clocks.
      resume: () => (this.random.chance(0.5) ? { kind: 'pause-noticed' } : null),
      perform: (effect) => performWorkerEffect(this, node, effect),
    });
    this.workers.push(node);
    this.timeline.after(0, () => node.wake());
    return node;
  }

  startCoordinator(id: string): CoordinatorNode {
    this.#incarnation += 1;
    const node: CoordinatorNode = new SimulatedNode<CoordinatorState, CoordinatorEvent, CoordinatorEffect>({
      ...this.#nodeBasics(id),
      initial: startCoordinator({
        id,
        startedAt: `start-${this.#incarnation}`,
        slots: this.slots,
        leaseTtlMs: LEASE_TTL_MS,
        heartbeatMs: HEARTBEAT_MS,
        // Its wall clock is only for what people read.
        wallOffsetMs: this.random.pick([0, -3_600_000, 3_600_000]),
      }),
      step: stepCoordinator,
      wake: { kind: 'wake' },
      perform: (effect) => performCoordinatorEffect(this, node, effect),
    });
    this.coordinators.push(node);
    this.timeline.after(0, () => node.wake());
    this.timeline.after(this.delayMs(), () => this.#sayWhetherTold(node));
    return node;
  }

  /** May this process reach NATS just now? */
  reachesNats(node: Reachable<never>): boolean {
    return !this.nats.isDown && !this.isCut(node) && node.isConnected;
  }

  /** Is the way between this process and NATS, or a stretch that it shares with others, cut? */
  isCut(node: Reachable<never>): boolean {
    return node.isNatsCut || (this.severed as ReadonlySet<unknown>).has(node);
  }

  delayMs(): number {
    return 0.2 + this.random.next() ** 3 * this.weather.longestDelayMs;
  }

  /**
   * A request and its answer. `apply` runs on the server at its moment, even if the asker has died since; the answer may
   * be lost, then the asker hears `failed` after the timeout, not knowing.
   */
  request<Event, Result>(
    node: Reachable<Event>,
    call: {
      readonly server: 'nats' | 'postgres';
      /** The stream or bucket asked, if one is. */
      readonly stream?: StreamName;
      /** @default false */
      readonly isWrite?: boolean;
      /** It locks slots, so it may have to wait for others, and others for it. */
      readonly locking?: Locking;
      readonly apply: () => Result;
      readonly answer: (result: Result) => Event | null;
      readonly failed: Event | null;
      readonly onFailure?: () => void;
    },
  ): void {
    const hasLeader = () => call.stream === undefined || !this.nats.leaderless.has(call.stream);
    const isServed = () => !this.postgres.isDown && !(this.postgres.isReadOnly && call.isWrite === true);
    const isReachable = () =>
      call.server === 'nats' ? this.reachesNats(node) && hasLeader() : isServed() && !node.isPostgresCut;
    const fail = () => {
      call.onFailure?.();
      deliver(call.failed);
    };
    const giveUp = () => this.timeline.after(RPC_TIMEOUT_MS, fail);
    const deliver = (event: Event | null) => {
      if (event !== null) node.deliver(event);
    };
    if (!isReachable() || this.#isLost()) return giveUp();
    this.timeline.after(this.delayMs(), () => {
      // Written to a socket that broke meanwhile.
      if (!isReachable()) return giveUp();
      const { locking } = call;
      if (locking === undefined) return answer();
      const isUndone = this.statements.failShare > 0 && this.random.chance(this.statements.failShare);
      if (isUndone) return void this.timeline.after(this.delayMs(), fail);
      this.statements.run(locking, { answer, undo: fail });
    });
    const answer = () => {
      const result = call.apply();
      if (this.#isLost()) return giveUp();
      this.timeline.after(this.delayMs(), () => (isReachable() ? deliver(call.answer(result)) : giveUp()));
    };
  }

  /** A message that nobody asked for: lost, late, doubled, out of order, as the weather is. */
  broadcast<Event>(nodes: readonly Reachable<Event>[], event: Event, way: Way = 'plain'): void {
    for (const node of nodes) {
      if (!node.isAlive || this.#isLost()) continue;
      const copies = this.random.chance(this.weather.duplicateShare) ? 2 : 1;
      for (let copy = 0; copy < copies; copy += 1) {
        this.timeline.after(this.delayMs(), () => {
          if (this.reachesNats(node) && !node.deafTo.has(way)) node.deliver(event);
        });
      }
    }
  }

  /** Whoever publishes it: all who subscribe to the subject hear it. */
  broadcastSnapshot(snapshot: Snapshot): void {
    this.broadcast(this.workers, { kind: 'snapshot-received', snapshot });
    const { epoch, version } = snapshot;
    this.broadcast(this.coordinators, { kind: 'snapshot-heard', order: { epoch, version } });
  }

  /** The server's word that a client of this name is gone, to all who hear the system account: lost, late, doubled, as any. */
  tellDisconnect(client: string): void {
    if (this.hasSystemAccount) this.broadcast(this.coordinators, { kind: 'connection-closed', client });
  }

  /** Whether a coordinator believes that it is told of every lost connection; the weather loses the word on some all the same. */
  #sayWhetherTold(node: CoordinatorNode): void {
    node.deliver({ kind: 'disconnects-certain', isCertain: this.hasSystemAccount && node.isConnected });
  }

  /** Everybody's connection is down until they notice that the server is back. */
  endNatsOutage(): void {
    this.nats.isDown = false;
    for (const node of [...this.workers, ...this.coordinators]) {
      this.disconnect(node);
      this.timeline.after(this.random.between(50, 1_500), () => this.reconnect(node));
    }
  }

  disconnect(node: WorkerNode | CoordinatorNode): void {
    node.isConnected = false;
    for (const coordinator of this.coordinators) if (coordinator === node) this.#sayWhetherTold(coordinator);
  }

  reconnect(node: WorkerNode | CoordinatorNode): void {
    node.isConnected = true;
    for (const coordinator of this.coordinators) if (coordinator === node) this.#sayWhetherTold(coordinator);
    node.presentSinceMs = this.timeline.nowMs;
    if (this.isCut(node) || this.nats.isDown) return;
    node.deliver({ kind: 'reconnected' });
  }

  /** Keeps states of Postgres that a restore may go back to. */
  saveEvery(everyMs: number): void {
    this.postgres.save();
    this.timeline.after(everyMs, () => this.saveEvery(everyMs));
  }

  /** Returns what makes it quiet again. */
  worsen(weather: Partial<Weather>): () => void {
    Object.assign(this.weather, weather);
    this.calmSinceMs = Number.POSITIVE_INFINITY;
    return () => {
      Object.assign(this.weather, QUIET_WEATHER);
      this.calmSinceMs = this.timeline.nowMs;
    };
  }

  /** Cuts the stretch of network that these share, until they are joined again. */
  sever(nodes: readonly WorkerNode[]): void {
    for (const node of nodes) this.severed.add(node);
    this.severedMs = { from: this.timeline.nowMs, to: Number.POSITIVE_INFINITY };
  }

  join(nodes: readonly WorkerNode[]): void {
    for (const node of nodes) {
      this.severed.delete(node);
      this.reconnect(node);
    }
    this.severedMs = { ...this.severedMs, to: this.timeline.nowMs };
  }

  #isLost(): boolean {
    return this.random.chance(this.weather.dropShare);
  }

  #nodeBasics(id: string) {
    return {
      id,
      incarnation: this.#incarnation,
      onConnectionClosed: () => this.tellDisconnect(id),
      timeline: this.timeline,
      clockOffsetMs: this.random.between(0, 1_000_000),
      // Crystals differ by far less; this also stands for slow loops.
      clockRate: 1 + (this.random.next() - 0.5) * 0.002,
    };
  }
}
