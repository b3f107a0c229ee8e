import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import pg from 'pg';
import { adoptTable } from '../../shared/postgres/adoption.ts';
import { WITHHELD_STATE } from '../../shared/postgres/careful-tick.ts';
import { connectPostgres, type PostgresLink } from '../../shared/postgres/connection.ts';
import { Fence } from '../../shared/postgres/fence.ts';
import { addRows } from '../../shared/postgres/rows.ts';
import { parseTableNames } from '../../shared/postgres/table.ts';
import type { BlockedRow, TickRequest } from '../../shared/postgres/tick-result.ts';
import { freshDatabase, recordingLog, sharedPostgres, type TestDatabase } from '../support/postgres-server.ts';

const NAMES = parseTableNames({
  table: '"Odd ""schema".work items',
  idColumn: 'id',
  valueColumn: '"the ""value"',
  workerColumn: 'currentworker',
});
const TABLE = '"Odd ""schema"."work items"';
const VALUE = '"the ""value"';
const SLOTS = 64;
const ROWS = 600;
const ALL = Array.from({ length: SLOTS }, (_, slot) => slot);
const { log } = recordingLog();

/** One row that cannot be written costs one row, whatever forbids it. */
describe('rows that cannot be written', () => {
  let database: TestDatabase;
  let link: PostgresLink;
  let fence: Fence;
  let admin: pg.Client;
  let bad: string;

  before(async () => {
    database = await freshDatabase((await sharedPostgres()).url);
    admin = new pg.Client({ connectionString: database.url });
    await admin.connect();
    await admin.query('CREATE SCHEMA "Odd ""schema"');
  });

  after(async () => {
    await admin.end();
    await database.drop();
  });

  beforeEach(async () => {
    await admin.query(`DROP TABLE IF EXISTS ${TABLE}; DROP SCHEMA IF EXISTS scaler CASCADE`);
    link = await connectPostgres({ connectionString: database.url, applicationName: 'test' }, { log });
    fence = new Fence(link, NAMES, await adoptTable(link, { names: NAMES, slots: SLOTS, log }));
    await addRows(link, NAMES, ROWS);
    await fence.claim({ worker: 'a', incarnation: 1, epoch: await fence.drawEpoch(0), version: 1, slots: ALL });
    bad = (await values(`SELECT id::text FROM ${TABLE} ORDER BY random() LIMIT 1`))[0] as string;
  });

  afterEach(() => link.close());

  const tick = (at: number, more: Partial<TickRequest> = {}) =>
    fence.tick({ worker: 'a', incarnation: 1, tick: at, slots: ALL, ...more });

  /** As a worker does: what a call's time did not suffice for is asked again, with the rows that are known to be bad by then. */
  async function tickAll(at: number, more: Partial<TickRequest> = {}) {
    const all = { rows: 0, missed: 0, held: 0, blocked: [] as BlockedRow[] };
    const first = await tick(at, more);
    for (let result = first, calls = 1; ; calls += 1) {
      all.rows += result.rows;
      all.missed += result.missed;
      all.held += result.held.length;
      all.blocked.push(...result.blocked);
      if (result.undecided.length === 0) return { ...first, ...all };
      assert.ok(calls < 60, `undecided after ${calls} calls: slots ${result.undecided}`);
      result = await tick(at, {
        ...more,
        form: 'careful',
        leftOut: [...(more.leftOut ?? []), ...all.blocked.map(({ id }) => id)],
      });
    }
  }

  async function values(text: string, args: unknown[] = []): Promise<unknown[]> {
    return (await admin.query({ text, values: args, rowMode: 'array' })).rows.map(([value]) => value);
  }

  async function trigger(body: string, when = 'BEFORE UPDATE ON $T FOR EACH ROW', constraint = ''): Promise<void> {
    await admin.query(
      `CREATE OR REPLACE FUNCTION public.forbid() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN ${body} END $f$`,
    );
    await admin.query(
      `CREATE ${constraint} TRIGGER forbid ${when.replace('$T', TABLE)} EXECUTE FUNCTION public.forbid()`,
    );
  }

  /** Each makes the row `bad`, and no other one, refuse the tick. */
  const kinds: Record<string, { state: string; make: () => Promise<unknown> }> = {
    'a check constraint': {
      state: '23514',
      make: async () => {
        await admin.query(`UPDATE ${TABLE} SET ${VALUE} = 999 WHERE id = $1`, [bad]);
        await admin.query(`ALTER TABLE ${TABLE} ADD CHECK (${VALUE} < 1000)`);
      },
    },
    'a unique constraint': {
      state: '23505',
      make: async () => {
        await admin.query(
          `CREATE UNIQUE INDEX ON ${TABLE} (${VALUE}, (CASE WHEN ${VALUE} > 500 THEN 0 END)) WHERE ${VALUE} > 500`,
        );
        await admin.query(
          `UPDATE ${TABLE} SET ${VALUE} = 1001 WHERE id = (SELECT id FROM ${TABLE} WHERE id <> $1 LIMIT 1)`,
          [bad],
        );
        await admin.query(
          `CREATE FUNCTION public.forbid() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN NEW.${VALUE} := 1001; RETURN NEW; END $f$`,
        );
        await admin.query(
          `CREATE TRIGGER forbid BEFORE UPDATE ON ${TABLE} FOR EACH ROW WHEN (OLD.id = '${bad}' OR OLD.${VALUE} = 1001) EXECUTE FUNCTION public.forbid()`,
        );
      },
    },
    'a foreign key': {
      state: '23503',
      make: () =>
        admin.query(`CREATE TABLE public.known (id text PRIMARY KEY); INSERT INTO public.known SELECT currentworker FROM (VALUES ('a')) v (currentworker);
          ALTER TABLE ${TABLE} ADD COLUMN owner text GENERATED ALWAYS AS (CASE WHEN id = '${bad}' AND ${VALUE} > 0 THEN 'nobody' ELSE NULL END) STORED;
          ALTER TABLE ${TABLE} ADD FOREIGN KEY (owner) REFERENCES public.known`),
    },
    'a trigger that raises': {
      state: 'P0001',
      make: () => trigger(`IF NEW.id = '${bad}' THEN RAISE EXCEPTION 'frozen by audit'; END IF; RETURN NEW;`),
    },
    'a trigger that raises after the update': {
      state: 'P0001',
      make: () =>
        trigger(
          `IF NEW.id = '${bad}' THEN RAISE EXCEPTION 'frozen by audit'; END IF; RETURN NULL;`,
          'AFTER UPDATE ON $T FOR EACH ROW',
        ),
    },
    'a deferred constraint trigger': {
      state: 'P0001',
      make: () =>
        trigger(
          `IF NEW.id = '${bad}' THEN RAISE EXCEPTION 'frozen by audit'; END IF; RETURN NULL;`,
          'AFTER UPDATE ON $T DEFERRABLE INITIALLY DEFERRED FOR EACH ROW',
          'CONSTRAINT',
        ),
    },
    'a failed assertion': {
      state: 'P0004',
      make: () => trigger(`ASSERT NEW.id <> '${bad}', 'not this one'; RETURN NEW;`),
    },
    'a trigger that names what does not exist': {
      state: '42P01',
      make: () => trigger(`IF NEW.id = '${bad}' THEN INSERT INTO nowhere VALUES (1); END IF; RETURN NEW;`),
    },
    'a domain': {
      state: '23514',
      make: async () => {
        await admin.query(`UPDATE ${TABLE} SET ${VALUE} = 99 WHERE id = $1`, [bad]);
        await admin.query(`CREATE DOMAIN public.small AS int CHECK (VALUE < 100);
          ALTER TABLE ${TABLE} ADD COLUMN copy public.small GENERATED ALWAYS AS (${VALUE}) STORED`);
      },
    },
    'a generated column': {
      state: '22012',
      make: () =>
        admin.query(
          `ALTER TABLE ${TABLE} ADD COLUMN inverse int GENERATED ALWAYS AS (1 / (CASE WHEN id = '${bad}' THEN 1 - ${VALUE} ELSE 1 END)) STORED`,
        ),
    },
    'an expression index': {
      state: '22012',
      make: () =>
        admin.query(`CREATE INDEX ON ${TABLE} ((1 / (CASE WHEN id = '${bad}' THEN 1 - ${VALUE} ELSE 1 END)))`),
    },
    'a trigger that withholds the row': {
      state: WITHHELD_STATE,
      make: () => trigger(`IF NEW.id = '${bad}' THEN RETURN NULL; END IF; RETURN NEW;`),
    },
    'a rule that withholds the row': {
      state: WITHHELD_STATE,
      make: () => admin.query(`CREATE RULE forbid AS ON UPDATE TO ${TABLE} WHERE OLD.id = '${bad}' DO INSTEAD NOTHING`),
    },
  };

  for (const [name, { state, make }] of Object.entries(kinds)) {
    test(`${name}: all other rows are ticked at once, and the row is named`, async () => {
      try {
        await make();
        const before = await values(`SELECT ${VALUE} FROM ${TABLE} WHERE id = $1`, [bad]);
        const form = state === WITHHELD_STATE && !name.includes('rule') ? 'careful' : 'fast';
        const result = await tickAll(11, { form });
        assert.deepEqual(
          result.blocked.map((row) => [row.id, row.state]),
          [[bad, state]],
        );
        assert.deepEqual([result.rows, result.visible, result.missed, result.held], [ROWS - 1, ROWS, 1, 0]);
        assert.equal((await tick(11)).rows, 0, 'nobody gets the same tick twice');
        assert.deepEqual(await values(`SELECT ${VALUE} FROM ${TABLE} WHERE id = $1`, [bad]), before);
        const next = await tick(12, { form: 'over', leftOut: [bad] });
        // Postgres allows rules in no statement but the careful form's.
        if (!name.includes('rule')) assert.equal(next.gaveWay, null);
        assert.deepEqual([next.rows, next.visible, next.missed, next.checksum], [ROWS - 1, ROWS, 1, result.checksum]);
        const trial = await tickAll(13, { form: 'careful', onTrial: [bad] });
        assert.deepEqual([trial.rows, trial.blocked.map(({ id }) => id), trial.cleared], [ROWS - 1, [bad], []]);
        const slots = await values(`SELECT DISTINCT last_tick::int FROM scaler.slot ORDER BY 1`);
        assert.deepEqual(slots, [13], 'bad rows keep no slot back');
      } finally {
        await admin.query(
          `DROP TABLE ${TABLE} CASCADE; DROP FUNCTION IF EXISTS public.forbid; DROP TABLE IF EXISTS public.known; DROP DOMAIN IF EXISTS public.small`,
        );
      }
    });
  }

  test('a row on trial that can be written again is ticked and cleared, and so is one that is gone', async () => {
    const result = await tick(11, { form: 'careful', onTrial: [bad, '00000000-0000-4000-8000-000000000000'] });
    assert.deepEqual([result.rows, result.missed, result.blocked], [ROWS, 0, []]);
    assert.deepEqual([...result.cleared].sort(), ['00000000-0000-4000-8000-000000000000', bad].sort());
  });

  test('half of the rows bad: the other half is ticked', async () => {
    await trigger("IF ascii(NEW.id::text) % 2 = 0 THEN RAISE EXCEPTION 'even'; END IF; RETURN NEW;");
    const first = await tickAll(11);
    assert.equal(first.rows + first.missed, ROWS);
    const odd = (await values(`SELECT id FROM ${TABLE} WHERE ascii(id::text) % 2 = 1`)).length;
    const known = first.blocked.map(({ id }) => id);
    const second = await tickAll(12, { form: 'over', leftOut: known });
    assert.equal(second.rows, odd);
    known.push(...second.blocked.map(({ id }) => id));
    assert.equal(new Set(known).size, ROWS - odd);
    const third = await tick(13, { form: 'over', leftOut: known });
    assert.deepEqual([third.rows, third.missed, third.gaveWay], [odd, ROWS - odd, null]);
  });

  test('what forbids every update is no matter of rows: it is raised at once, and no row is blamed', async () => {
    await trigger("RAISE EXCEPTION 'maintenance';", 'BEFORE UPDATE ON $T FOR EACH STATEMENT');
    await assert.rejects(tick(11), /maintenance/);
    await assert.rejects(tick(11, { form: 'careful' }), /maintenance/);
    assert.deepEqual(await values('SELECT DISTINCT last_tick::int FROM scaler.slot'), [0]);
  });

  test('slots whose rows are left out are stamped, so that their worker does not look dead', async () => {
    const result = await tick(11, { form: 'over', leftOutSlots: ALL });
    assert.deepEqual([result.rows, result.missed, result.stamped > 0], [0, ROWS, true]);
    assert.equal((await tick(12, { form: 'careful', leftOutSlots: ALL })).missed, ROWS);
  });

  test('triggers run on the search path of the connection, as in a plain tick', async () => {
    await admin.query('CREATE TABLE public.seen_rows (id uuid)');
    await trigger('INSERT INTO seen_rows VALUES (NEW.id); RETURN NEW;');
    try {
      const result = await tick(11, { form: 'careful' });
      assert.deepEqual([result.rows, result.blocked], [ROWS, []]);
    } finally {
      await admin.query('DROP TABLE public.seen_rows');
    }
  });
});
