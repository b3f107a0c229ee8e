import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseOptions } from '../../shared/options/program.ts';
import { type E2eOptions, e2eProgram } from '../e2e/options.ts';
import { parsePsqlTable } from '../e2e/psql-table.ts';
import { chooseSteps, STEP_NAMES } from '../e2e/steps.ts';

async function read(args: string[]): Promise<E2eOptions> {
  const result = await parseOptions(e2eProgram, { args, environment: {} });
  if (result.kind !== 'values') throw new Error(JSON.stringify(result));
  return result.values;
}

async function choose(args: string[]): Promise<string[]> {
  return chooseSteps(await read(args)).map(({ name }) => name);
}

test('without options every step is walked, in its order', async () => {
  assert.deepEqual(await choose([]), STEP_NAMES);
});

test('chosen steps come after the installation that they need, in their own order', async () => {
  assert.deepEqual(await choose(['--only', 'kill, scale']), ['install', 'scale', 'kill']);
  assert.deepEqual(
    await choose(['--skip', 'install,nats-cluster']),
    STEP_NAMES.filter((name) => name !== 'nats-cluster'),
  );
});

test('an unknown step, a bad name and an unknown option are refused at once', async () => {
  const args = ['--only', 'scales', '--namespace', 'E2E', '--keeep'];
  const result = await parseOptions(e2eProgram, { args, environment: {} });
  if (result.kind !== 'refused') throw new Error(JSON.stringify(result));
  assert.match(result.text, /3 problems/);
  assert.match(result.text, /--only: expected some of install, upgrade, .* by comma, got "scales"/);
  assert.match(result.text, /Did you mean --keep\?/);
});

test('every example of --help is a command line that is accepted', async () => {
  for (const [command] of e2eProgram.examples) {
    const words = command.split(' ').slice(3);
    await read(words.filter((word) => word !== '--'));
  }
});

test('a table that psql prints is read back', () => {
  const text = [
    ' id | value | currentworker ',
    '----+-------+---------------',
    ' a1 |    12 | worker-1',
    ' a2 |    11 | ',
    '(2 rows)',
    '',
  ].join('\n');
  assert.deepEqual(parsePsqlTable(text), [
    { id: 'a1', value: '12', currentworker: 'worker-1' },
    { id: 'a2', value: '11', currentworker: '' },
  ]);
  assert.deepEqual(parsePsqlTable('ERROR:  relation does not exist'), []);
});
