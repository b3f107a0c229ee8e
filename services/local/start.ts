import { optionsOrExit } from '../../shared/options/program.ts';
import { onLeaveSignal } from '../../shared/process/leave-signal.ts';
import { runLocal } from './local.ts';
import { localProgram } from './options.ts';

// What the person's own environment says of another Postgres: the client library would read it.
for (const name of Object.keys(process.env).filter((name) => name.startsWith('PG'))) delete process.env[name];

const options = await optionsOrExit(localProgram);
const end = new AbortController();
const run = runLocal(options, end);

/** npm's shell passes no signal on: when it is gone, whoever ended it meant all of this. */
const PARENT_CHECK_MS = 250;
if (process.env.npm_lifecycle_event !== undefined) {
  const shell = process.ppid;
  setInterval(() => {
    if (process.ppid !== shell) end.abort();
  }, PARENT_CHECK_MS).unref();
}

onLeaveSignal({
  ask: () => end.abort(),
  force: () => {
    run.kill();
    process.exit(1);
  },
});
process.exit(await run.done);
