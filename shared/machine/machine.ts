/**
 * What every decision machine of this project looks like: a pure function from (state, event, now) to (state, effects,
 * next wake-up). It reads no clock, does no I/O and draws no random number, so the same calls give the same answers in
 * production, in a unit test and in the simulation.
 */
export interface Step<State, Effect> {
  readonly state: State;
  /** To be started in this order. Each outcome, good or bad, comes back as an event. */
  readonly effects: readonly Effect[];
  /** Monotonic ms at which the machine wants a `wake` event; null: only events move it. Early and double ones are harmless. */
  readonly wakeAtMs: number | null;
}

export type StepFunction<State, Event, Effect> = (state: State, event: Event, nowMs: number) => Step<State, Effect>;

/** Ends a switch over a union: the compiler proves that no kind was forgotten. */
export function assertNever(value: never): never {
  throw new Error(`unhandled case: ${JSON.stringify(value)}`);
}

/** The earlier of wake-up times, where null means none. */
export function earliest(...times: readonly (number | null)[]): number | null {
  let result: number | null = null;
  for (const time of times) if (time !== null && (result === null || time < result)) result = time;
  return result;
}
