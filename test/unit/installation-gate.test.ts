import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { InstallationGate, readTag } from '../../shared/nats/installation-gate.ts';
import { recordLog } from '../support/nats-link.ts';

function makeGate(own: string | null) {
  const { log, lines } = recordLog();
  const gate = new InstallationGate(log, 'blue');
  const kinds: string[] = [];
  gate.onForeign((kind) => kinds.push(kind));
  if (own !== null) gate.become(own);
  return { gate, kinds, lines };
}

const from = (installation?: string) => (installation === undefined ? {} : { installation });

describe('InstallationGate', () => {
  test('lets through its own messages, and those of former versions, which carry no identity', () => {
    const { gate, kinds, lines } = makeGate('7/a/public.items');
    assert.equal(gate.admits('liveness', from('7/a/public.items')), true);
    assert.equal(gate.admits('liveness', from()), true);
    assert.deepEqual([kinds, lines], [[], []]);
  });

  test('lets everything through, and marks nothing, while its own identity is unknown', () => {
    const { gate } = makeGate(null);
    assert.equal(gate.admits('snapshot', from('8/b/public.items')), true);
    assert.deepEqual(gate.tag, {});
  });

  test('rejects and counts every message of another installation, and reports each installation once', () => {
    const { gate, kinds, lines } = makeGate('7/a/public.items');
    for (const other of ['8/b/public.items', '8/b/public.items', '8/c/public.items']) {
      assert.equal(gate.admits('snapshot', from(other)), false);
    }
    assert.deepEqual(kinds, ['snapshot', 'snapshot', 'snapshot']);
    assert.deepEqual(
      lines.map(({ own, foreign, prefix }) => [own, foreign, prefix]),
      [
        ['7/a/public.items', '8/b/public.items', 'blue'],
        ['7/a/public.items', '8/c/public.items', 'blue'],
      ],
    );
  });

  test('bounds the reports, since any client that may publish can invent identities', () => {
    const { gate, kinds, lines } = makeGate('7/a/public.items');
    for (let number = 0; number < 1_000; number += 1) gate.admits('applied', from(`${number}/x/y.z`));
    assert.deepEqual([kinds.length, lines.length <= 16], [1_000, true]);
  });

  test('goes on letting through an identity that this process had before', () => {
    const { gate } = makeGate('7/a/public.items');
    gate.become('9/a/public.items');
    assert.deepEqual(gate.tag, from('9/a/public.items'));
    assert.equal(gate.admits('liveness', from('7/a/public.items')), true);
    assert.equal(gate.admits('liveness', from('8/a/public.items')), false);
  });

  test('reads no identity from what is no message of ours', () => {
    for (const text of ['', 'garbage', '[]', '7', '{"installation":7}', `{"installation":"${'x'.repeat(2_000)}"}`]) {
      assert.deepEqual(readTag(new TextEncoder().encode(text)), {}, text.slice(0, 20));
    }
  });
});
