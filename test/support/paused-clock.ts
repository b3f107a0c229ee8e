/**
 * Loaded into a service's process before its program (see `pausedClockEnvironment`): its monotonic clock does not count the
 * time for which the process was stopped by SIGSTOP, as the clock of a machine does not count a pause of the machine.
 */
const LOOK_EVERY_MS = 20;
/** A busy loop may be late; a machine that was paused is later. */
const LEAST_PAUSE_MS = 1_000;
const read = performance.now.bind(performance);
let seenMs = read();
let pausedMs = 0;

performance.now = () => {
  const nowMs = read();
  if (nowMs - seenMs > LEAST_PAUSE_MS) pausedMs += nowMs - seenMs;
  seenMs = nowMs;
  return nowMs - pausedMs;
};
setInterval(() => performance.now(), LOOK_EVERY_MS).unref();
