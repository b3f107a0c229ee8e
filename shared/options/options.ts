/** One program's options: what each is called, what it accepts, and how a text becomes its value. Pure. */
import { readFileSync } from 'node:fs';

export type Environment = Readonly<Record<string, string | undefined>>;

/** What came of reading one option's text. `reason` is a whole sentence: what is wrong, and what to do. */
export type Reading<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly expected: string }
  | { readonly ok: false; readonly reason: string };

export interface Option<T> {
  /** Without the dashes. */
  readonly flag: string;
  /** The environment variable that counts where the flag is not given; an empty one counts as unset. */
  readonly variable: string;
  /** One line for --help and the README. */
  readonly describe: string;
  /** Read like a flag's text where neither flag nor variable is given. @default none: the value is then undefined */
  readonly default?: string | ((environment: Environment) => string | undefined);
  /** How --help and the README name the default. @default the default itself, when it is a text */
  readonly defaultText?: string;
  /** A flag without a value, as in --restart. @default false */
  readonly isSwitch?: boolean;
  /** How a refused text is repeated, for what may hold a password. @default as it came */
  readonly show?: (text: string) => string;
  readonly read: (text: string) => Reading<T>;
}

/** By the names that the program's code uses. */
// biome-ignore lint/suspicious/noExplicitAny: a table mixes options of every type; Values recovers each one.
export type OptionTable = Readonly<Record<string, Option<any>>>;

export type Values<Table extends OptionTable> = {
  readonly [Name in keyof Table]: Table[Name] extends Option<infer T> ? T : never;
};

/** Options that are right one by one but not together. `check` is called only when all that it needs are right. */
export interface Contradiction<V> {
  readonly needs: readonly (keyof V & string)[];
  /** What is wrong and what to do, or null. */
  readonly check: (values: V) => string | null;
}

type Spec = Omit<Option<unknown>, 'read'>;
type WithDefault = { readonly default: string | ((environment: Environment) => string) };
/** Undefined only where no default fills the gap. */
type Filled<S extends Spec, T> = S extends WithDefault ? T : T | undefined;

/** Any text that is not blank; `check` says what is wrong with one, and what to do, or null. */
export function text<const S extends Spec & { readonly check?: (value: string) => string | null }>(
  spec: S,
): Option<Filled<S, string>> {
  return option(spec, (given) => {
    if (given.trim() === '') return { ok: false, expected: 'a text that is not blank' };
    const reason = spec.check?.(given) ?? null;
    return reason === null ? { ok: true, value: given } : { ok: false, reason };
  });
}

/** Any text, a blank one too, as passwords may be. Never shown. */
export function secret<const S extends Omit<Spec, 'show'>>(spec: S): Option<Filled<S, string>> {
  return option({ ...spec, show: hideAll }, (given) => ({ ok: true, value: given })) as Option<Filled<S, string>>;
}

/** A text of one shape; `expected` names the shape: "lowercase letters, digits and dashes". */
export function shaped<const S extends Spec & { readonly pattern: RegExp; readonly expected: string }>(
  spec: S,
): Option<Filled<S, string>> {
  return option(spec, (given) =>
    spec.pattern.test(given) ? { ok: true, value: given } : { ok: false, expected: spec.expected },
  );
}

/** A whole number within bounds, both allowed; `because` gives a bound's reason. */
export function integer<
  const S extends Spec & { readonly min: number; readonly max: number; readonly because?: string },
>(spec: S): Option<Filled<S, number>> {
  const expected = `a whole number from ${spec.min} to ${spec.max}${spec.because ? ` (${spec.because})` : ''}`;
  return option(spec, (given) => {
    const value = /^-?\d{1,15}$/.test(given) ? Number(given) : Number.NaN;
    return value >= spec.min && value <= spec.max ? { ok: true, value } : { ok: false, expected };
  });
}

export function choice<const C extends string, const S extends Spec & { readonly choices: readonly C[] }>(
  spec: S & { readonly choices: readonly C[] },
): Option<Filled<S, C>> {
  return option(spec, (given) => {
    const value = spec.choices.find((known) => known === given);
    return value === undefined ? { ok: false, expected: `one of ${spec.choices.join(', ')}` } : { ok: true, value };
  });
}

/** On with the bare flag; false unless said. */
export function toggle(spec: Omit<Spec, 'default' | 'isSwitch'>): Option<boolean> {
  return option({ ...spec, isSwitch: true, default: 'false' }, (given) => {
    if (given === 'true' || given === '1') return { ok: true, value: true };
    if (given === 'false' || given === '0') return { ok: true, value: false };
    return { ok: false, expected: 'true or false' };
  });
}

/** The path of a file that can be read now: a missing key is better reported at start than at the first connection. */
export function readableFile<const S extends Spec>(spec: S): Option<Filled<S, string>> {
  return option(spec, (given) => {
    try {
      readFileSync(given);
      return { ok: true, value: given };
    } catch (error) {
      return { ok: false, expected: `a file that can be read (${(error as NodeJS.ErrnoException).code})` };
    }
  });
}

/** The way to make an option of a kind that is not here. */
export function option<const S extends Spec, T>(spec: S, read: (text: string) => Reading<T>): Option<Filled<S, T>> {
  return { ...spec, read } as Option<Filled<S, T>>;
}

export function describeDefault(one: Option<unknown>): string | undefined {
  if (one.defaultText !== undefined || one.isSwitch) return one.defaultText;
  return typeof one.default === 'string' ? one.default : undefined;
}

/** Hides what stands before an @, where addresses carry their user and password. */
export function hideCredentials(address: string): string {
  return address.replace(/^([a-z]+:\/\/)?.*@/is, '$1***@');
}

export function hideAll(): string {
  return '(hidden)';
}

/** The user and password of an address, or null where they are not percent-encoded as they must be. */
export function readCredentials(url: URL): { readonly user: string; readonly password: string } | null {
  try {
    return { user: decodeURIComponent(url.username), password: decodeURIComponent(url.password) };
  } catch {
    return null;
  }
}
