/** Runs the chart's tests, which need helm and kubernetes-validate on the PATH; SKIP_CHART=1 leaves them out, saying so. */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '..');
const FOLDER = 'test/chart';

process.exitCode = run();

function run(): number {
  if (process.env.SKIP_CHART === '1') {
    process.stderr.write('SKIP_CHART=1: the chart is NOT tested\n');
    return 0;
  }
  const missing = [
    ['helm', 'https://helm.sh/docs/intro/install, or go install helm.sh/helm/v3/cmd/helm@latest'],
    ['kubernetes-validate', 'pip install kubernetes-validate'],
  ].filter(([program = '']) => spawnSync(program, ['--help'], { stdio: 'ignore' }).error !== undefined);
  if (missing.length > 0) {
    for (const [program, way] of missing) process.stderr.write(`the chart's tests need ${program}: ${way}\n`);
    process.stderr.write('or set SKIP_CHART=1 to leave them out\n');
    return 1;
  }
  const files = readdirSync(join(ROOT, FOLDER)).filter((name) => name.endsWith('.test.ts'));
  const args = ['--import', 'tsx', '--test', ...files.sort().map((name) => join(FOLDER, name))];
  return spawnSync(process.execPath, args, { cwd: ROOT, stdio: 'inherit' }).status ?? 1;
}
