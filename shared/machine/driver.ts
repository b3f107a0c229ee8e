import type { StepFunction } from './machine.ts';

/** Performs one effect. What it returns or resolves to is fed back as an event; it must not throw or reject. */
export type Perform<Event, Effect> = (effect: Effect) => Promise<Event | null> | Event | null;

export interface DriverOptions<State, Event, Effect> {
  readonly initial: State;
  readonly step: StepFunction<State, Event, Effect>;
  readonly wake: Event;
  readonly perform: Perform<Event, Effect>;
  /** Monotonic milliseconds. @default performance.now */
  readonly nowMs?: () => number;
  /** An exception in a step or an effect is a bug: the process must end, its state cannot be trusted. */
  readonly onCrash: (error: unknown) => void;
}

/** Longer timers would fire at once; an early wake-up is harmless. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * Feeds a machine: one event at a time, in the order of their arrival, effects started in the order returned.
 * Invariant: `step` is never entered twice at once; an event dispatched during a step waits for its end.
 */
export class Driver<State, Event, Effect> {
  readonly #options: DriverOptions<State, Event, Effect>;
  readonly #nowMs: () => number;
  readonly #queue: Event[] = [];
  #state: State;
  #stepping = false;
  #stopped = false;
  #timer: NodeJS.Timeout | undefined;
  /** The wake-up that the timer is set for; null: it is not set. */
  #timerAtMs: number | null = null;

  constructor(options: DriverOptions<State, Event, Effect>) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#state = options.initial;
  }

  get state(): State {
    return this.#state;
  }

  dispatch(event: Event): void {
    if (this.#stopped) return;
    this.#queue.push(event);
    if (this.#stepping) return;
    this.#stepping = true;
    try {
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) this.#stepOnce(next);
    } catch (error) {
      this.stop();
      this.#options.onCrash(error);
    } finally {
      this.#stepping = false;
    }
  }

  /** No further step is taken and no effect started; outcomes still under way are dropped. */
  stop(): void {
    this.#stopped = true;
    this.#queue.length = 0;
    this.#wakeAt(null);
  }

  #stepOnce(event: Event): void {
    const { state, effects, wakeAtMs } = this.#options.step(this.#state, event, this.#nowMs());
    this.#state = state;
    for (const effect of effects) {
      if (this.#stopped) return;
      this.#start(effect);
    }
    if (!this.#stopped) this.#wakeAt(wakeAtMs);
  }

  #wakeAt(atMs: number | null): void {
    // Most steps leave the next wake-up where it was, and to set the timer anew costs as much as the step.
    if (atMs === this.#timerAtMs) return;
    clearTimeout(this.#timer);
    this.#timerAtMs = atMs;
    if (atMs === null) return;
    // Rounded up: a timer that fires a fraction early would only wake the machine twice.
    const delayMs = Math.min(LONGEST_TIMER_MS, Math.max(0, Math.ceil(atMs - this.#nowMs())));
    this.#timer = setTimeout(() => {
      this.#timerAtMs = null;
      this.dispatch(this.#options.wake);
    }, delayMs);
  }

  #start(effect: Effect): void {
    const outcome = this.#options.perform(effect);
    if (!(outcome instanceof Promise)) {
      if (outcome !== null) this.#queue.push(outcome);
      return;
    }
    outcome.then(
      (event) => {
        if (event !== null) this.dispatch(event);
      },
      (error) => {
        this.stop();
        this.#options.onCrash(error);
      },
    );
  }
}
