import { parseArgs } from 'node:util';
import { GUARDS } from './guards.ts';
import { simulate } from './run.ts';
import { loadUnguarded } from './unguarded.ts';
import { BROKEN, type Broken } from './world.ts';

const HELP = `Simulates whole coordinators and workers under seeded faults and checks the invariants after every step.

Usage: npm run simulate -- [--seeds N] [--from SEED] [--broken NAME] [--verbose]

  npm run simulate -- --seeds 1000          a thousand seeds
  npm run simulate -- --from 4711 --seeds 1 --verbose   one seed again, with its faults
  npm run simulate -- --broken owner        a fence that asks nobody who owns: must be caught
  npm run simulate -- --broken mass-silence a coordinator without that guard: must be caught

What can be broken: ${[...BROKEN, ...GUARDS.map(({ name }) => name)].join(', ')}.
`;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    broken: { type: 'string', default: 'none' },
    verbose: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

process.exitCode = values.help ? showHelp() : await run();

function showHelp(): number {
  process.stdout.write(HELP);
  return 0;
}

/** Breaks what was asked for; null: there is no such thing. */
async function chooseSystem(name: string): Promise<{ simulate: typeof simulate; broken: Broken } | null> {
  const broken = (['none', ...BROKEN] as const).find((known) => known === name);
  if (broken !== undefined) return { simulate, broken };
  const guard = GUARDS.find((known) => known.name === name);
  if (guard === undefined) return null;
  const unguarded = await loadUnguarded(guard);
  // Loaded whole: its files are not needed any more.
  await unguarded.remove();
  return { simulate: unguarded.simulate, broken: 'none' };
}

async function run(): Promise<number> {
  const system = await chooseSystem(values.broken);
  if (system === null) {
    process.stderr.write(`--broken ${values.broken}: there is no such thing to break\n${HELP}`);
    return 2;
  }
  const seeds = Number(values.seeds);
  const from = Number(values.from);
  const startedMs = performance.now();
  let saidMs = startedMs;
  const totals = { snapshots: 0, records: 0, faults: 0, violations: 0 };
  for (let seed = from; seed < from + seeds; seed += 1) {
    const result = system.simulate({ seed, broken: system.broken });
    totals.snapshots += result.snapshots;
    totals.records += result.records;
    totals.faults += result.faults.length;
    if (result.violation !== null) totals.violations += 1;
    if (result.violation !== null || values.verbose) {
      process.stdout.write(`seed ${seed}: ${result.violation ?? 'no violation'}\n  ${result.faults.join('\n  ')}\n`);
    }
    if (performance.now() - saidMs > 2_000) {
      saidMs = performance.now();
      process.stderr.write(`${seed - from + 1} of ${seeds} seeds, ${totals.violations} violations\n`);
    }
  }
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  process.stdout.write(
    `${seeds} seeds from ${from}: ${totals.violations} violations; ${totals.faults} faults, ${totals.snapshots} snapshots, ${totals.records} claims and slot ticks; ${seconds} s\n`,
  );
  return totals.violations === 0 ? 0 : 1;
}
