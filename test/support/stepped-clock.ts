/**
 * Loaded into a service's process before its program (see `clockEnvironment`): gives it a wall clock that is off, and that
 * each SIGUSR2 sets anew. The monotonic clock and timers stay as they are, as they do on a machine whose clock is set.
 */
const WallClock = Date;
const offsetsMs = JSON.parse(process.env.CLOCK_OFFSETS_MS ?? '[]') as number[];
let offsetMs = offsetsMs.shift() ?? 0;

class SteppedDate extends WallClock {
  constructor(...args: readonly unknown[]) {
    // biome-ignore lint/suspicious/noExplicitAny: it takes whatever Date takes.
    super(...((args.length === 0 ? [SteppedDate.now()] : args) as [any]));
  }

  static override now(): number {
    return WallClock.now() + offsetMs;
  }
}

globalThis.Date = SteppedDate as DateConstructor;
process.on('SIGUSR2', () => {
  offsetMs = offsetsMs.shift() ?? offsetMs;
});
