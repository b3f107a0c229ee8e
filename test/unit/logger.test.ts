import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';

const LOGGER = new URL('../../shared/log/logger.ts', import.meta.url).href;

/** Runs a program that logs, as a process of its own, with its stdout on a pipe. */
async function run(body: string, options: { environment?: Record<string, string>; readAfterMs?: number } = {}) {
  const source = `import { makeLogger } from ${JSON.stringify(LOGGER)};
    const log = makeLogger({ level: 'info', base: { worker: 'worker-1' } });
    ${body}`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source], {
    env: { ...process.env, LOG_FORMAT: '', ...options.environment },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  await wait(options.readAfterMs ?? 0);
  let stdout = '';
  for await (const chunk of child.stdout) stdout += String(chunk);
  const [code] = await ended;
  return { stdout, code: code as number };
}

test('a line is one JSON object: level, time, who speaks, message, then the fields', async () => {
  const { stdout } = await run(`log.info({ tick: 7, ids: ['a', 'b'] }, 'watching');`);
  assert.equal(stdout.split('\n').length, 2);
  const line = JSON.parse(stdout);
  assert.deepEqual(Object.keys(line), ['level', 'time', 'worker', 'msg', 'tick', 'ids']);
  assert.equal(line.level, 'info');
  assert.equal(new Date(line.time).toISOString(), line.time);
  assert.deepEqual([line.worker, line.msg, line.tick, line.ids], ['worker-1', 'watching', 7, ['a', 'b']]);
});

test('however a line is logged, it is valid JSON with one message', async () => {
  const { stdout } = await run(`
    log.info('plain');
    log.info('%d of %s', 3, 'ten');
    log.info({ x: 1 }, '%d of %s', 3, 'ten');
    log.error(new Error('boom'), 'it failed');
    log.error(new Error('alone'));
    log.error({ err: new Error('boom'), y: 2 }, 'it failed too');
    log.warn({ msg: 'in the fields' }, 'given apart');
    log.child({ part: 'p' }).info({ z: null }, 'of a child');
    log.debug('below the level');`);
  const lines = stdout.trim().split('\n');
  for (const line of lines) assert.equal(line.match(/"msg":/g)?.length, 1, line);
  assert.deepEqual(
    lines.map((line) => JSON.parse(line).msg),
    ['plain', '3 of ten', '3 of ten', 'it failed', 'alone', 'it failed too', 'given apart', 'of a child'],
  );
  assert.equal(JSON.parse(lines[3]!).err.message, 'boom');
});

test('no line is lost at process.exit, even when the reader is slow', async () => {
  const body = `for (let i = 0; i < 20000; i++) log.info({ i, pad: 'x'.repeat(50) }, 'line'); process.exit(3);`;
  const { stdout, code } = await run(body, { readAfterMs: 1_500 });
  const lines = stdout.trim().split('\n');
  assert.equal(lines.length, 20_000);
  assert.equal(JSON.parse(lines.at(-1)!).i, 19_999);
  assert.equal(code, 3);
});

test('LOG_FORMAT=pretty gives lines for people, without colours where there is no terminal', async () => {
  const { stdout } = await run(`log.info({ tick: 7 }, 'watching');`, { environment: { LOG_FORMAT: 'pretty' } });
  assert.match(stdout, /^\[\d\d:\d\d:\d\d\.\d{3}\] INFO: worker-1: watching \{"tick":7\}\n$/);
});

test('a reader that stands still never makes the service wait: it goes on, and the lines come when they are read', async () => {
  const source = `import { makeLogger } from ${JSON.stringify(LOGGER)};
    const log = makeLogger({ level: 'info', base: { worker: 'worker-1' } });
    for (let i = 0; i < 100; i++) log.info({ i, pad: 'x'.repeat(10_000) }, 'line');
    process.stderr.write('still here');`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source], {
    env: { ...process.env, LOG_FORMAT: '' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  // Nothing of stdout is read before the program has got past a megabyte of lines: a pipe holds 64 kB.
  const [word] = await once(child.stderr, 'data');
  assert.equal(String(word), 'still here');
  let stdout = '';
  for await (const chunk of child.stdout) stdout += String(chunk);
  const numbers = stdout.trim().split('\n');
  assert.deepEqual(
    numbers.map((line) => JSON.parse(line).i),
    Array.from({ length: 100 }, (_, index) => index),
  );
});
