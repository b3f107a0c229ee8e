/**
 * Runs the tests with one NATS and one Postgres for all files: those of TEST_NATS_URL and TEST_DATABASE_URL, else
 * containers where a Docker engine answers, else the embedded ones. Prints which.
 *
 *   npm test                                   everything
 *   npm test -- test/unit/round.test.ts        some files
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { takeServers } from './support/take-servers.ts';

const SUITES = ['test/unit', 'test/simulation', 'test/integration'];
const ROOT = resolve(import.meta.dirname, '..');
/** A test that hangs is ended, and fails, after this. */
const LIMIT_MS = 480_000;

const asked = process.argv.slice(2);
const files = asked.length > 0 ? asked : SUITES.flatMap(listTests);
if (files.length === 0) throw new Error(`no test file in ${SUITES.join(', ')}`);
process.exitCode = await runTests();

function listTests(folder: string): string[] {
  const names = readdirSync(join(ROOT, folder)).filter((name) => name.endsWith('.test.ts'));
  return names.sort().map((name) => join(folder, name));
}

async function runTests(): Promise<number> {
  const servers = await takeServers((line) => process.stderr.write(`${line}\n`));
  try {
    const flags = ['--import', 'tsx', '--test', `--test-timeout=${LIMIT_MS}`, '--test-concurrency=2'];
    const environment = { ...process.env, TEST_NATS_URL: servers.natsUrl, TEST_DATABASE_URL: servers.databaseUrl };
    const child = spawn(process.execPath, [...flags, ...files], { cwd: ROOT, stdio: 'inherit', env: environment });
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
    const [code] = await once(child, 'exit');
    return code ?? 1;
  } finally {
    await servers.stop();
  }
}
