import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { adoptTable } from '../../shared/postgres/adoption.ts';
import { connectPostgres } from '../../shared/postgres/connection.ts';
import { parseTableNames, quoteTable } from '../../shared/postgres/table.ts';
import { findObject, type KubernetesObject, podOf, renderValues } from '../support/chart.ts';
import { freshDatabase, recordingLog, sharedPostgres, type TestDatabase } from '../support/postgres-server.ts';
import { ACCEPTED, type GivenNames, REFUSED, withDefaults } from '../support/table-names.ts';

/** The chart makes the table before any service runs: both must mean the same table by the same values. */
describe('names of the table and its columns', () => {
  let server: { url: string };
  before(async () => {
    server = await sharedPostgres();
  });

  for (const [what, { given, names, isSql }] of Object.entries(ACCEPTED)) {
    describe(what, () => {
      let database: TestDatabase;
      let client: pg.Client;
      let objects: KubernetesObject[];

      before(async () => {
        objects = renderValues({ config: given, postgres: { initialRows: 7 } });
        database = await freshDatabase(server.url);
        client = new pg.Client({ connectionString: database.url });
        await client.connect();
      });
      after(async () => {
        await client?.end();
        await database?.drop();
      });

      test('reach worker and coordinator as they were given', () => {
        for (const service of ['worker', 'coordinator']) assert.deepEqual(namesInside(objects, service), given);
      });

      test('name the one table that a new database gets, which the coordinator then adopts with its rows', async () => {
        await client.query(initialSql(objects));
        assert.deepEqual(await tablesOf(client), [[names.schema, names.table]]);
        const { log } = recordingLog();
        const link = await connectPostgres({ connectionString: database.url, applicationName: 'test' }, { log });
        try {
          const inside = parseTableNames(namesInside(objects, 'coordinator'));
          await adoptTable(link, { names: inside, slots: 16, log });
        } finally {
          await link.close();
        }
        assert.deepEqual(await tablesOf(client), [[names.schema, names.table]]);
        const { rows } = await client.query(`SELECT * FROM ${quoteTable(names)}`);
        assert.equal(rows.length, 7);
        assert.deepEqual(Object.keys(rows[0]).sort(), [names.id, names.value, names.worker].sort());
      });

      if (isSql) {
        test('mean the same to SQL itself, as typed into psql', async () => {
          const { table, idColumn, valueColumn, workerColumn } = given;
          await client.query(`SELECT ${idColumn}, ${valueColumn} FROM ${table} ORDER BY ${workerColumn}`);
        });
      }
    });
  }

  for (const wrong of REFUSED) {
    test(`${JSON.stringify(wrong)} is refused by name`, () => {
      const [key = ''] = Object.keys(wrong);
      assert.throws(() => renderValues({ config: withDefaults(wrong) }), new RegExp(`config.*${key}|columns`, 's'));
    });
  }

  test('a schema that no database lets be made is refused, where the chart brings the database', () => {
    const config = { table: 'PG_mine.items' };
    assert.throws(() => renderValues({ config }), /config\.table: expected another schema than pg_mine/);
    const external = { url: 'postgres://elsewhere:5432/shop', existingSecret: 'my-db' };
    renderValues({ config, postgres: { enabled: false, external } });
  });
});

/** As the processes in a service's container read them. */
function namesInside(objects: readonly KubernetesObject[], service: string): GivenNames {
  const [container] = podOf(objects, `Deployment/r-${service}`).containers;
  const read = (variable: string) => expand(container?.env?.find(({ name }) => name === variable)?.value ?? '');
  return {
    table: read('TABLE'),
    idColumn: read('ID_COLUMN'),
    valueColumn: read('VALUE_COLUMN'),
    workerColumn: read('WORKER_COLUMN'),
  };
}

/** What the kubelet makes of an env value: `$(NAME)` is replaced, `$$` is a dollar. */
function expand(value: string): string {
  return value.replace(/\$\$|\$\(([^)]*)\)/g, (found) => (found === '$$' ? '$' : '(replaced)'));
}

function initialSql(objects: readonly KubernetesObject[]): string {
  const { data } = findObject(objects, 'ConfigMap', 'r-postgres-init') as unknown as { data: Record<string, string> };
  return data['rows.sql'] ?? '';
}

/** Schema and name of each table, ours in `scaler` apart. */
async function tablesOf(client: pg.Client): Promise<string[][]> {
  const { rows } = await client.query({
    text: `SELECT schemaname, tablename FROM pg_tables
      WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'scaler') ORDER BY 1, 2`,
    rowMode: 'array',
  });
  return rows;
}
