import assert from 'node:assert/strict';
import { test } from 'node:test';
import { coordinatorProgram } from '../../services/coordinator/options.ts';
import { toNatsSystemConnection } from '../../shared/options/nats-system.ts';
import { parseOptions } from '../../shared/options/program.ts';

const environment = { USER: 'ada', POD_NAME: 'pod-1' };

async function accept(args: readonly string[], more: Readonly<Record<string, string>> = {}) {
  const result = await parseOptions(coordinatorProgram, { args, environment: { ...environment, ...more } });
  if (result.kind !== 'values') throw new Error(`expected values, got ${result.text}`);
  return toNatsSystemConnection(result.values);
}

async function refuse(args: readonly string[]): Promise<string> {
  const result = await parseOptions(coordinatorProgram, { args, environment });
  if (result.kind !== 'refused') throw new Error(`expected a refusal, got ${result.kind}`);
  return result.text;
}

test('without servers for it there is no connection to the system account', async () => {
  assert.equal(await accept([]), null);
  assert.equal(await accept([], { NATS_SYSTEM_URL: '', NATS_SYSTEM_USER: '', NATS_SYSTEM_PASSWORD: '' }), null);
});

test('the login is in the address or beside it; TLS files and prefix are the main connection’s, its login is not', async () => {
  const main = ['--nats-user', 'app', '--nats-password', 'a', '--nats-ca', 'package.json', '--nats-prefix', 'blue'];
  const expected = { servers: ['nats://n:4222'], prefix: 'blue', caFile: 'package.json', user: 'sys', password: 's' };
  assert.deepEqual(await accept([...main, '--nats-system', 'nats://sys:s@n']), expected);
  const beside = { NATS_SYSTEM_URL: 'n', NATS_SYSTEM_USER: 'sys', NATS_SYSTEM_PASSWORD: 's' };
  assert.deepEqual(await accept(main, beside), expected);
  const { user, ...anonymous } = (await accept([...main, '--nats-system', 'n'])) ?? {};
  assert.deepEqual(
    [user, anonymous],
    [undefined, { servers: ['nats://n:4222'], prefix: 'blue', caFile: 'package.json' }],
  );
  const byCredentials = await accept(['--nats-creds', 'package.json', '--nats-system', 'nats://t@n']);
  assert.deepEqual(byCredentials, { servers: ['nats://n:4222'], prefix: '', token: 't' });
});

test('user and password come together, once, and only with servers; a password is never repeated', async () => {
  for (const [args, problem] of [
    [['--nats-system', 'n', '--nats-system-user', 'u'], /expected both or neither, got only --nats-system-user/],
    [['--nats-system', 'n', '--nats-system-password', 's3cret'], /got only --nats-system-password/],
    [['--nats-system-user', 'u', '--nats-system-password', 's3cret'], /expected --nats-system too/],
    [
      ['--nats-system', 'nats://a:s3cret@n', '--nats-system-user', 'u', '--nats-system-password', 's3cret'],
      /expected one way to log in, got 2/,
    ],
    [['--nats-system', 'http://a:s3cret@n'], /--nats-system: expected servers such as .*, got "http:\/\/\*\*\*@n"/],
  ] as const) {
    const text = await refuse(args);
    assert.match(text, /: one problem with the options/);
    assert.match(text, problem);
    assert.doesNotMatch(text, /s3cret/);
  }
});
