import {
  type Contradiction,
  describeDefault,
  type Environment,
  type Option,
  type OptionTable,
  type Values,
} from './options.ts';

/** What a command line gave for each flag: a text, true for a bare flag, a list where it was repeated. */
export type Given = Readonly<Record<string, unknown>>;

export type OptionsRead<V> =
  | { readonly ok: true; readonly values: V }
  /** Each problem says what was expected, what came, and what to do. */
  | { readonly ok: false; readonly problems: readonly string[] };

/** Reads a whole table, so that every problem is found at once. A flag counts before its variable, that before the default. */
export function readOptions<Table extends OptionTable>(
  table: Table,
  sources: { readonly given: Given; readonly environment: Environment },
  contradictions: readonly Contradiction<Values<Table>>[] = [],
): OptionsRead<Values<Table>> {
  const values: Record<string, unknown> = {};
  const problems: string[] = [];
  for (const [name, one] of Object.entries(table)) {
    const result = readOption(one, sources.given[one.flag], sources.environment);
    if (result.ok) values[name] = result.value;
    else problems.push(result.problem);
  }
  for (const { needs, check } of contradictions) {
    if (!needs.every((name) => name in values)) continue;
    const problem = check(values as Values<Table>);
    if (problem !== null) problems.push(problem);
  }
  return problems.length === 0 ? { ok: true, values: values as Values<Table> } : { ok: false, problems };
}

type OptionRead = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly problem: string };
type Source = 'flag' | 'variable' | 'default';

function readOption(one: Option<unknown>, given: unknown, environment: Environment): OptionRead {
  const flag = `--${one.flag}`;
  if (Array.isArray(given))
    return { ok: false, problem: `${flag}: expected once, got ${given.length} times. Keep one of them.` };
  if (given === '' || (given === true && !one.isSwitch)) {
    return { ok: false, problem: `${flag}: expected a value, got none. ${advise(one, 'flag')}` };
  }
  const [text, source] = chooseText(one, given, environment);
  if (text === undefined) return { ok: true, value: undefined };
  const reading = one.read(text);
  if (reading.ok) return reading;
  if ('reason' in reading) return { ok: false, problem: `${flag}${describeOrigin(one, source)}: ${reading.reason}` };
  const shown = JSON.stringify(one.show ? one.show(text) : text);
  return {
    ok: false,
    problem: `${flag}: expected ${reading.expected}, got ${shown}${describeOrigin(one, source)}. ${advise(one, source)}`,
  };
}

function chooseText(one: Option<unknown>, given: unknown, environment: Environment): [string | undefined, Source] {
  if (given !== undefined) return [String(given), 'flag'];
  const variable = environment[one.variable];
  if (variable !== undefined && variable !== '') return [variable, 'variable'];
  return [typeof one.default === 'function' ? one.default(environment) : one.default, 'default'];
}

function describeOrigin(one: Option<unknown>, source: Source): string {
  return { flag: '', variable: ` (from ${one.variable})`, default: ' (the default here)' }[source];
}

function advise(one: Option<unknown>, source: Source): string {
  const preset = describeDefault(one);
  const without = preset === undefined ? '' : ` for the default, ${preset}`;
  if (source === 'flag') return `Give another value, or leave --${one.flag} out${without}.`;
  if (source === 'variable') return `Set ${one.variable} to another value, or unset it${without}.`;
  return `Give --${one.flag} or set ${one.variable}.`;
}
