import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { Registry } from 'prom-client';
import { makeCoordinatorMetrics } from '../../services/coordinator/metrics.ts';
import { coordinatorOptions } from '../../services/coordinator/options.ts';
import { localOptions } from '../../services/local/options.ts';
import { makeWorkerMetrics } from '../../services/worker/metrics.ts';
import { workerOptions } from '../../services/worker/options.ts';
import { describeDefault, type OptionTable } from '../../shared/options/options.ts';
import { VERSION } from '../../shared/process/version.ts';

const ROOT = resolve(import.meta.dirname, '../..');

test("the README's option tables say what the programs' --help says", () => {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
  assert.equal(tableUnder(readme, '### Worker — '), optionRows(workerOptions));
  assert.equal(tableUnder(readme, '### Coordinator — '), optionRows(coordinatorOptions));
  assert.equal(tableUnder(readme, '### Everything on one machine — '), optionRows(localOptions));
});

test('docs/metrics.md has a line for every metric, and for no other', async () => {
  const page = readFileSync(join(ROOT, 'docs/metrics.md'), 'utf8');
  assert.equal(tableUnder(page, '## Worker'), await metricRows(makeWorkerMetrics));
  assert.equal(tableUnder(page, '## Coordinator'), await metricRows(makeCoordinatorMetrics));
});

test('the version that services tell is the package’s', () => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  assert.equal(VERSION, version);
});

function optionRows(table: OptionTable): string {
  const rows = Object.values(table).map((one) => {
    const preset = one.isSwitch ? 'off' : (describeDefault(one) ?? 'none');
    return `| \`--${one.flag}\` | \`${one.variable}\` | ${preset} | ${one.describe} |`;
  });
  return rows.join('\n');
}

async function metricRows(make: (registry: Registry) => unknown): Promise<string> {
  const registry = new Registry();
  make(registry);
  const metrics = await registry.getMetricsAsJSON();
  return metrics.map(({ name, type, help }) => `| \`${name}\` | ${type} | ${help} |`).join('\n');
}

/** The rows below a heading's table head. */
function tableUnder(page: string, heading: string): string {
  const [, section = ''] = page.split(`\n${heading}`);
  const lines = section.split('\n');
  const start = lines.findIndex((line) => line.startsWith('|---'));
  const rows = lines.slice(start + 1);
  return rows
    .slice(
      0,
      rows.findIndex((line) => !line.startsWith('|')),
    )
    .join('\n');
}
