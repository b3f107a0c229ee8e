import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  advanceRound,
  failIds,
  failTick,
  finishTick,
  forgetList,
  NO_ROUND,
  type RoundContext,
  type RoundState,
  receiveIds,
  roundWakeAtMs,
} from '../../services/worker/round.ts';
import type { TickResult } from '../../shared/postgres/tick-result.ts';
import { clockAt, kindsOf, makeTickResult } from '../support/machine-fixtures.ts';

/** The database shows second 1000 when the worker's clock shows 0. */
function context(nowMs: number, more: Partial<RoundContext> = {}): RoundContext {
  return {
    clock: clockAt(1_000_000),
    phaseMs: 200,
    chunkRows: 100,
    slots: [0, 1, 2, 3],
    lingering: [],
    expectedRows: 4,
    ring: 7,
    measuredMs: nowMs,
    nowMs,
    ...more,
  };
}

/** A worker whose last tick was 1000, with a list of ids that stands. */
const SETTLED: RoundState = { ...NO_ROUND, lastTick: 1_000, rows: 4, list: { key: '4:9', ids: ['x', 'y'] } };
const FOUR_ROWS: Partial<TickResult> = { stamped: 4, rows: 4, checksum: '9' };

function begin(state: RoundState, at: RoundContext): RoundState {
  return advanceRound(state, at).state;
}

function finish(
  state: RoundState,
  at: RoundContext,
  result: Partial<TickResult>,
  lane: 'round' | 'lingering' = 'round',
) {
  const tick = state.round?.tick ?? 0;
  return finishTick(state, { tick, slots: at.slots, result: makeTickResult(result) }, lane, at);
}

const ofRound = (tick: number) => ({ lane: 'round', tick, slots: [] }) as const;

describe('round: when it begins', () => {
  it('does nothing while the database’s clock is not measured', () => {
    const at = context(5_000, { clock: { samples: [] } });
    assert.deepEqual(advanceRound(NO_ROUND, at), { state: NO_ROUND, effects: [] });
    assert.equal(roundWakeAtMs(NO_ROUND, at), null);
  });

  it('DESIGN §5: picks the second of the database’s clock, in the worker’s own phase', () => {
    assert.equal(roundWakeAtMs(SETTLED, context(0)), 1_200);
    assert.deepEqual(advanceRound(SETTLED, context(1_199)), { state: SETTLED, effects: [] });
    const began = advanceRound(SETTLED, context(1_200));
    assert.deepEqual(began.effects, [{ kind: 'tick', lane: 'round', tick: 1_001, slots: [0, 1, 2, 3] }]);
    assert.equal(roundWakeAtMs(began.state, context(1_200)), null);
  });

  it('begins no second round of a number that is done or under way', () => {
    const began = begin(SETTLED, context(1_200));
    assert.deepEqual(advanceRound(began, context(1_900)).effects, []);
    const done = finish(began, context(1_300), FOUR_ROWS).state;
    assert.deepEqual(advanceRound(done, context(1_900)), { state: done, effects: [] });
  });

  it('asks Postgres also where it has no slots, so that a tick done proves that Postgres answers', () => {
    const began = advanceRound(SETTLED, context(1_200, { slots: [], expectedRows: 0 }));
    assert.deepEqual(began.effects, [{ kind: 'tick', lane: 'round', tick: 1_001, slots: [] }]);
  });

  it('DESIGN §5: a clock that stepped back by more than two ticks does not silence the rounds', () => {
    const late: RoundState = { ...SETTLED, lastTick: 1_004 };
    assert.deepEqual(advanceRound(late, context(2_200)).effects, []);
    assert.deepEqual(advanceRound({ ...late, lastTick: 1_005 }, context(2_200)).effects, [
      { kind: 'tick', lane: 'round', tick: 1_002, slots: [0, 1, 2, 3] },
    ]);
  });
});

