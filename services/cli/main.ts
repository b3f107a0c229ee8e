#!/usr/bin/env -S node --import tsx
import yargs, { type Argv } from 'yargs';
import { toYargsOptions } from '../../shared/options/program.ts';
import { readOptions } from '../../shared/options/read-options.ts';
import { adoptionOptions } from '../../shared/options/table.ts';
import { adopt, release } from './commands/adoption.ts';
import { auditTable } from './commands/audit.ts';
import { drainWorker } from './commands/drain.ts';
import { showOwner } from './commands/owner.ts';
import { planRing } from './commands/plan.ts';
import { listRecoveries } from './commands/recoveries.ts';
import { diffRings, showHistory, showRing, watchRing } from './commands/ring.ts';
import { changeRows, layTable } from './commands/rows.ts';
import { listWorkers } from './commands/workers.ts';
import { CommandContext, CommandError, placeContradictions, placeOptions } from './context.ts';
import { makeOutput } from './output.ts';

/** Exit codes: 0 fine, 1 not found, not clean or unreachable, 2 the call's own words are wrong. */
const FAILED = 1;
const MISUSED = 2;
const UUID = /^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$/i;

type Arguments = Readonly<Record<string, unknown>>;
type Command = (context: CommandContext, args: Arguments) => Promise<number>;

const interrupted = new AbortController();
process.once('SIGINT', () => interrupted.abort());
process.once('SIGTERM', () => interrupted.abort());

await yargs(process.argv.slice(2))
  .scriptName('notifi-scaler')
  .usage(
    '$0 <command>\n\nLooks at a running Notifi-Scaler, and tries it. Every option is also an environment variable.',
  )
  .command('ring', 'the ring: who has which slots', (ring) =>
    ring
      .command('show', 'the newest snapshot, or one of an earlier version', withVersion, (args) =>
        run(args, (context) => showRing(context, { version: args.of ?? null })),
      )
      .command('watch', 'the newest snapshot and each new one, until Ctrl-C', nothing, (args) =>
        run(args, (context) => watchRing(context, interrupted.signal)),
      )
      .command('history', 'the last snapshots, oldest first', withLimit, (args) =>
        run(args, (context) => showHistory(context, { limit: args.limit })),
      )
      .command('diff <from> <to>', 'what changed between two versions', withVersions, (args) =>
        run(args, (context) => diffRings(context, { from: args.from, to: args.to })),
      )
      .demandCommand(1, 'ring: expected show, watch, history or diff'),
  )
  .command('owner <id>', 'row → slot → worker, by ring and by fence', withRowId, (args) =>
    run(args, (context) => showOwner(context, { id: args.id.toLowerCase() })),
  )
  .command('workers', 'the living workers', nothing, (args) => run(args, listWorkers))
  .command('drain <worker>', 'takes all slots from a worker that lives on, idle', withWorker, (args) =>
    run(args, (context) => drainWorker(context, { worker: args.worker, isDrained: true })),
  )
  .command('undrain <worker>', 'lets a drained worker have slots again', withWorker, (args) =>
    run(args, (context) => drainWorker(context, { worker: args.worker, isDrained: false })),
  )
  .command('rows <change> <count>', 'adds rows to the table, or removes some', withRowChange, (args) =>
    run(args, (context) => changeRows(context, { change: args.change, count: args.count })),
  )
  .command('lay', 'lays rows of one slot next to each other; locks the table for seconds', nothing, (args) =>
    run(args, layTable),
  )
  .command('audit', 'watches the table from outside: missed and double ticks, shares, owners', withSeconds, (args) =>
    run(args, (context) => auditTable(context, { seconds: args.seconds, signal: interrupted.signal })),
  )
  .command('recoveries', 'how long the last disruptions took to mend, newest last', withLimit, (args) =>
    run(args, (context) => listRecoveries(context, { limit: args.limit })),
  )
  .command('plan', 'what the next ring would be; changes nothing', withPlan, (args) =>
    run(args, (context) => planRing(context, { join: args.join, leave: args.leave, rows: args.rows ?? null })),
  )
  .command('adopt', 'adopts the table, as the start of a coordinator does', withAdoption, (args) => runAdopt(args))
  .command('release', 'removes all that was made for the table in Postgres and NATS', withRelease, (args) =>
    run(args, (context) =>
      release(context, {
        isDryRun: args['dry-run'],
        isWithoutNats: args['without-nats'],
        signal: interrupted.signal,
      }),
    ),
  )
  .options(toYargsOptions(placeOptions))
  .option('json', { type: 'boolean', default: false, describe: 'print JSON, one value a line' })
  .example('$0 ring show', 'who has which slots')
  .example('$0 audit --seconds 30', 'is every row ticked once a second?')
  .example('$0 drain worker-2', 'its rows go to the others; it lives on')
  .example('$0 plan --join 2', 'what two more workers would take over')
  .example('$0 adopt --dry-run', 'what adoption would run and lock, and what to know before')
  .example('$0 release --dry-run', 'what would be removed and restored')
  .demandCommand(1, 'expected a command')
  .recommendCommands()
  .strict()
  .version(false)
  .locale('en')
  .wrap(Math.min(process.stdout.columns ?? 100, 120))
  .fail((message, error) => {
    // Without a message it is no misuse but a bug in a command.
    if (!message) throw error;
    process.stderr.write(`${message}\nSee notifi-scaler --help\n`);
    process.exit(MISUSED);
  })
  .parseAsync();

