import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import pg from 'pg';
import { adoptTable, readAdoption } from '../../shared/postgres/adoption.ts';
import { checkAdoption } from '../../shared/postgres/adoption-check.ts';
import { connectPostgres, type PostgresLink } from '../../shared/postgres/connection.ts';
import { Fence } from '../../shared/postgres/fence.ts';
import { tickText } from '../../shared/postgres/fence-statements.ts';
import { MIGRATIONS } from '../../shared/postgres/migrations.ts';
import { addRows } from '../../shared/postgres/rows.ts';
import { parseTableNames, TableError, type TableNames } from '../../shared/postgres/table.ts';
import { TableWatch } from '../../shared/postgres/table-watch.ts';
import { type OpenedDatabase, openClient, openDatabase } from '../support/opened-database.ts';
import type { recordingLog, TestDatabase } from '../support/postgres-server.ts';
import { WORK_ITEMS } from '../support/work-items.ts';

const MAKE_PLAIN = 'CREATE TABLE public.work_items (id uuid PRIMARY KEY, value integer, currentworker text)';

let opened: OpenedDatabase;
let database: TestDatabase;
let link: PostgresLink;
let admin: pg.Client;
let records: ReturnType<typeof recordingLog>;

beforeEach(async () => {
  opened = await openDatabase();
  ({ database, link, admin, records } = opened);
});

afterEach(() => opened.close());

const adopt = (slots = 16, names = WORK_ITEMS) => adoptTable(link, { names, slots, log: records.log });
const connect = (url: string) =>
  connectPostgres({ connectionString: url, applicationName: 'test' }, { log: records.log });

async function one<Value>(text: string, values: unknown[] = []): Promise<Value> {
  return Object.values((await admin.query(text, values)).rows[0])[0] as Value;
}

/** Everything the catalog and the bookkeeping hold of us, with the transaction that wrote it. */
async function readVersions(): Promise<unknown[]> {
  const mine =
    "(SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('scaler', 'public'))";
  const { rows } = await admin.query(`
    SELECT 'class' AS what, oid::text AS id, xmin::text, relfilenode::text AS more FROM pg_class WHERE oid IN ${mine}
    UNION ALL SELECT 'attribute', attrelid || '/' || attnum, xmin::text, '' FROM pg_attribute WHERE attrelid IN ${mine}
    UNION ALL SELECT 'index', indexrelid::text, xmin::text, '' FROM pg_index WHERE indrelid IN ${mine}
    UNION ALL SELECT 'trigger', oid::text, xmin::text, '' FROM pg_trigger WHERE tgrelid IN ${mine}
    UNION ALL SELECT 'function', oid::text, xmin::text, '' FROM pg_proc WHERE pronamespace = 'scaler'::regnamespace
    UNION ALL SELECT 'schema', oid::text, xmin::text, '' FROM pg_namespace
    UNION ALL SELECT 'migration', number::text, xmin::text, applied_at::text FROM scaler.migration
    UNION ALL SELECT 'adoption', table_name, xmin::text, completed_at::text FROM scaler.adoption
    UNION ALL SELECT 'slot', slot::text, xmin::text, '' FROM scaler.slot ORDER BY 1, 2`);
  return rows;
}

async function errorOf(work: Promise<unknown>): Promise<TableError> {
  try {
    await work;
  } catch (error) {
    assert.ok(error instanceof TableError, `expected a TableError, got ${error}`);
    return error;
  }
  throw new Error('expected a TableError, got none');
}

