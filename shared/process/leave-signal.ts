/**
 * The signals that ask a process to leave, caught from its first line on. This module imports nothing, so that a program can
 * load it before everything else: as process 1 of a container, a process without a handler never gets the signal.
 */
export interface Reaction {
  /** Once, at the first signal. */
  readonly ask: (signal: NodeJS.Signals) => void;
  /** At each later one: somebody does not want to wait. */
  readonly force: () => void;
}

/** Ctrl-C under npm comes twice, from the terminal and from npm. A person's second one comes later. */
const SAME_SIGNAL_MS = 300;

const caught = new Set<NodeJS.Signals>();
let current: Reaction | null = null;
let askedAtMs: number | null = null;

/** From now on signals get this reaction; the one before is forgotten. No signal is lost in between. */
export function onLeaveSignal(reaction: Reaction, signals: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT']): void {
  current = reaction;
  for (const signal of signals) {
    if (caught.has(signal)) continue;
    caught.add(signal);
    process.on(signal, react);
  }
}

function react(signal: NodeJS.Signals): void {
  const nowMs = performance.now();
  if (askedAtMs === null) {
    askedAtMs = nowMs;
    current?.ask(signal);
  } else if (nowMs - askedAtMs > SAME_SIGNAL_MS) {
    current?.force();
  }
}