describe('round: its number and its chunks', () => {
  it('DESIGN §5: cuts the slots into chunks of about chunkRows, one statement at a time, all of one number', () => {
    const at = context(1_200, { chunkRows: 100, expectedRows: 250 });
    const began = advanceRound(SETTLED, at);
    assert.deepEqual(began.effects, [{ kind: 'tick', lane: 'round', tick: 1_001, slots: [0] }]);
    const second = finish(began.state, context(2_500, { chunkRows: 100 }), { rows: 90 });
    assert.deepEqual(second.effects, [{ kind: 'tick', lane: 'round', tick: 1_001, slots: [1] }]);
    const third = finish(second.state, context(2_600), { rows: 80 });
    assert.deepEqual(third.effects, [{ kind: 'tick', lane: 'round', tick: 1_001, slots: [2, 3] }]);
    const done = finish(third.state, context(2_700), { rows: 80 });
    assert.deepEqual([done.state.round, done.state.lastTick, done.state.rows], [null, 1_001, 250]);
  });

  it('DESIGN §5: makes the chunks smaller where statements take long, and larger again up to chunkRows', () => {
    const slots = Array.from({ length: 600 }, (_, slot) => slot);
    const large = { chunkRows: 6_000, expectedRows: 60_000, slots };
    const chunksAfter = (msPerChunk: number, before: RoundState, tick: number) => {
      let state = begin({ ...before, lastTick: tick - 1 }, context((tick - 1_000) * 1_000 + 200, large));
      const chunks = state.round?.chunks.length ?? 0;
      for (let nowMs = (tick - 1_000) * 1_000 + 200; state.round !== null; ) {
        nowMs += msPerChunk;
        state = finish(state, context(nowMs, large), { rows: 60_000 / chunks }).state;
      }
      return { chunks, state };
    };
    const quick = chunksAfter(10, SETTLED, 1_001);
    const slow = chunksAfter(40, quick.state, 1_002);
    const slower = chunksAfter(40, slow.state, 1_003);
    const quickAgain = chunksAfter(2, chunksAfter(2, slower.state, 1_004).state, 1_005);
    assert.deepEqual([quick.chunks, slow.chunks], [10, 10]);
    assert.ok(slower.chunks > 15 && slower.chunks <= 30, `${slower.chunks} chunks`);
    assert.equal(quickAgain.chunks < slower.chunks, true);
  });

  it('makes no more chunks than slots, and chooses by the rows of the last round where the snapshot knows fewer', () => {
    const began = begin({ ...SETTLED, rows: 1_000_000 }, context(1_200));
    assert.deepEqual(
      began.round?.chunks.map(({ slots }) => slots),
      [[0], [1], [2], [3]],
    );
  });

  it('DESIGN §7: ticks the lingering slots first, and does not count their rows as its own', () => {
    const began = advanceRound(SETTLED, context(1_200, { lingering: [8, 9] }));
    assert.deepEqual(began.effects, [{ kind: 'tick', lane: 'lingering', tick: 1_001, slots: [8, 9] }]);
    const next = finish(began.state, context(1_210), { rows: 2, checksum: '5' }, 'lingering');
    assert.deepEqual(next.effects, [{ kind: 'tick', lane: 'round', tick: 1_001, slots: [0, 1, 2, 3] }]);
    const done = finish(next.state, context(1_220), FOUR_ROWS);
    assert.deepEqual([done.state.lastTick, done.state.rows], [1_001, 4]);
  });

  it('an answer of another round, or of the lane of gained slots, moves nothing', () => {
    const began = begin(SETTLED, context(1_200));
    const result = makeTickResult(FOUR_ROWS);
    for (const [tick, lane] of [
      [1_000, 'round'],
      [1_001, 'gained'],
    ] as const) {
      assert.deepEqual(finishTick(began, { tick, slots: [], result }, lane, context(1_210)), {
        state: began,
        effects: [],
      });
    }
    assert.deepEqual(failTick(began, ofRound(1_000), context(1_210)), began);
  });
});