describe('adopting a table that does not exist', () => {
  test('makes it, its slots and its index, and tells workers the number of slots', async () => {
    assert.equal(await readAdoption(link, WORK_ITEMS), null);
    assert.deepEqual(await adopt(), { slots: 16 });
    assert.deepEqual(await readAdoption(link, WORK_ITEMS), { slots: 16 });
    assert.equal(await one('SELECT count(*)::int FROM scaler.slot'), 16);
    await admin.query('INSERT INTO public.work_items DEFAULT VALUES');
    assert.equal(await one('SELECT value FROM public.work_items'), 0);
    const options = await one<string[]>("SELECT reloptions FROM pg_class WHERE oid = 'public.work_items'::regclass");
    assert.ok(options.includes('fillfactor=50'), String(options));
  });

  test('a second adoption writes nothing at all', async () => {
    await adopt();
    const versions = await readVersions();
    await adopt();
    await adopt(64);
    assert.deepEqual(await readVersions(), versions);
  });

  test('the number of slots of the first adoption stays, and the log says so', async () => {
    await adopt(16);
    assert.deepEqual(await adopt(32), { slots: 16 });
    assert.ok(records.lines.some(({ msg }) => /keeps the number of slots/.test(msg)));
  });

  test('a number of slots that is no power of two is refused', async () => {
    for (const slots of [0, 3, -4, 1.5, 2 ** 21]) assert.equal((await errorOf(adopt(slots))).code, 'bad-slots');
  });

  test('several coordinators at once adopt it once', async () => {
    const links = await Promise.all(Array.from({ length: 6 }, () => connect(database.url)));
    try {
      const adoptions = links.map((link) => adoptTable(link, { names: WORK_ITEMS, slots: 16, log: records.log }));
      assert.deepEqual(await Promise.all(adoptions), Array(6).fill({ slots: 16 }));
      assert.equal(await one('SELECT count(*)::int FROM scaler.migration'), MIGRATIONS.length);
    } finally {
      await Promise.all(links.map((link) => link.close()));
    }
  });

  test('its schema must exist', async () => {
    const error = await errorOf(adopt(16, { ...WORK_ITEMS, schema: 'elsewhere' }));
    assert.equal(error.code, 'missing-schema');
    assert.match(error.message, /CREATE SCHEMA "elsewhere"/);
  });

  test('names may hold anything', async () => {
    const odd = `x" ; DROP TABLE ' \\ $$ ü`;
    await admin.query(`CREATE SCHEMA ${pg.escapeIdentifier(odd)}`);
    const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`;
    const names = parseTableNames({
      table: `${quoted(odd)}.${quoted(`${odd}.T`)}`,
      idColumn: quoted(`${odd}ID`),
      valueColumn: quoted(`${odd}V`),
      workerColumn: quoted(`${odd}W`),
    });
    await adopt(16, names);
    await exerciseTable(names);
    assert.deepEqual(await readAdoption(link, names), { slots: 16 });
    const versions = await readVersions();
    await adopt(16, names);
    assert.deepEqual(await readVersions(), versions);
  });

  test('names may hold what a replacement would read as a pattern', async () => {
    const names = parseTableNames({
      table: 'public."$slot$&"',
      idColumn: '"i$$d$&"',
      valueColumn: '"v$`$\'"',
      workerColumn: '"$1DATABASE_NAME"',
    });
    await adopt(16, names);
    await exerciseTable(names);
    const fence = new Fence(link, names, { slots: 16 });
    const owner = { worker: 'a', incarnation: 1 };
    const slots = Array.from({ length: 16 }, (_, slot) => slot);
    await fence.warm(owner);
    const { rows, before } = await fence.tick({ ...owner, tick: 8, slots, withBefore: true });
    const ticked = before?.reduce((sum, slot) => sum + slot.rows, 0);
    assert.deepEqual([rows, ticked], [50, 50]);
    // A tick whose statement is refused finds another way, so the statements are tried by themselves.
    for (const form of ['fast', 'over'] as const) {
      await admin.query(`PREPARE tick_${form} AS ${tickText(names, 16, { form, withBefore: true })}`);
    }
  });

  test('a name of 63 bytes leaves room for the index', async () => {
    const names = { ...WORK_ITEMS, table: `${'é'.repeat(31)}x` };
    await adopt(16, names);
    await exerciseTable(names);
  });
});

/** Rows come, are ticked, change their ids, and go; the count follows. */
async function exerciseTable(names: TableNames): Promise<void> {
  const fence = new Fence(link, names, { slots: 16 });
  const watch = new TableWatch(link, names, { slots: 16 });
  const { at } = await watch.count();
  assert.equal(await addRows(link, names, 50), 50);
  const slots = Array.from({ length: 16 }, (_, slot) => slot);
  await fence.claim({ worker: 'a', incarnation: 1, epoch: await fence.drawEpoch(0), version: 1, slots });
  assert.equal((await fence.tick({ worker: 'a', incarnation: 1, tick: 7, slots })).rows, 50);
  const { added, removed } = await watch.changesSince(at);
  assert.deepEqual({ added, removed }, { added: 50, removed: 0 });
  assert.equal((await fence.readIds({ slots })).length, 50);
}

