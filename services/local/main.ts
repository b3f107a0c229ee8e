import { optionsOrExit } from '../../shared/options/program.ts';
import { runLocal } from './local.ts';
import { localProgram } from './options.ts';

/** npm passes Ctrl-C on to a process that the terminal has told already; a person's second one comes later. */
const SAME_SIGNAL_MS = 300;

const options = await optionsOrExit(localProgram);
const end = new AbortController();
const run = runLocal(options, end);
let askedAtMs: number | null = null;

function ask(): void {
  const nowMs = performance.now();
  if (askedAtMs === null) {
    askedAtMs = nowMs;
    end.abort();
  } else if (nowMs - askedAtMs > SAME_SIGNAL_MS) {
    run.kill();
    process.exit(1);
  }
}

/** npm's shell passes no signal on: when it is gone, whoever ended it meant all of this. */
const PARENT_CHECK_MS = 250;
if (process.env.npm_lifecycle_event !== undefined) {
  const shell = process.ppid;
  setInterval(() => {
    if (process.ppid !== shell) end.abort();
  }, PARENT_CHECK_MS).unref();
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, ask);
process.exit(await run.done);
