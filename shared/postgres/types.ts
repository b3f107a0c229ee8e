import pg, { type CustomTypesConfig } from 'pg';

const INT8 = 20;
const INT4_ARRAY = 1007;
const INT8_ARRAY = 1016;

const parsers: ReadonlyMap<number, (text: string) => unknown> = new Map<number, (text: string) => unknown>([
  [INT8, Number],
  [INT4_ARRAY, parseNumbers],
  [INT8_ARRAY, parseNumbers],
]);

/** bigint as numbers: ticks, epochs, versions and counts here stay far below 2^53. Checksums, which do not, travel as text. */
export const numberTypes: CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') => {
    const parser = format === 'binary' ? undefined : parsers.get(oid);
    return parser ?? pg.types.getTypeParser(oid, format as 'text');
  }) as CustomTypesConfig['getTypeParser'],
};

/** Flat arrays without NULLs. The client's own parser goes by single characters, which thousands of slots would feel. */
function parseNumbers(text: string): number[] {
  return text === '{}' ? [] : text.slice(1, -1).split(',').map(Number);
}

/** `{1,2,3}`: quicker than the client's own way of writing an array, which quotes each element. */
export function numberArray(numbers: readonly number[]): string {
  return `{${numbers.join(',')}}`;
}

/** Of texts that need no quotes, such as ids. */
export function textArray(texts: readonly string[]): string {
  return `{${texts.join(',')}}`;
}