describe('adopting a table that exists', () => {
  test('keeps its rows and its file, and finds the rows by slot', async () => {
    await admin.query(MAKE_PLAIN);
    await admin.query('INSERT INTO public.work_items SELECT gen_random_uuid(), n FROM generate_series(1, 5000) n');
    const file = await one("SELECT relfilenode::text FROM pg_class WHERE oid = 'public.work_items'::regclass");
    await adopt();
    assert.equal(await one("SELECT relfilenode::text FROM pg_class WHERE oid = 'public.work_items'::regclass"), file);
    assert.equal(await one('SELECT sum(value)::int FROM public.work_items'), 12_502_500);
    const { rows, weights } = await new TableWatch(link, WORK_ITEMS, { slots: 16 }).count();
    assert.equal(rows, 5000);
    assert.equal(
      weights.reduce((sum, weight) => sum + weight),
      5000,
    );
  });

  test('works while its rows are being written', async () => {
    await admin.query(MAKE_PLAIN);
    await admin.query('INSERT INTO public.work_items SELECT gen_random_uuid(), n FROM generate_series(1, 2000) n');
    const writer = await openClient(database.url);
    let isOver = false;
    const writing = (async () => {
      while (!isOver)
        await writer.query(
          'UPDATE public.work_items SET value = value + 1 WHERE id IN (SELECT id FROM public.work_items LIMIT 5)',
        );
    })();
    await adopt();
    isOver = true;
    await writing;
    await writer.end();
    await exerciseEmptyable();
  });

  test('a broken index of an earlier attempt is made anew', async () => {
    await admin.query(MAKE_PLAIN);
    await admin.query('INSERT INTO public.work_items SELECT gen_random_uuid(), n FROM generate_series(1, 100) n');
    await admin.query('CREATE INDEX work_items_scaler_slot ON public.work_items ((uuid_hash_extended(id, 0) & 15))');
    await admin.query(
      "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.work_items_scaler_slot'::regclass",
    );
    await adopt();
    assert.equal(
      await one("SELECT indisvalid FROM pg_index WHERE indexrelid = 'public.work_items_scaler_slot'::regclass"),
      true,
    );
  });

  test('an index for another number of slots is made anew', async () => {
    await adopt(16);
    await admin.query('DROP SCHEMA scaler CASCADE');
    assert.deepEqual(await adopt(64), { slots: 64 });
    assert.match(await one("SELECT pg_get_indexdef('public.work_items_scaler_slot'::regclass)"), /63/);
  });

  test('a wrong index stays until the right one can take its place, however long readers keep it', async () => {
    await admin.query(MAKE_PLAIN);
    await admin.query('INSERT INTO public.work_items SELECT gen_random_uuid(), n FROM generate_series(1, 100) n');
    await admin.query('CREATE INDEX work_items_scaler_slot ON public.work_items ((uuid_hash_extended(id, 0) & 7))');
    const indexes = () =>
      one(`SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class
        WHERE relname LIKE 'work_items_scaler_slot%' AND relkind = 'i'`);
    await admin.query('BEGIN; SELECT FROM public.work_items LIMIT 1');
    const adopting = adopt();
    while (!records.lines.some(({ msg }) => /locked by another transaction/.test(msg)))
      await new Promise((done) => setTimeout(done, 20));
    const meanwhile = await indexes();
    const built = await one("SELECT 'public.work_items_scaler_slot_next'::regclass::oid");
    await admin.query('COMMIT');
    await adopting;
    assert.equal(meanwhile, 'work_items_scaler_slot work_items_scaler_slot_next');
    assert.equal(await indexes(), 'work_items_scaler_slot');
    assert.match(await one("SELECT pg_get_indexdef('public.work_items_scaler_slot'::regclass)"), /15/);
    assert.equal(await one("SELECT 'public.work_items_scaler_slot'::regclass::oid"), built, 'it was built once');
  });

  test('a table that was dropped after its adoption is made again, with all it needs', async () => {
    await adopt();
    await admin.query('DROP TABLE public.work_items');
    assert.equal(await readAdoption(link, WORK_ITEMS), null);
    assert.deepEqual(await adopt(), { slots: 16 });
    await exerciseTable(WORK_ITEMS);
  });

  test('a lost trigger comes back', async () => {
    await adopt();
    await admin.query('DROP TRIGGER scaler_delete ON public.work_items');
    await adopt();
    assert.ok(records.lines.some(({ msg }) => /missing or was changed; recreating it/.test(msg)));
    await exerciseTable(WORK_ITEMS);
  });

  test('an adoption that was cut off goes on where it stopped, and until then workers wait', async () => {
    await adopt();
    await admin.query('UPDATE scaler.adoption SET completed_at = NULL');
    await admin.query('DELETE FROM scaler.migration WHERE number > 2');
    await admin.query('DROP INDEX public.work_items_scaler_slot');
    assert.equal(await readAdoption(link, WORK_ITEMS), null);
    await adopt();
    assert.deepEqual(await readAdoption(link, WORK_ITEMS), { slots: 16 });
    await exerciseTable(WORK_ITEMS);
  });

  test('waits for a transaction that has the table locked, and says so', async () => {
    await admin.query(MAKE_PLAIN);
    await admin.query('BEGIN; LOCK TABLE public.work_items IN EXCLUSIVE MODE');
    const adopting = adopt();
    while (!records.lines.some(({ msg }) => /locked by another transaction/.test(msg)))
      await new Promise((done) => setTimeout(done, 20));
    await admin.query('COMMIT');
    assert.deepEqual(await adopting, { slots: 16 });
  });

  test('an index on the value or worker column is warned of, in whatever form', async () => {
    await admin.query(MAKE_PLAIN);
    await admin.query('CREATE INDEX by_value ON public.work_items (value)');
    await admin.query('CREATE INDEX by_length ON public.work_items (length(currentworker))');
    await admin.query("CREATE INDEX by_id ON public.work_items (id) WHERE currentworker = 'x'");
    await admin.query('ALTER TABLE public.work_items ADD CONSTRAINT odd UNIQUE (value, id)');
    await adopt();
    const warned = records.lines.filter(({ level, msg }) => level === 40 && /makes every tick write/.test(msg));
    const indexes = warned.map((line) => (line as unknown as { index: string }).index);
    assert.deepEqual(indexes.sort(), ['by_id', 'by_length', 'by_value', 'odd']);
  });

  test('a worker column too short for an id is warned of', async () => {
    await admin.query('CREATE TABLE public.work_items (id uuid PRIMARY KEY, value integer, currentworker varchar(20))');
    await adopt();
    assert.ok(records.lines.some(({ level, msg }) => level === 40 && /up to 128 characters/.test(msg)));
  });
});