async function run(args: Arguments, command: Command): Promise<void> {
  process.exitCode = await runCommand(args, command);
  // Connections are closed; whatever still keeps the process is not ours.
  setTimeout(() => process.exit(), 500).unref();
}

async function runCommand(args: Arguments, command: Command): Promise<number> {
  const place = readOptions(placeOptions, { given: args, environment: process.env }, placeContradictions);
  if (!place.ok) {
    process.stderr.write(place.problems.map((problem) => `${problem}\n`).join(''));
    return MISUSED;
  }
  const context = new CommandContext(place.values, makeOutput({ isJson: args.json === true }));
  try {
    return await command(context, args);
  } catch (error) {
    const isExpected = error instanceof CommandError || (error instanceof Error && 'code' in error);
    if (!isExpected) throw error;
    process.stderr.write(`${error.message}\n`);
    return FAILED;
  } finally {
    await context.close();
  }
}

async function runAdopt(args: Arguments): Promise<void> {
  const read = readOptions(adoptionOptions, { given: args, environment: process.env });
  if (!read.ok) {
    process.stderr.write(read.problems.map((problem) => `${problem}\n`).join(''));
    process.exitCode = MISUSED;
    return;
  }
  const { slots, keepStorageSettings: keepsStorageSettings } = read.values;
  const isDryRun = args['dry-run'] === true;
  const call = { slots: Number(slots), keepsStorageSettings, isDryRun, signal: interrupted.signal };
  await run(args, (context) => adopt(context, call));
}

function withDryRun(builder: Argv) {
  return builder.option('dry-run', { type: 'boolean', default: false, describe: 'only say what would be done' });
}

function withAdoption(builder: Argv) {
  return withDryRun(builder).options(toYargsOptions(adoptionOptions));
}

function withRelease(builder: Argv) {
  return withDryRun(builder).option('without-nats', {
    type: 'boolean',
    default: false,
    describe: 'leave NATS alone, where its server is gone for good',
  });
}

function nothing(builder: Argv): Argv {
  return builder;
}

function withVersion(builder: Argv) {
  return builder.option('of', {
    type: 'number',
    describe: 'a version kept in the history',
    coerce: wholeNumber('of', 1),
  });
}

function withLimit(builder: Argv) {
  return builder.option('limit', {
    type: 'number',
    default: 20,
    describe: 'how many',
    coerce: wholeNumber('limit', 1),
  });
}

function withVersions(builder: Argv) {
  return builder
    .positional('from', { type: 'number', demandOption: true, coerce: wholeNumber('from', 1) })
    .positional('to', { type: 'number', demandOption: true, coerce: wholeNumber('to', 1) });
}

function withRowId(builder: Argv) {
  return builder
    .positional('id', { type: 'string', demandOption: true, describe: 'the row, a uuid' })
    .check(({ id }) => {
      if (UUID.test(id)) return true;
      throw new Error(`owner: expected a uuid, got "${id}"`);
    });
}

function withWorker(builder: Argv) {
  return builder.positional('worker', { type: 'string', demandOption: true, describe: "the worker's id" });
}

function withRowChange(builder: Argv) {
  return builder
    .positional('change', { choices: ['add', 'remove'] as const, demandOption: true })
    .positional('count', { type: 'number', demandOption: true, coerce: wholeNumber('count', 1) });
}

function withSeconds(builder: Argv) {
  const coerce = wholeNumber('seconds', 1);
  return builder.option('seconds', { type: 'number', default: 10, describe: 'how long to watch', coerce });
}

function withPlan(builder: Argv) {
  return builder
    .option('join', { type: 'number', default: 0, describe: 'this many workers more', coerce: wholeNumber('join', 0) })
    .option('leave', {
      type: 'string',
      array: true,
      default: [] as string[],
      describe: 'without this worker; may be repeated',
    })
    .option('rows', { type: 'number', describe: 'as if the table had this many rows', coerce: wholeNumber('rows', 0) });
}

/** Also refuses what yargs lets pass: text, fractions, nothing. */
function wholeNumber(name: string, min: number): (value: unknown) => number {
  return (value) => {
    const number = Number(value);
    if (value !== undefined && Number.isInteger(number) && number >= min) return number;
    throw new Error(`${name}: expected a whole number of at least ${min}, got ${String(value)}`);
  };
}