describe('round: rows in trouble', () => {
  const many = { slots: [0, 1, 2, 3], expectedRows: 400 };
  const wide = { ...many, chunkRows: 2_000 };
  const HELD: Partial<TickResult> = { held: [1], rows: 3, visible: 4, checksum: '9', gaveWay: 'locks' };
  const BAD = { id: 'x', slot: 1, state: '23514', message: 'violates' };
  type Effects = ReturnType<typeof finish>['effects'];
  const sent = (effects: Effects) =>
    effects.flatMap((effect) => (effect.kind === 'tick' ? [[effect.lane, effect.form ?? 'fast', effect.slots]] : []));
  const ticks = (effects: Effects) => effects.flatMap((effect) => (effect.kind === 'tick' ? [effect] : []));
  /** A round of one chunk, done with that result. */
  const afterRound = (result: Partial<TickResult>, state = SETTLED) =>
    finish(begin(state, context(1_200, wide)), context(1_210, wide), result);
  const held = (state: RoundState, nowMs: number, result: Partial<TickResult>) =>
    finishTick(state, { tick: 1_001, slots: [1], result: makeTickResult(result) }, 'held', context(nowMs, wide));

  it('ends, and is reported, without slots that have a locked row; they are tried again within the second', () => {
    const ended = afterRound(HELD);
    assert.deepEqual(kindsOf(ended.effects), ['report'], 'watching');
    assert.deepEqual([ended.state.lastTick, ended.state.rows], [1_001, 4]);
    let state = ended.state;
    for (const atMs of [1_310, 1_510, 1_910]) {
      assert.equal(roundWakeAtMs(state, context(atMs)), atMs);
      assert.deepEqual(advanceRound(state, context(atMs - 1, wide)).effects, []);
      const retried = advanceRound(state, context(atMs, wide));
      assert.deepEqual(retried.effects, [{ kind: 'tick', lane: 'held', tick: 1_001, slots: [1], form: 'over' }]);
      state = held(retried.state, atMs, { held: [1] }).state;
    }
    assert.equal(roundWakeAtMs(state, context(1_920)), 2_080, 'the last chance comes before the next round');
    const last = advanceRound(state, context(2_080, wide));
    assert.deepEqual(last.effects, [
      { kind: 'tick', lane: 'held', tick: 1_001, slots: [1], form: 'over', isLast: true },
    ]);
    assert.equal(roundWakeAtMs(last.state, context(2_080)), 2_200);
    const missed = held(last.state, 2_085, { missed: 1, skipped: 1, skippedIds: ['x'] });
    assert.deepEqual(missed.effects, [{ kind: 'report', report: { kind: 'rows-missed', count: 1, skipped: 1 } }]);
  });

  it('tries nothing again once the slots have had their tick', () => {
    const retried = advanceRound(afterRound(HELD).state, context(1_310, wide));
    const done = held(retried.state, 1_312, { stamped: 1, rows: 1 });
    assert.equal(roundWakeAtMs(done.state, context(1_312)), 2_200);
  });

  it('a slow round leaves no time: held slots get their last chance before the next round’s statements', () => {
    const ended = finish(begin(SETTLED, context(1_200, wide)), context(2_350, wide), HELD);
    const next = advanceRound(ended.state, context(2_350, wide));
    assert.deepEqual(sent(next.effects), [
      ['held', 'over', [1]],
      ['round', 'fast', [0, 2, 3]],
    ]);
    assert.deepEqual(
      ticks(next.effects).map(({ tick, isLast }) => [tick, isLast ?? false]),
      [
        [1_001, true],
        [1_002, false],
      ],
    );
  });

  it('an attempt that is still under way when the next round begins is followed by a last chance', () => {
    const retried = advanceRound(afterRound(HELD).state, context(1_310, wide));
    const next = advanceRound(retried.state, context(2_200, wide));
    assert.deepEqual(
      ticks(next.effects).map(({ lane, isLast }) => [lane, isLast ?? false]),
      [
        ['held', true],
        ['round', false],
      ],
    );
  });

  it('a failed attempt is tried again', () => {
    const retried = advanceRound(afterRound(HELD).state, context(1_310, wide));
    const failed = failTick(retried.state, { lane: 'held', tick: 1_001, slots: [1] }, context(1_350, wide));
    assert.equal(roundWakeAtMs(failed, context(1_350)), 1_550);
  });

  it('slots that went to another worker are tried no more', () => {
    const retried = advanceRound(afterRound(HELD).state, context(1_310, { ...wide, slots: [0, 2, 3] }));
    assert.deepEqual(retried.effects, []);
  });

  it('keeps slots with trouble apart from the others for some rounds', () => {
    let { state } = afterRound(HELD);
    state = held(advanceRound(state, context(1_310, wide)).state, 1_312, { stamped: 1, rows: 1 }).state;
    for (const second of [1_002, 1_003, 1_004, 1_005]) {
      const nowMs = (second - 1_000) * 1_000 + 200;
      const began = advanceRound(state, context(nowMs, wide));
      assert.deepEqual(sent(began.effects), [['round', 'fast', second < 1_005 ? [0, 2, 3] : [0, 1, 2, 3]]]);
      const first = finish(began.state, context(nowMs + 5, wide), { rows: 3 });
      assert.deepEqual(sent(first.effects), second < 1_005 ? [['round', 'over', [1]]] : []);
      state = second < 1_005 ? finish(first.state, context(nowMs + 6, wide), { rows: 1 }).state : first.state;
    }
  });

  it('gives up waiting twice at most: the rest of the round, and some rounds after it, wait for no row', () => {
    let step = advanceRound(SETTLED, context(1_200, many));
    const forms = [];
    for (let chunk = 0; chunk < 4; chunk += 1) {
      forms.push(...ticks(step.effects).map(({ form }) => form ?? 'fast'));
      step = finish(step.state, context(1_300 + chunk, many), chunk < 2 ? { gaveWay: 'locks' } : {});
    }
    assert.deepEqual(forms, ['fast', 'fast', 'over', 'over']);
    const next = advanceRound(step.state, context(2_200, many));
    assert.deepEqual(sent(next.effects), [['round', 'over', [0]]]);
  });

  it('leaves a bad row out, tries it again when its pause is over, and longer pauses follow', () => {
    const found = afterRound({ rows: 3, visible: 4, checksum: '9', missed: 1, blocked: [BAD], gaveWay: 'rows' });
    assert.deepEqual(found.effects.slice(0, 2), [
      {
        kind: 'report',
        report: { kind: 'blocked-rows', begun: [{ id: 'x', reason: 'constraint', message: 'violates' }], ended: [] },
      },
      { kind: 'report', report: { kind: 'rows-missed', count: 1, skipped: 0 } },
    ]);
    let { state } = found;
    const trials: number[] = [];
    for (let second = 1_002; second < 1_020; second += 1) {
      const nowMs = (second - 1_000) * 1_000 + 211;
      const began = advanceRound(state, context(nowMs, wide));
      assert.deepEqual(sent(began.effects), [['round', 'fast', [0, 2, 3]]]);
      const own = finish(began.state, context(nowMs, wide), { rows: 3 });
      const [tick] = ticks(own.effects);
      const isTrial = tick?.onTrial !== undefined;
      assert.deepEqual(isTrial ? tick?.onTrial : tick?.leftOut, ['x']);
      assert.equal(tick?.form, isTrial ? 'careful' : 'over');
      if (isTrial) trials.push(second);
      state = finish(own.state, context(nowMs, wide), {
        missed: 1,
        visible: 1,
        ...(isTrial && { blocked: [BAD] }),
      }).state;
    }
    assert.deepEqual(trials, [1_002, 1_004, 1_008, 1_016]);
    const began = begin(state, context(20_211, wide));
    const own = finish(began, context(20_211, wide), { rows: 3 });
    const cleared = finish(own.state, context(20_212, wide), { rows: 1, cleared: ['x'] });
    assert.deepEqual(cleared.effects[0], { kind: 'report', report: { kind: 'blocked-rows', begun: [], ended: ['x'] } });
  });

  it('looks for rows that a trigger withholds: the list that stands has more ids than the statements returned', () => {
    const list = { key: '3:9', ids: ['x', 'y', 'z', 'withheld'] };
    const ended = afterRound({ rows: 3, checksum: '9' }, { ...SETTLED, list });
    const next = advanceRound(ended.state, context(2_200, wide));
    assert.deepEqual(sent(next.effects), [['round', 'careful', [0, 1, 2, 3]]]);
    const after = finish(next.state, context(2_210, wide), {
      rows: 3,
      visible: 4,
      missed: 1,
      blocked: [{ ...BAD, state: 'NSW01' }],
    });
    assert.deepEqual(sent(advanceRound(after.state, context(3_200, wide)).effects), [['round', 'fast', [0, 2, 3]]]);
  });

  it('passes over a lingering slot with trouble, and remembers that of slots just gained', () => {
    const gained = finishTick(
      SETTLED,
      { tick: 1_000, slots: [9], result: makeTickResult({ undecided: [9], undecidedRows: [1] }) },
      'gained',
      context(300),
    );
    const began = advanceRound(gained.state, context(1_200, { lingering: [8, 9] }));
    assert.deepEqual(sent(began.effects), [['lingering', 'over', [8, 9]]]);
    const own = finish(began.state, context(1_210), {}, 'lingering');
    assert.deepEqual(sent(own.effects), [['round', 'fast', [0, 1, 2, 3]]]);
  });

  it('a wait for a lock does not make chunks smaller: it says nothing of how long a row takes', () => {
    const large = { chunkRows: 6_000, expectedRows: 6_000 };
    const step = finish(begin(SETTLED, context(1_200, large)), context(1_900, large), {
      rows: 5_999,
      gaveWay: 'locks',
    });
    assert.equal(step.state.msPerRow, null);
  });
});