async function exerciseEmptyable(): Promise<void> {
  await admin.query('TRUNCATE public.work_items');
  await exerciseTable(WORK_ITEMS);
}

describe('a table that does not fit', () => {
  const misfits: readonly (readonly [what: string, sql: string, code: string, says: RegExp])[] = [
    ['a view', 'CREATE VIEW public.work_items AS SELECT 1', 'not-a-table', /it is a view/],
    [
      'a materialized view',
      'CREATE MATERIALIZED VIEW public.work_items AS SELECT 1',
      'not-a-table',
      /materialized view/,
    ],
    [
      'a partitioned table',
      'CREATE TABLE public.work_items (id uuid) PARTITION BY HASH (id)',
      'not-a-table',
      /partitioned/,
    ],
    [
      'a partition',
      `CREATE TABLE p (id uuid PRIMARY KEY, value int, currentworker text) PARTITION BY HASH (id);
       CREATE TABLE public.work_items PARTITION OF p FOR VALUES WITH (modulus 1, remainder 0)`,
      'not-a-table',
      /partition/,
    ],
    ['a parent', `${MAKE_PLAIN}; CREATE TABLE child () INHERITS (public.work_items)`, 'not-a-table', /inheritance/],
    ['a sequence', 'CREATE SEQUENCE public.work_items', 'not-a-table', /sequence/],
    [
      'no id',
      'CREATE TABLE public.work_items (value int, currentworker text)',
      'missing-column',
      /column id of type uuid/,
    ],
    [
      'no value',
      'CREATE TABLE public.work_items (id uuid PRIMARY KEY, currentworker text)',
      'missing-column',
      /--value-column/,
    ],
    [
      'no worker',
      'CREATE TABLE public.work_items (id uuid PRIMARY KEY, value int)',
      'missing-column',
      /run: ALTER TABLE "public"."work_items" ADD COLUMN "currentworker" text/,
    ],
    [
      'a worker column in mixed case',
      'CREATE TABLE public.work_items (id uuid PRIMARY KEY, value int, "currentWorker" text)',
      'missing-column',
      /there is "currentWorker": give --worker-column '"currentWorker"'/,
    ],
    [
      'a table in mixed case',
      'CREATE TABLE public."Work_Items" (id uuid PRIMARY KEY, value int, currentworker text)',
      'similar-table',
      /there is "public"."Work_Items"; give --table '"public"."Work_Items"'/,
    ],
    [
      'a text id',
      'CREATE TABLE public.work_items (id text PRIMARY KEY, value int, currentworker text)',
      'wrong-column-type',
      /uuid, it is text/,
    ],
    [
      'a bigint value',
      'CREATE TABLE public.work_items (id uuid PRIMARY KEY, value bigint, currentworker text)',
      'wrong-column-type',
      /it is bigint/,
    ],
    [
      'a generated value',
      'CREATE TABLE public.work_items (id uuid PRIMARY KEY, value int GENERATED ALWAYS AS (1) STORED, currentworker text)',
      'wrong-column-type',
      /generated integer/,
    ],
    [
      'a json worker',
      'CREATE TABLE public.work_items (id uuid PRIMARY KEY, value int, currentworker json)',
      'wrong-column-type',
      /it is json/,
    ],
    [
      'no key',
      'CREATE TABLE public.work_items (id uuid NOT NULL, value int, currentworker text)',
      'no-primary-key',
      /nothing keeps it unique/,
    ],
    [
      'a nullable id',
      'CREATE TABLE public.work_items (id uuid UNIQUE, value int, currentworker text)',
      'no-primary-key',
      /may be NULL/,
    ],
    [
      'a key of two columns',
      'CREATE TABLE public.work_items (id uuid, value int, currentworker text, PRIMARY KEY (id, value))',
      'no-primary-key',
      /ADD PRIMARY KEY/,
    ],
    [
      'a partition, with the statement to run',
      `CREATE TABLE p (id uuid PRIMARY KEY, value int, currentworker text) PARTITION BY HASH (id);
       CREATE TABLE public.work_items PARTITION OF p FOR VALUES WITH (modulus 1, remainder 0)`,
      'not-a-table',
      /a partition of public\.p.*run: ALTER TABLE public\.p DETACH PARTITION "public"\."work_items"/,
    ],
    [
      'a child',
      'CREATE TABLE parent (note text); CREATE TABLE public.work_items (id uuid PRIMARY KEY, value int, currentworker text) INHERITS (parent)',
      'not-a-table',
      /a child of public\.parent.*run: ALTER TABLE "public"\."work_items" NO INHERIT public\.parent/,
    ],
    [
      'a rule for UPDATE',
      `${MAKE_PLAIN}; CREATE RULE "Keep" AS ON UPDATE TO public.work_items DO INSTEAD NOTHING`,
      'cannot-be-ticked',
      /run: DROP RULE "Keep" ON "public"\."work_items"/,
    ],
    [
      'an identity as value',
      'CREATE TABLE public.work_items (id uuid PRIMARY KEY, value int GENERATED ALWAYS AS IDENTITY, currentworker text)',
      'wrong-column-type',
      /run: ALTER TABLE "public"\."work_items" ALTER COLUMN "value" DROP IDENTITY/,
    ],
    [
      'a foreign key on the worker',
      `CREATE TABLE hosts (name text PRIMARY KEY);
       CREATE TABLE public.work_items (id uuid PRIMARY KEY, value int, currentworker text REFERENCES hosts)`,
      'cannot-be-ticked',
      /run: ALTER TABLE "public"\."work_items" DROP CONSTRAINT "work_items_currentworker_fkey"/,
    ],
    [
      'a foreign key on the value',
      `CREATE TABLE numbers (number int PRIMARY KEY);
       CREATE TABLE public.work_items (id uuid PRIMARY KEY, value int REFERENCES numbers, currentworker text)`,
      'cannot-be-ticked',
      /DROP CONSTRAINT "work_items_value_fkey"/,
    ],
    [
      'a unique constraint on the worker',
      'CREATE TABLE public.work_items (id uuid PRIMARY KEY, value int, currentworker text UNIQUE)',
      'cannot-be-ticked',
      /run: ALTER TABLE "public"\."work_items" DROP CONSTRAINT "work_items_currentworker_key"/,
    ],
    [
      'a unique index on the worker and more',
      `${MAKE_PLAIN}; CREATE UNIQUE INDEX "One" ON public.work_items (currentworker, value)`,
      'cannot-be-ticked',
      /run: DROP INDEX "public"\."One"/,
    ],
  ];

  for (const [what, sql, code, says] of misfits) {
    test(`is refused, and left alone: ${what}`, async () => {
      await admin.query(sql);
      const error = await errorOf(adopt());
      assert.equal(error.code, code);
      assert.match(error.message, says);
      assert.equal(await one("SELECT count(*)::int FROM pg_namespace WHERE nspname = 'scaler'"), 0);
    });
  }

  test('what ticks can live with is no obstacle', async () => {
    await admin.query(`CREATE TABLE public.work_items (id uuid PRIMARY KEY, value int GENERATED BY DEFAULT AS IDENTITY, currentworker text,
      UNIQUE (currentworker, id));
      CREATE RULE copies AS ON INSERT TO public.work_items DO ALSO NOTHING;
      CREATE RULE off AS ON UPDATE TO public.work_items DO INSTEAD NOTHING;
      ALTER TABLE public.work_items DISABLE RULE off;
      CREATE UNIQUE INDEX partial ON public.work_items (currentworker) WHERE currentworker = 'leader';
      CREATE UNIQUE INDEX included ON public.work_items (id) INCLUDE (currentworker)`);
    await adopt();
    await admin.query('DROP RULE copies ON public.work_items');
    await exerciseTable(WORK_ITEMS);
  });

  test('a table that is attached as a partition later is found by the check, with the statement to run', async () => {
    await admin.query('CREATE TABLE public.work_items (id uuid PRIMARY KEY, value int, currentworker text)');
    await adopt();
    assert.deepEqual(await checkAdoption(link, WORK_ITEMS), { kind: 'sound' });
    await admin.query(`CREATE TABLE p (id uuid PRIMARY KEY, value int, currentworker text) PARTITION BY HASH (id);
      ALTER TABLE p ATTACH PARTITION public.work_items FOR VALUES WITH (modulus 1, remainder 0)`);
    const verdict = await checkAdoption(link, WORK_ITEMS);
    assert.equal(verdict.kind, 'broken');
    const reason = verdict.kind === 'broken' ? verdict.reason : '';
    const detach = /run: (ALTER TABLE public\.p DETACH PARTITION "public"\."work_items"),/.exec(reason)?.[1];
    assert.ok(detach !== undefined, reason);
    await admin.query(detach);
    assert.deepEqual(await checkAdoption(link, WORK_ITEMS), { kind: 'sound' });
  });

  test('a unique index on an id that is never NULL will do', async () => {
    await admin.query('CREATE TABLE public.work_items (id uuid NOT NULL UNIQUE, value int, currentworker varchar)');
    assert.deepEqual(await adopt(), { slots: 16 });
  });

  test('a table in mixed case is adopted by its quoted name, also beside one in lower case', async () => {
    await admin.query(`${MAKE_PLAIN}; ${MAKE_PLAIN.replace('work_items', '"Work_Items"')}`);
    await adopt(16, { ...WORK_ITEMS, table: 'Work_Items' });
    assert.deepEqual(await readAdoption(link, { ...WORK_ITEMS, table: 'Work_Items' }), { slots: 16 });
  });

  test('a second table in the same database is refused, to coordinators and workers', async () => {
    await adopt();
    for (const names of [
      { ...WORK_ITEMS, table: 'others' },
      { ...WORK_ITEMS, value: 'amount' },
    ]) {
      for (const work of [() => adopt(16, names), () => readAdoption(link, names)]) {
        const error = await errorOf(work());
        assert.equal(error.code, 'adopted-otherwise');
        assert.match(error.message, /public\.work_items \(id, value, currentworker\)/);
      }
    }
  });
});

