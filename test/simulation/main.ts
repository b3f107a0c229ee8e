import { choice, integer, toggle } from '../../shared/options/options.ts';
import { optionsOrExit } from '../../shared/options/program.ts';
import { GUARDS } from './guards.ts';
import { simulate } from './run.ts';
import { loadUnguarded } from './unguarded.ts';
import { BROKEN, type Broken } from './world.ts';

const COMMAND = 'npm run simulate';
const LARGEST_SEED = 4_294_967_295;

const options = await optionsOrExit({
  command: `${COMMAND} --`,
  purpose: 'Simulates whole coordinators and workers under seeded faults and checks the invariants after every step.',
  options: {
    seeds: integer({
      flag: 'seeds',
      variable: 'SIMULATE_SEEDS',
      describe: 'how many seeds',
      default: '1000',
      min: 1,
      max: 100_000_000,
    }),
    from: integer({
      flag: 'from',
      variable: 'SIMULATE_FROM',
      describe: 'the first of them',
      default: '1',
      min: 0,
      max: LARGEST_SEED,
    }),
    broken: choice({
      flag: 'broken',
      variable: 'SIMULATE_BROKEN',
      describe: 'what to break, to see that it is caught',
      choices: ['none', ...BROKEN, ...GUARDS.map(({ name }) => name)],
      default: 'none',
    }),
    verbose: toggle({ flag: 'verbose', variable: 'SIMULATE_VERBOSE', describe: "each seed's faults, too" }),
  },
  examples: [
    [`${COMMAND} -- --seeds 1000`, 'a thousand seeds'],
    [`${COMMAND} -- --from 4711 --seeds 1 --verbose`, 'one seed again, with its faults'],
    [`${COMMAND} -- --broken owner`, 'a fence that asks nobody who owns: must be caught'],
    [`${COMMAND} -- --broken mass-silence`, 'a coordinator without that guard: must be caught'],
  ],
});
process.exitCode = await run();

/** Breaks what was asked for. */
async function chooseSystem(
  name: string,
): Promise<{ simulate: typeof simulate; broken: Broken; fault?: string | undefined }> {
  const broken = (['none', ...BROKEN] as const).find((known) => known === name);
  if (broken !== undefined) return { simulate, broken };
  const guard = GUARDS.find((known) => known.name === name);
  if (guard === undefined) throw new Error(`there is no guard ${name}`);
  const unguarded = await loadUnguarded(guard);
  // Loaded whole: its files are not needed any more.
  await unguarded.remove();
  return { simulate: unguarded.simulate, broken: 'none', fault: guard.fault };
}

async function run(): Promise<number> {
  const system = await chooseSystem(options.broken);
  const { seeds, from } = options;
  const startedMs = performance.now();
  let saidMs = startedMs;
  const totals = { snapshots: 0, records: 0, faults: 0, violations: 0 };
  for (let seed = from; seed < from + seeds; seed += 1) {
    const result = system.simulate({ seed, broken: system.broken, fault: system.fault });
    totals.snapshots += result.snapshots;
    totals.records += result.records;
    totals.faults += result.faults.length;
    if (result.violation !== null) totals.violations += 1;
    if (result.violation !== null || options.verbose) {
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