describe('round: missed seconds', () => {
  const asking = { lane: 'round', slots: [0, 1, 2, 3], withBefore: true } as const;

  it('DESIGN §5: seconds that nobody began are never caught up; the fence is asked what was missed', () => {
    const began = advanceRound(SETTLED, context(4_250));
    assert.deepEqual(began.effects, [{ kind: 'tick', tick: 1_004, ...asking }]);
  });

  it('a slow round keeps its number; the seconds it ran over are missed', () => {
    const began = begin(SETTLED, context(1_200));
    const done = finish(began, context(3_250), FOUR_ROWS);
    assert.equal(done.state.lastTick, 1_001);
    const next = advanceRound(done.state, context(3_250));
    assert.deepEqual(next.effects, [{ kind: 'tick', tick: 1_003, ...asking }]);
  });

  it('tries a failed statement again under the same number, waiting longer each time', () => {
    let state = begin(SETTLED, context(1_200));
    let nowMs = 1_200;
    for (const delayMs of [50, 100, 200, 400]) {
      state = failTick(state, ofRound(1_001), context(nowMs));
      assert.equal(roundWakeAtMs(state, context(nowMs)), nowMs + delayMs);
      assert.deepEqual(advanceRound(state, context(nowMs + delayMs - 1)).effects, []);
      nowMs += delayMs;
      const retried = advanceRound(state, context(nowMs));
      assert.deepEqual(retried.effects, [{ kind: 'tick', lane: 'round', tick: 1_001, slots: [0, 1, 2, 3] }]);
      state = retried.state;
    }
  });

  it('a failed round whose second is over is given up, and the second that it is begins', () => {
    const failed = failTick(begin(SETTLED, context(1_200)), ofRound(1_001), context(2_190));
    const next = advanceRound(failed, context(2_240));
    assert.deepEqual(next.effects, [{ kind: 'tick', tick: 1_002, ...asking }]);
    assert.equal(next.state.lastTick, 1_000);
  });

  it('asks nothing before its first round, unless it took slots over that have not been ticked since', () => {
    const asks = (state: RoundState, more: Partial<RoundContext>) =>
      advanceRound(state, context(1_200, more)).effects.some((effect) => 'withBefore' in effect);
    assert.deepEqual([asks(NO_ROUND, {}), asks(SETTLED, {})], [false, false]);
    assert.deepEqual([asks(NO_ROUND, { hasUncounted: true }), asks(SETTLED, { hasUncounted: true })], [true, true]);
  });
});

