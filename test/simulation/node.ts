import type { StepFunction } from '../../shared/machine/machine.ts';
import type { Timeline } from './timeline.ts';

/** How an unasked message comes: by a plain subscription, or by a stream's watch. */
export type Way = 'plain' | 'watch';

/** What the network sees of a process. */
export interface Reachable<Event> {
  readonly isAlive: boolean;
  readonly isNatsCut: boolean;
  readonly isPostgresCut: boolean;
  readonly isConnected: boolean;
  /** Messages of these ways do not reach it: a plain subscription's, or a watch's. */
  readonly deafTo: ReadonlySet<Way>;
  deliver(event: Event): void;
}

/**
 * One simulated process: a machine with a monotonic clock of its own, that can freeze (its events wait), crash (its state
 * is gone) and be cut off from a server.
 */
export class SimulatedNode<State, Event, Effect> implements Reachable<Event> {
  readonly id: string;
  /** Tells this process from an earlier one of the same id. */
  readonly incarnation: number;
  state: State;
  isAlive = true;
  isFrozen = false;
  /** Cut off from. */
  isNatsCut = false;
  isPostgresCut = false;
  /** Statements of it that wait in Postgres, or are slow. */
  stalled = 0;
  /** Its NATS connection is up: false after an outage until it has reconnected. */
  isConnected = true;
  readonly deafTo = new Set<Way>();
  /** World time of its start, or its last reconnect. */
  presentSinceMs: number;
  /** World time of its start, or of the last begin or end of a trouble of its own. */
  troubledAtMs: number;
  readonly #timeline: Timeline;
  readonly #step: StepFunction<State, Event, Effect>;
  readonly #wake: Event;
  readonly #resume: () => Event | null;
  readonly #perform: (effect: Effect) => void;
  readonly #onConnectionClosed: () => void;
  /** Its monotonic clock: offset and rate against world time. */
  readonly #clockOffsetMs: number;
  readonly #clockRate: number;
  readonly #waiting: Event[] = [];
  #wakeTicket = 0;
  /** World ms that its monotonic clock did not count, because its machine was paused. */
  #pausedMs = 0;
  /** World time at which the current pause began; null: the machine runs. */
  #pausedSinceMs: number | null = null;

  constructor(options: {
    readonly id: string;
    readonly incarnation: number;
    readonly initial: State;
    readonly step: StepFunction<State, Event, Effect>;
    readonly wake: Event;
    /** What a pause of its machine is noticed by; null: by nothing. */
    readonly resume?: () => Event | null;
    readonly perform: (effect: Effect) => void;
    /** Its end is seen by the NATS server. */
    readonly onConnectionClosed: () => void;
    readonly timeline: Timeline;
    readonly clockOffsetMs: number;
    readonly clockRate: number;
  }) {
    this.id = options.id;
    this.incarnation = options.incarnation;
    this.state = options.initial;
    this.#step = options.step;
    this.#wake = options.wake;
    this.#resume = options.resume ?? (() => null);
    this.#perform = options.perform;
    this.#onConnectionClosed = options.onConnectionClosed;
    this.presentSinceMs = options.timeline.nowMs;
    this.troubledAtMs = options.timeline.nowMs;
    this.#timeline = options.timeline;
    this.#clockOffsetMs = options.clockOffsetMs;
    this.#clockRate = options.clockRate;
  }

  /** Its own monotonic time. */
  get nowMs(): number {
    const worldMs = (this.#pausedSinceMs ?? this.#timeline.nowMs) - this.#pausedMs;
    return worldMs * this.#clockRate + this.#clockOffsetMs;
  }

  /** Is something wrong with it, or with its own way to a server, just now? */
  get isInTrouble(): boolean {
    return this.isFrozen || this.isNatsCut || this.isPostgresCut || this.stalled > 0 || this.deafTo.size > 0;
  }

  noteTrouble(): void {
    this.troubledAtMs = this.#timeline.nowMs;
  }

  deliver(event: Event): void {
    if (!this.isAlive) return;
    if (this.isFrozen) {
      this.#waiting.push(event);
      return;
    }
    const { state, effects, wakeAtMs } = this.#step(this.state, event, this.nowMs);
    this.state = state;
    for (const effect of effects) this.#perform(effect);
    this.#planWake(wakeAtMs);
  }

  wake(): void {
    this.deliver(this.#wake);
  }

  freeze(): void {
    this.isFrozen = true;
  }

  /** Its whole machine stands still, and so does its monotonic clock. `thaw` ends the pause. */
  pause(): void {
    this.freeze();
    this.#pausedSinceMs ??= this.#timeline.nowMs;
  }

  /** First the timers that became due, as a real event loop does, then what the sockets hold. */
  thaw(): void {
    if (!this.isFrozen) return;
    this.isFrozen = false;
    const noticed = this.#pausedSinceMs === null ? null : this.#resume();
    if (this.#pausedSinceMs !== null) this.#pausedMs += this.#timeline.nowMs - this.#pausedSinceMs;
    this.#pausedSinceMs = null;
    this.noteTrouble();
    if (noticed !== null) this.deliver(noticed);
    this.wake();
    for (const event of this.#waiting.splice(0)) this.deliver(event);
  }

  crash(): void {
    if (!this.isAlive) return;
    this.isAlive = false;
    this.noteTrouble();
    this.#waiting.length = 0;
    if (this.isConnected && !this.isNatsCut) this.#onConnectionClosed();
  }

  #planWake(wakeAtMs: number | null): void {
    this.#wakeTicket += 1;
    if (wakeAtMs === null || !this.isAlive) return;
    const ticket = this.#wakeTicket;
    // A hair late, as timers are: a wake-up a rounding error early would spin.
    const worldMs = (wakeAtMs - this.#clockOffsetMs) / this.#clockRate + this.#pausedMs + 0.01;
    this.#timeline.at(worldMs, () => {
      if (ticket === this.#wakeTicket && !this.isFrozen) this.wake();
    });
  }
}