describe('a role without rights', () => {
  let role: string;
  let own: PostgresLink;

  beforeEach(async () => {
    role = `r${database.url.slice(-12)}`;
    await admin.query(`CREATE ROLE ${role} LOGIN PASSWORD '${role}'`);
    await admin.query('REVOKE CREATE ON SCHEMA public FROM PUBLIC');
    const url = new URL(database.url);
    url.username = role;
    // Where the server lets everybody in by trust it is not asked for.
    url.password = role;
    own = await connect(url.href);
  });

  afterEach(async () => {
    await own?.close();
    await admin.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  });

  /** Runs what each refusal asks for, and nothing else, until it works. */
  async function followAdvice<Result>(work: () => Promise<Result>): Promise<{ result: Result; ran: string[] }> {
    const ran: string[] = [];
    for (let attempt = 0; attempt < 5; attempt += 1) {
      try {
        return { result: await work(), ran };
      } catch (error) {
        assert.ok(error instanceof TableError && error.code === 'missing-privilege', String(error));
        const statements = /run: (.*);$/.exec(error.message)?.[1]?.split('; ') ?? [];
        assert.notEqual(statements.length, 0, error.message);
        for (const statement of statements) await admin.query(statement);
        ran.push(...statements);
      }
    }
    throw new Error(`still refused after ${ran.join('; ')}`);
  }

  test('a worker learns exactly what to grant, and can then work', async () => {
    await adopt();
    const { result, ran } = await followAdvice(() => readAdoption(own, WORK_ITEMS));
    assert.deepEqual(result, { slots: 16 });
    assert.deepEqual([...new Set(ran)].sort(), [
      `GRANT SELECT ON "public"."work_items" TO "${role}"`,
      `GRANT SELECT ON scaler.adoption TO "${role}"`,
      `GRANT SELECT, UPDATE ON scaler.slot TO "${role}"`,
      `GRANT UPDATE ON "public"."work_items" TO "${role}"`,
      `GRANT USAGE ON SCHEMA "scaler" TO "${role}"`,
    ]);
    const fence = new Fence(own, WORK_ITEMS, { slots: 16 });
    await addRows(link, WORK_ITEMS, 10);
    const epoch = await new Fence(link, WORK_ITEMS, { slots: 16 }).drawEpoch(0);
    await fence.claim({ worker: 'a', incarnation: 1, epoch, version: 1, slots: [1, 2, 3, 4] });
    await fence.tick({ worker: 'a', incarnation: 1, tick: 1, slots: [1, 2, 3, 4] });
    await fence.readIds({ slots: [1] });
  });

  test('a coordinator learns exactly what to grant, and can then make everything', async () => {
    const { result, ran } = await followAdvice(() =>
      adoptTable(own, { names: WORK_ITEMS, slots: 16, log: records.log }),
    );
    assert.deepEqual(result, { slots: 16 });
    assert.equal(ran.length, 2);
    assert.match(
      ran.join(),
      new RegExp(`^GRANT CREATE ON DATABASE "test_\\w+" TO "${role}",GRANT CREATE ON SCHEMA "public" TO "${role}"$`),
    );
  });

  test('a schema scaler of another role is refused before anything is made in it, with what to run', async () => {
    await admin.query(`CREATE ROLE ${role}_other; CREATE SCHEMA scaler AUTHORIZATION ${role}_other;
      GRANT ALL ON SCHEMA scaler TO ${role}; GRANT ALL ON SCHEMA public TO ${role}`);
    try {
      const error = await errorOf(adoptTable(own, { names: WORK_ITEMS, slots: 16, log: records.log }));
      assert.equal(error.code, 'foreign-schema');
      assert.match(error.message, new RegExp(`belongs to "${role}_other": its owner could replace the functions`));
      assert.equal(await one("SELECT count(*)::int FROM pg_class WHERE relnamespace = 'scaler'::regnamespace"), 0);
      const remedy = /run: (ALTER SCHEMA .*), or drop it/.exec(error.message)?.[1];
      await admin.query(String(remedy));
      assert.deepEqual(await adoptTable(own, { names: WORK_ITEMS, slots: 16, log: records.log }), { slots: 16 });
    } finally {
      await admin.query(`DROP OWNED BY ${role}_other; DROP ROLE ${role}_other`);
    }
  });

  test('a schema scaler that another role came to own later is warned of', async () => {
    await admin.query(`GRANT CREATE ON DATABASE ${new URL(database.url).pathname.slice(1)} TO ${role};
      GRANT ALL ON SCHEMA public TO ${role}`);
    await adoptTable(own, { names: WORK_ITEMS, slots: 16, log: records.log });
    await admin.query(`CREATE ROLE ${role}_other; ALTER SCHEMA scaler OWNER TO ${role}_other;
      GRANT ALL ON SCHEMA scaler TO ${role}`);
    try {
      assert.deepEqual(await adoptTable(own, { names: WORK_ITEMS, slots: 16, log: records.log }), { slots: 16 });
      const warned = records.lines.filter(({ level, msg }) => level === 40 && /belongs to another role/.test(msg));
      assert.equal(warned.length, 1);
    } finally {
      await admin.query(
        `ALTER SCHEMA scaler OWNER TO CURRENT_USER; DROP OWNED BY ${role}_other; DROP ROLE ${role}_other`,
      );
    }
  });

  test('a coordinator learns that it must belong to the owner of a table that exists', async () => {
    await admin.query(`CREATE ROLE ${role}_app; ${MAKE_PLAIN}; ALTER TABLE public.work_items OWNER TO ${role}_app`);
    try {
      const { ran } = await followAdvice(() => adoptTable(own, { names: WORK_ITEMS, slots: 16, log: records.log }));
      assert.ok(ran.includes(`GRANT "${role}_app" TO "${role}"`), ran.join());
    } finally {
      await admin.query(`DROP OWNED BY ${role}_app; DROP ROLE ${role}_app`);
    }
  });

  test('a coordinator beside the one that adopted learns what to grant, and can then lead', async () => {
    await adopt();
    const { result } = await followAdvice(() => adoptTable(own, { names: WORK_ITEMS, slots: 16, log: records.log }));
    assert.deepEqual(result, { slots: 16 });
    const fence = new Fence(own, WORK_ITEMS, { slots: 16 });
    const watch = new TableWatch(own, WORK_ITEMS, { slots: 16 });
    const epoch = await fence.drawEpoch(3);
    const { at, connection } = await watch.count();
    await watch.changesSince(at);
    await watch.prune({ after: null, at, epoch, connection });
    await fence.newest();
    await fence.owners();
  });

  test('who may only write rows needs no right on our schema', async () => {
    await adopt();
    const watch = new TableWatch(link, WORK_ITEMS, { slots: 16 });
    const { at } = await watch.count();
    await admin.query(`GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON public.work_items TO ${role}`);
    const url = new URL(database.url);
    url.username = role;
    url.password = role;
    const writer = await openClient(url.href);
    await writer.query('SET search_path = pg_temp');
    await writer.query('INSERT INTO public.work_items SELECT gen_random_uuid() FROM generate_series(1, 20)');
    await writer.query('UPDATE public.work_items SET id = gen_random_uuid()');
    await writer.query('DELETE FROM public.work_items WHERE id IN (SELECT id FROM public.work_items LIMIT 5)');
    const change = await watch.changesSince(at);
    assert.equal(change.added - change.removed, 15);
    assert.deepEqual((await watch.count()).weights, sumDeltas(change.deltas));
    await writer.query('TRUNCATE public.work_items');
    assert.equal((await watch.changesSince(at)).recount, true);
    await writer.end();
  });

  function sumDeltas(deltas: readonly { slot: number; delta: number }[]): Float64Array {
    const weights = new Float64Array(16);
    for (const { slot, delta } of deltas) weights[slot] = weights[slot]! + delta;
    return weights;
  }
});