describe('round: the list of ids', () => {
  const done = () => finish(begin(SETTLED, context(1_200)), context(1_210), FOUR_ROWS);

  it('DESIGN §5: while count and checksum stand the ids are not read again', () => {
    assert.deepEqual(done().effects, [
      {
        kind: 'report',
        report: { kind: 'watching', tick: 1_001, ring: 7, ids: ['x', 'y'], isChanged: false, tookMs: 10 },
      },
    ]);
  });

  it('reads the ids when the count or the checksum changes, then tells of them', () => {
    for (const result of [
      { rows: 5, checksum: '9' },
      { rows: 4, checksum: '8' },
    ]) {
      const step = finish(begin(SETTLED, context(1_200)), context(1_210), result);
      assert.deepEqual(step.effects, [{ kind: 'read-ids', tick: 1_001, slots: [0, 1, 2, 3] }]);
      const read = receiveIds(step.state, { tick: 1_001, ids: ['x', 'z'] }, context(1_230));
      assert.deepEqual(read.effects, [
        {
          kind: 'report',
          report: { kind: 'watching', tick: 1_001, ring: 7, ids: ['x', 'z'], isChanged: true, tookMs: 30 },
        },
      ]);
      assert.deepEqual(read.state.list, { key: `${result.rows}:${result.checksum}`, ids: ['x', 'z'] });
      assert.equal(read.state.listing, null);
    }
  });

  it('adds up the checksums of all chunks', () => {
    const at = context(1_200, { chunkRows: 2 });
    const half = finish(begin(SETTLED, at), at, { rows: 2, checksum: '12' });
    const whole = finish(half.state, at, { rows: 2, checksum: '5' });
    assert.deepEqual(kindsOf(whole.effects), ['report'], '12 xor 5 is 9, as before');
  });

  it('reads the ids anew after the slice changed, and after a read that failed', () => {
    const forgotten = finish(begin(forgetList(SETTLED), context(1_200)), context(1_210), FOUR_ROWS);
    assert.deepEqual(kindsOf(forgotten.effects), ['read-ids']);
    const failed = failIds(forgotten.state, 1_001);
    assert.deepEqual([failed.listing, failed.list], [null, null]);
    const next = finish(begin(failed, context(2_200)), context(2_210), FOUR_ROWS);
    assert.deepEqual(kindsOf(next.effects), ['read-ids']);
  });

  it('an answer that nobody waits for changes nothing', () => {
    assert.deepEqual(receiveIds(SETTLED, { tick: 1_000, ids: ['z'] }, context(5)), { state: SETTLED, effects: [] });
  });

  it('counts rows whose value is NULL or the largest integer, and names them once', () => {
    const unable = { ...FOUR_ROWS, exhausted: ['-n', 'x'], exhaustedCount: 12, nullCount: 5 };
    const first = finish(begin(SETTLED, context(1_200)), context(1_210), unable);
    const reports = first.effects.flatMap((effect) => (effect.kind === 'report' ? [effect.report] : []));
    const begun = reports.flatMap((report) => (report.kind === 'blocked-rows' ? report.begun : []));
    assert.deepEqual(
      begun.map(({ id, reason }) => [id, reason]),
      [
        ['n', 'null'],
        ['x', 'exhausted'],
      ],
    );
    const counts = reports.flatMap((report) => (report.kind === 'blocked-counted' ? [report.counts] : []));
    assert.deepEqual([counts[0]?.null, counts[0]?.exhausted, counts[0]?.locked], [5, 7, 0]);
    const second = finish(begin(first.state, context(2_200)), context(2_210), unable);
    assert.deepEqual(kindsOf(second.effects), ['report', 'report'], 'the counts, and watching');
    const third = finish(begin(second.state, context(3_200)), context(3_210), FOUR_ROWS);
    assert.deepEqual(third.effects[0], {
      kind: 'report',
      report: { kind: 'blocked-rows', begun: [], ended: ['n', 'x'] },
    });
  });
});

