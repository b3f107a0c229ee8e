import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { removeMember } from '../../services/coordinator/member.ts';
import { receiveEntries, receiveRemoval } from '../../services/coordinator/membership.ts';
import type { ProbeAnswer } from '../../services/coordinator/protocol.ts';
import type { Evidence } from '../../shared/ring/snapshot.ts';
import { makeEntry, makeLiveness } from '../support/machine-fixtures.ts';
import { Members } from '../support/membership-fixture.ts';

const JOINED = [{ kind: 'joined', worker: 'a' }];
const PROBE = [{ kind: 'probe-worker', worker: 'a' }];
const NOBODY: ProbeAnswer = { kind: 'no-responders' };
const TIMEOUT: ProbeAnswer = { kind: 'timeout' };
const answer = (tick: number): ProbeAnswer => ({ kind: 'answered', value: makeLiveness('a', { tick }) });

/** `a` was evicted at 1 s, its value's tick at 100; `b` is there. */
function evicted(evidence: Evidence, ...others: readonly string[]): Members {
  const members = new Members('a', ...others);
  members.hear('a', 900, 100);
  evict(members, evidence, 1_000);
  return members;
}

function evict(members: Members, evidence: Evidence, nowMs: number): void {
  members.take(removeMember(members.state, 'a', { evidence, nowMs }));
}

/** Heard with another tick, probed, and found to tick. @returns when it was readmitted; null: it was not, by then. */
function returnsAt(members: Members, fromMs: number, untilMs: number): number | null {
  for (let nowMs = fromMs; nowMs <= untilMs; nowMs += 500) {
    if (members.hear('a', nowMs, nowMs).effects.length === 0) continue;
    if (members.probe('a', answer(nowMs), nowMs).changes.length > 0) return nowMs;
  }
  return null;
}

describe('membership: the return of an evicted worker', () => {
  for (const evidence of ['connection-closed', 'lease-expired', 'not-ticking'] as const) {
    it(`probes it when its key is put again, and readmits it by its own answer only (${evidence})`, () => {
      for (const silence of [NOBODY, TIMEOUT]) {
        const members = evicted(evidence, 'b');
        const heard = members.hear('a', 1_500, 101);
        assert.deepEqual([heard.effects, heard.changes], [PROBE, []]);
        assert.deepEqual(members.probe('a', silence, 1_501).changes, []);
        assert.deepEqual(members.hear('a', 1_600, 102).effects, [], 'four times a second at most');
        assert.deepEqual(members.hear('a', 2_000, 103).effects, PROBE);
        assert.deepEqual(members.hear('a', 2_000, 103).effects, [], 'one at a time');
        assert.deepEqual(members.probe('a', answer(103), 2_001).changes, JOINED);
        assert.equal(members.state.benched.size, 0);
      }
    });
  }

  it('also where its key is found in the bucket', () => {
    const members = evicted('connection-closed', 'b');
    const found = members.take(receiveEntries(members.state, [makeEntry('a', 20)], { startedMs: 1_500, nowMs: 1_501 }));
    assert.deepEqual([found.effects, found.changes], [PROBE, []]);
  });

  it('an answer that nobody asked for now, or of a worker that is leaving, readmits nobody', () => {
    const members = evicted('connection-closed', 'b');
    assert.deepEqual(members.probe('a', answer(101), 1_100).changes, []);
    members.hear('a', 1_500, 101);
    const leaving: ProbeAnswer = { kind: 'answered', value: makeLiveness('a', { state: 'leaving' }) };
    assert.deepEqual(members.probe('a', leaving, 1_501).changes, []);
  });

  it('one that did not tick must say another tick than it stood at, in its value and in its answer', () => {
    for (const moved of [101, 90]) {
      const members = evicted('not-ticking', 'b');
      assert.deepEqual(members.hear('a', 1_500, 100).effects, []);
      assert.deepEqual(members.hear('a', 2_000, moved).effects, PROBE);
      assert.deepEqual(members.probe('a', answer(100), 2_001).changes, [], 'somebody else moved the tick of its key');
      members.hear('a', 2_500, moved);
      assert.deepEqual(members.probe('a', answer(moved), 2_501).changes, JOINED);
    }
  });

  it('one that does not tick again soon after waits longer each time, five minutes at most', () => {
    const members = evicted('not-ticking', 'b');
    let nowMs = 1_000;
    const pauses: number[] = [];
    for (let turn = 0; turn < 8; turn += 1) {
      const backMs = returnsAt(members, nowMs, nowMs + 400_000);
      assert.ok(backMs !== null);
      pauses.push(backMs - nowMs);
      nowMs = backMs + 5_000;
      evict(members, 'not-ticking', nowMs);
    }
    assert.deepEqual(pauses, [0, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
  });

  it('one that ticked for a minute since is readmitted at once again', () => {
    const members = evicted('not-ticking', 'b');
    assert.equal(returnsAt(members, 1_500, 1_500), 1_500);
    evict(members, 'not-ticking', 61_500);
    assert.equal(returnsAt(members, 62_000, 62_000), 62_000);
  });

  it('one that the fence has seen ticking since is readmitted at once again; slots that it only gained prove nothing', () => {
    for (const [ticks, backMs] of [
      [[], 16_500],
      [[5], 16_500],
      [[5, 6, 7], 16_500],
      [[5, 6, 7, 8], 6_500],
    ] as const) {
      const members = evicted('not-ticking', 'b');
      returnsAt(members, 1_500, 1_500);
      ticks.forEach((tick, second) => void members.readFence(2_000 + 1_000 * second, { a: tick, b: tick }));
      evict(members, 'not-ticking', 6_500);
      assert.equal(returnsAt(members, 6_500, 20_000), backMs, `${ticks}`);
    }
  });

  it('DESIGN §3: where no other worker lives it waits for no pause, and for no answer where only its lease ended', () => {
    const lone = evicted('lease-expired');
    assert.deepEqual(lone.hear('a', 1_500, 101).changes, JOINED);
    const members = evicted('not-ticking', 'b');
    returnsAt(members, 1_500, 1_500);
    evict(members, 'not-ticking', 6_000);
    members.take(receiveRemoval(members.state, 'b', { revision: null, nowMs: 6_100 }));
    assert.equal(returnsAt(members, 6_500, 6_500), 6_500);
  });

  it('one that left by itself comes back as it likes', () => {
    for (const evidence of ['left', 'drained'] as const) {
      assert.deepEqual(evicted(evidence, 'b').hear('a', 1_500, 100).changes, JOINED);
    }
  });

  it('is forgotten when it has not been heard of for ten minutes', () => {
    const members = evicted('connection-closed', 'b');
    const read = (nowMs: number) => members.take(receiveEntries(members.state, [], { startedMs: nowMs, nowMs }));
    read(600_000);
    assert.equal(members.state.benched.size, 1);
    read(601_000);
    assert.equal(members.state.benched.size, 0);
  });
});
