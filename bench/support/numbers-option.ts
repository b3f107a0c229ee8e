import { type Option, option } from '../../shared/options/options.ts';

/** Sizes to be measured one after the other: `1000,10000`. */
export function numbers(spec: {
  readonly flag: string;
  readonly variable: string;
  readonly describe: string;
  readonly default: string;
}): Option<number[]> {
  return option<typeof spec, number[]>(spec, (given) =>
    /^\d{1,9}(,\d{1,9})*$/.test(given)
      ? { ok: true, value: given.split(',').map(Number) }
      : { ok: false, expected: 'whole numbers by comma' },
  );
}
