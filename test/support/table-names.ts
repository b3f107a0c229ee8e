import type { TableNames } from '../../shared/postgres/table.ts';

export interface GivenNames {
  readonly table: string;
  readonly idColumn: string;
  readonly valueColumn: string;
  readonly workerColumn: string;
}

const DEFAULTS: GivenNames = {
  table: 'public.work_items',
  idColumn: 'id',
  valueColumn: 'value',
  workerColumn: 'worker',
};
const DEFAULT_NAMES: TableNames = { schema: 'public', table: 'work_items', id: 'id', value: 'value', worker: 'worker' };

export interface AcceptedNames {
  readonly given: GivenNames;
  /** What Postgres is to call them. */
  readonly names: TableNames;
  /** SQL itself takes the given names as they are, without more quotes. */
  readonly isSql: boolean;
}

/** Names as operators may give them, for everything that reads them: the services, the chart, Postgres. */
export const ACCEPTED: Readonly<Record<string, AcceptedNames>> = {
  defaults: accept({}, {}),
  'the specification’s own spelling': accept({ workerColumn: 'currentWorker' }, { worker: 'currentworker' }),
  'a plain mixed-case table': accept({ table: 'public.Work_Items' }, {}),
  'a quoted mixed-case table': accept({ table: 'public."Work_Items"' }, { table: 'Work_Items' }),
  'no schema': accept({ table: 'Jobs' }, { table: 'jobs' }),
  'a quoted table without a schema': accept({ table: '"Jobs.of.all"' }, { table: 'Jobs.of.all' }),
  'another schema': accept({ table: 'Shop.Orders' }, { schema: 'shop', table: 'orders' }),
  'a quoted schema': accept({ table: '"My Shop"."Work Items"' }, { schema: 'My Shop', table: 'Work Items' }),
  'quotes, points and apostrophes': accept(
    { table: '"a.""b"."it\'s ""x"""', idColumn: '"I""D"', valueColumn: '"v.v"', workerColumn: '"\'w\'"' },
    { schema: 'a."b', table: 'it\'s "x"', id: 'I"D', value: 'v.v', worker: "'w'" },
  ),
  'reserved words': accept(
    { table: 'select.order', idColumn: 'primary', valueColumn: 'Check', workerColumn: 'user' },
    { schema: 'select', table: 'order', id: 'primary', value: 'check', worker: 'user' },
    { isSql: false },
  ),
  'spaces and dashes without quotes': accept(
    { table: 'My Shop.work-Items', valueColumn: '2nd Value' },
    { schema: 'My Shop', table: 'work-Items', value: '2nd Value' },
    { isSql: false },
  ),
  'letters beyond ASCII': accept(
    { table: 'Größe.ÄrzteListe', valueColumn: '"Wert€"', workerColumn: 'ΣΑΣ_İ_Name' },
    { schema: 'größe', table: 'Ärzteliste', value: 'Wert€', worker: 'ΣΑΣ_İ_name' },
  ),
  'signs beyond the first plane': accept(
    { table: 'public.Work😀Items', workerColumn: '"日本 😀"' },
    { table: 'work😀items', worker: '日本 😀' },
  ),
  'dollars and what looks like a variable': accept(
    { table: 'public.a$$B', idColumn: '"$(POD_NAME)"', valueColumn: '"$$(POD_NAME)"', workerColumn: '"$x:y\\n"' },
    { table: 'a$$b', id: '$(POD_NAME)', value: '$$(POD_NAME)', worker: '$x:y\\n' },
  ),
  'what YAML, SQL and templates have signs for': accept(
    { table: 'public."-- {{ .Values }} # & * ! | > %"', valueColumn: '": \'"', workerColumn: '"/* ; */"' },
    { table: '-- {{ .Values }} # & * ! | > %', value: ": '", worker: '/* ; */' },
  ),
  'line ends, tabs and control signs': accept(
    { table: 'public."a\nb\r\nc\td"', valueColumn: '"  x\u0085\u2028"', workerColumn: '"\u0007\u007f\u00ad"' },
    { table: 'a\nb\r\nc\td', value: '  x\u0085\u2028', worker: '\u0007\u007f\u00ad' },
  ),
  '63 bytes': accept({ table: `public.${'é'.repeat(31)}x` }, { table: `${'é'.repeat(31)}x` }),
};

/** What a service and the chart refuse, by the value that is wrong. */
export const REFUSED: readonly Partial<GivenNames>[] = [
  ...['', '.', 'a.', '.a', 'a.b.c', 'a..b', '"a', 'a"b', '""', '"a"b', '"a".', '"a"".b', '"a"."b"."c"'].map(
    (table) => ({
      table,
    }),
  ),
  ...['x'.repeat(64), `${'é'.repeat(32)}.a`, `"${'é'.repeat(32)}"`].map((table) => ({ table })),
  ...['', '""', '"a', 'a"', 'a"b', '"a"b"', 'x'.repeat(64), 'é'.repeat(32), 'xmin', 'CTID', '"cmax"'].flatMap(
    (name) => [{ idColumn: name }, { workerColumn: name }],
  ),
  { idColumn: 'value' },
  { idColumn: 'Value' },
  { workerColumn: '"value"' },
  { valueColumn: 'WORKER' },
];

export function withDefaults(given: Partial<GivenNames>): GivenNames {
  return { ...DEFAULTS, ...given };
}

function accept(given: Partial<GivenNames>, names: Partial<TableNames>, { isSql = true } = {}): AcceptedNames {
  return { given: withDefaults(given), names: { ...DEFAULT_NAMES, ...names }, isSql };
}
