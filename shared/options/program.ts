import { writeSync } from 'node:fs';
import yargs, { type Argv, type Options } from 'yargs';
import { type Contradiction, describeDefault, type Environment, type OptionTable, type Values } from './options.ts';
import { type Given, readOptions } from './read-options.ts';
import { nearestWord } from './suggestion.ts';

export interface Program<Table extends OptionTable> {
  /** As a person starts it: "npm run worker --". */
  readonly command: string;
  /** One sentence. */
  readonly purpose: string;
  readonly options: Table;
  readonly contradictions?: readonly Contradiction<Values<Table>>[];
  /** [command line, what it does] */
  readonly examples: readonly (readonly [string, string])[];
}

export type ParseResult<V> =
  | { readonly kind: 'values'; readonly values: V }
  | { readonly kind: 'help'; readonly text: string }
  | { readonly kind: 'refused'; readonly text: string };

/** Ends in 'refused' with every problem at once: bad values, contradictions, unknown flags, stray words. */
export async function parseOptions<Table extends OptionTable>(
  program: Program<Table>,
  source: { readonly args: readonly string[]; readonly environment: Environment; readonly widthChars?: number },
): Promise<ParseResult<Values<Table>>> {
  const { _: words, $0: _script, help, h, ...given } = parseFlags(program.options, source.args);
  if (help === true || h === true) {
    return { kind: 'help', text: await describeProgram(program, source.widthChars ?? 100) };
  }
  const read = readOptions(program.options, { given, environment: source.environment }, program.contradictions);
  const problems = [...findStrays(program.options, given, words as unknown[]), ...(read.ok ? [] : read.problems)];
  if (read.ok && problems.length === 0) return { kind: 'values', values: read.values };
  const count = problems.length === 1 ? 'one problem' : `${problems.length} problems`;
  const lines = problems.map((problem) => `  ${problem}\n`).join('');
  return {
    kind: 'refused',
    text: `${program.command}: ${count} with the options\n${lines}See ${program.command} --help\n`,
  };
}

/** For a program's first line: its options, or the end of the process, with 0 after --help and 2 after bad options. */
export async function optionsOrExit<Table extends OptionTable>(program: Program<Table>): Promise<Values<Table>> {
  const result = await parseOptions(program, {
    args: process.argv.slice(2),
    environment: process.env,
    widthChars: Math.min(process.stdout.columns ?? 100, 120),
  });
  if (result.kind === 'values') return result.values;
  // Written synchronously: process.exit would cut off what a pipe has not taken yet.
  writeSync(result.kind === 'help' ? 1 : 2, result.text);
  process.exit(result.kind === 'help' ? 0 : 2);
}

/** The table as yargs knows it, for --help and for programs with commands. Values are still read by `readOptions`. */
export function toYargsOptions(table: OptionTable): Record<string, Options> {
  return Object.fromEntries(
    Object.values(table).map((one) => {
      const preset = describeDefault(one);
      const described: Options = {
        describe: `${one.describe} [${one.variable}]`,
        type: one.isSwitch ? 'boolean' : 'string',
        requiresArg: !one.isSwitch,
        ...(preset !== undefined && { defaultDescription: preset }),
      };
      return [one.flag, described];
    }),
  );
}

/** Nothing is guessed or converted here: all that a table's readers get is the text as it was typed. */
const PARSER = {
  'boolean-negation': false,
  'camel-case-expansion': false,
  'dot-notation': false,
  'parse-numbers': false,
  'parse-positional-numbers': false,
} as const;

function parseFlags(table: OptionTable, args: readonly string[]): Given {
  const valued = Object.values(table).flatMap((one) => (one.isSwitch ? [] : [one.flag]));
  return bare()
    .parserConfiguration(PARSER)
    .string(valued)
    .parseSync([...args]);
}

function describeProgram(program: Omit<Program<OptionTable>, 'contradictions'>, widthChars: number): Promise<string> {
  const described = bare()
    .scriptName(program.command)
    .usage(
      `${program.command} [options]\n\n${program.purpose}\nEvery option is also an environment variable; a flag counts first.`,
    )
    .options(toYargsOptions(program.options))
    .option('help', { alias: 'h', describe: 'show this help', type: 'boolean' })
    .example(program.examples.map(([command, what]) => [command, what] as [string, string]))
    .wrap(widthChars);
  return described.getHelp().then((text) => `${text}\n`);
}

function bare(): Argv {
  return yargs().help(false).version(false).exitProcess(false).locale('en').fail(false);
}

function findStrays(table: OptionTable, given: Given, words: readonly unknown[]): string[] {
  const known = [...Object.values(table).map((one) => one.flag), 'help'];
  const unknown = Object.keys(given).filter((flag) => !known.includes(flag));
  const flags = unknown.map((flag) => {
    const nearest = nearestWord(flag, known);
    const dashes = flag.length === 1 ? '-' : '--';
    return `${dashes}${flag}: no such option. ${nearest === null ? 'Leave it out' : `Did you mean --${nearest}?`}`;
  });
  return [
    ...flags,
    ...words.map((word) => `${JSON.stringify(word)}: expected only options, got this word. Leave it out.`),
  ];
}