describe('round: slots ahead of the database’s clock', () => {
  it('DESIGN §5: re-bases slots that have lain ahead for two seconds, and not sooner', () => {
    let state = SETTLED;
    for (const [nowMs, expected] of [
      [1_200, []],
      [2_200, []],
      [3_199, []],
      [3_200, [{ kind: 'rebase', slots: [2] }]],
      [4_200, []],
    ] as const) {
      const began = begin(state, context(nowMs));
      if (began.round === null) continue;
      const step = finish(began, context(nowMs), { ...FOUR_ROWS, ahead: [2] });
      assert.deepEqual(
        step.effects.filter(({ kind }) => kind === 'rebase'),
        expected,
      );
      state = step.state;
    }
    assert.equal(state.lastTick, 1_004);
  });

  it('DESIGN §5: re-bases nothing before the database’s clock was measured again since the slots lay ahead', () => {
    let state = SETTLED;
    const asked: number[] = [];
    for (const [nowMs, measuredMs] of [
      [1_200, 1_100],
      [2_200, 1_199],
      [3_200, 1_199],
      [4_200, 1_199],
      [5_200, 4_500],
    ] as const) {
      const step = finish(begin(state, context(nowMs)), context(nowMs, { measuredMs }), { ...FOUR_ROWS, ahead: [2] });
      if (kindsOf(step.effects).includes('rebase')) asked.push(nowMs);
      state = step.state;
    }
    assert.deepEqual(asked, [5_200]);
  });

  it('one round without any slot ahead starts the two seconds anew', () => {
    let state = SETTLED;
    for (const [nowMs, ahead] of [
      [1_200, [2]],
      [2_200, []],
      [3_200, [2]],
      [4_200, [2]],
    ] as const) {
      const step = finish(begin(state, context(nowMs)), context(nowMs), { ...FOUR_ROWS, ahead });
      assert.deepEqual(kindsOf(step.effects), ['report']);
      state = step.state;
    }
    assert.equal(state.aheadSinceMs, 3_200);
  });
});
