import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { renderText } from '../support/chart.ts';
import { RENDERINGS } from './renderings.ts';

/** The renderings against Kubernetes' own schemas. Needs PyPI's `kubernetes-validate` on the PATH. */
const VERSIONS = ['1.27', '1.28', '1.29', '1.30', '1.31', '1.32', '1.33', '1.34'];
/** Objects of operators: their schemas are not Kubernetes'. */
const FOREIGN = ['ScaledObject', 'PodMonitor'];

describe('every rendering is valid', () => {
  const folder = mkdtempSync(join(tmpdir(), 'notifi-chart-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  const files = Object.values(RENDERINGS).map((values, index) => {
    const path = join(folder, `${index}.yaml`);
    const own = parseAllDocuments(renderText(values)).filter((document) => {
      const object = document.toJS() as { kind: string } | null;
      return object !== null && !FOREIGN.includes(object.kind);
    });
    writeFileSync(path, own.map((document) => `---\n${document.toString()}`).join(''));
    return path;
  });

  for (const version of VERSIONS) {
    test(`for Kubernetes ${version}`, () => {
      const { error, status, stdout, stderr } = validate(['-k', version, '--strict', '--no-warn', ...files]);
      assert.equal(
        error,
        undefined,
        `${error?.message}: pip install kubernetes-validate, or SKIP_CHART=1 for no chart tests`,
      );
      assert.equal(status, 0, `${stdout}${stderr}`);
    });
  }

  test('and a field that does not exist would be found', () => {
    const path = join(folder, 'wrong.yaml');
    writeFileSync(path, renderText([]).replace('replicas: 3', 'replicsa: 3'));
    assert.notEqual(validate(['-k', '1.34', '--strict', path]).status, 0);
  });
});

function validate(args: readonly string[]) {
  return spawnSync('kubernetes-validate', [...args], { encoding: 'utf8' });
}
