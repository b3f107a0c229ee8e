import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { connect, type NatsConnection } from 'nats';
import { eventually, ServiceProcess } from '../support/service-process.ts';
import { TestSystem } from '../support/test-system.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const SIGNALS = ['SIGTERM', 'SIGINT'] as const;
/** Libraries that a program loads, some early, some late. */
const PROGRAMS = {
  worker: ['yargs', 'pino', 'nats', 'pg', 'prom-client'],
  coordinator: ['yargs', 'pino', 'nats', 'pg', 'prom-client'],
  local: ['yargs', 'pino', 'pg'],
} as const;

describe('a signal while a program is being loaded', () => {
  for (const [program, libraries] of Object.entries(PROGRAMS)) {
    for (const signal of SIGNALS) {
      test(`${signal} ends the ${program} with 0 before it does anything, whatever it is loading`, async () => {
        for (const library of libraries) {
          const script = `services/${program}/main.ts`;
          const child = start([process.execPath, '--import', 'tsx', '--import', signalAt(library, signal), script], {});
          const output = readAll(child);
          assert.deepEqual(await once(child, 'close'), [0, null], `while ${library} was loaded: ${await output}`);
          assert.equal(await output, '');
        }
      });
    }
  }
});

describe('a service that runs', () => {
  test('takes a signal that comes twice at once for one, and a later one for impatience', async () => {
    const service = new ServiceProcess('test/support/slow-leaver.ts', [], {});
    try {
      await service.waitFor('its start', ({ msg }) => msg === 'alive');
      service.signal('SIGINT');
      service.signal('SIGTERM');
      await service.waitFor('the request', ({ msg }) => msg === 'asked to leave');
      for (let more = 0; more < 2; more += 1) {
        await service.waitFor('a sign of life after both', ({ msg }) => msg === 'alive', service.lines.length);
      }
      assert.equal(service.lines.filter(({ msg }) => msg === 'asked to leave').length, 1);
      const ended = service.end();
      let isOver = false;
      void ended.finally(() => {
        isOver = true;
      });
      await eventually('its end by the later signals', () => {
        service.signal('SIGTERM');
        return isOver;
      });
      assert.equal(await ended, 1);
    } finally {
      await service.kill();
    }
  });
});

/** As in a container: the images' entry point, with the sources in place of the compiled files. */
const ENTRY_POINTS = {
  worker: readEntryPoint('worker'),
  coordinator: readEntryPoint('coordinator'),
};
const DELAYS_MS = [0, 20, 50, 100, 200, 400, 800];
const NAMESPACE = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];

test('both images begin with tini, which passes signals on and also works where another process is number 1', () => {
  for (const [role, command] of Object.entries(ENTRY_POINTS)) {
    const node = ['node', '--enable-source-maps', `dist/services/${role}/main.js`];
    assert.deepEqual(command, ['/usr/bin/tini', '-s', '-e', '143', '-e', '130', '--', ...node]);
  }
});

describe('a signal to process 1 of a container', { skip: whyNoContainer() }, () => {
  let system: TestSystem;
  let nats: NatsConnection;

  before(async () => {
    system = await TestSystem.start();
    nats = await connect({ servers: system.natsUrl });
    const coordinator = system.coordinator('c-0');
    await coordinator.waitFor('its term', ({ msg }) => msg?.startsWith('leading') === true);
  });
  after(async () => {
    await nats.close();
    await system.stop();
  });

  for (const role of ['worker', 'coordinator'] as const) {
    for (const signal of SIGNALS) {
      for (const ms of DELAYS_MS) {
        test(`${signal} ${ms} ms after its start: the ${role} ends with 0, and no worker's key is left`, async () => {
          const id = `${role}-${signal.toLowerCase()}-${ms}`;
          const child = start([...NAMESPACE, ...sourcesOf(ENTRY_POINTS[role])], {
            ...system.environment,
            WORKER_ID: id,
            COORDINATOR_ID: id,
          });
          const output = readAll(child);
          const ended = once(child, 'close');
          try {
            const first = await eventually(
              'process 1',
              () => findFirst(child.pid!),
              () => 'unshare or tini failed',
            );
            await wait(ms);
            process.kill(first, signal);
            const late = wait(30_000, 'still running' as const, { ref: false });
            const end = await Promise.race([ended, late]);
            assert.deepEqual(end, [0, null], end === 'still running' ? end : await output);
          } finally {
            child.kill('SIGKILL');
            await ended;
          }
          const bucket = await nats.jetstream().views.kv(`${system.prefix}_workers`);
          const entry = await bucket.get(id);
          assert.ok(entry === null || entry.operation !== 'PUT', `${entry?.string()}`);
        });
      }
    }
  }
});

/**
 * Null until process 1 is there and has started its own child. Tini catches signals before that; in the millisecond between
 * its own start and then, no init could.
 */
function findFirst(unshare: number): number | null {
  const [first] = childrenOf(unshare);
  if (first === undefined) return null;
  const command = readFileSync(`/proc/${first}/cmdline`, 'utf8');
  if (command === '' || command.startsWith('unshare')) return null;
  return command.includes('tini') && childrenOf(first).length === 0 ? null : first;
}

function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return text === '' ? [] : text.split(' ').map(Number);
  } catch {
    return [];
  }
}

function whyNoContainer(): string | false {
  if (!existsSync('/usr/bin/tini')) return 'NOT TESTED: /usr/bin/tini is missing (apt-get install tini)';
  const { status } = spawnSync(NAMESPACE[0] ?? '', [...NAMESPACE.slice(1), 'true']);
  return status === 0 ? false : 'NOT TESTED: unshare --pid is not possible here (it needs Linux and root)';
}

function readEntryPoint(role: string): string[] {
  const text = readFileSync(resolve(ROOT, `Dockerfile.${role}`), 'utf8');
  return JSON.parse(/^ENTRYPOINT (.*)$/m.exec(text)?.[1] ?? '[]');
}

function sourcesOf(command: readonly string[]): string[] {
  return command.flatMap((word) => {
    if (word === 'node') return [process.execPath, '--import', 'tsx'];
    return [word.replace(/^dist\/(.*)\.js$/, '$1.ts')];
  });
}

/** A module that lets Node signal itself when it comes to load that library. */
function signalAt(library: string, signal: NodeJS.Signals): string {
  const asUrl = (code: string) => `data:text/javascript,${encodeURIComponent(code)}`;
  const hooks = asUrl(`export function resolve(specifier, context, next) {
    if (specifier === '${library}') process.kill(process.pid, '${signal}');
    return next(specifier, context);
  }`);
  return asUrl(`import { register } from 'node:module'; register('${hooks.replaceAll("'", '%27')}');`);
}

function start(command: readonly string[], environment: Readonly<Record<string, string>>): ChildProcess {
  const [program = '', ...args] = command;
  const { PATH, HOME } = process.env;
  const env = { PATH, HOME, LOG_FORMAT: 'json', HTTP_PORT: '0', ...environment };
  return spawn(program, args, { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] });
}

async function readAll(child: ChildProcess): Promise<string> {
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (data) => (text += data));
  await once(child, 'close');
  return text;
}
