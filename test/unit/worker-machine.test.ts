import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { findUnready, livenessOf, startWorker, stepWorker } from '../../services/worker/machine.ts';
import type { WorkerEvent, WorkerReport } from '../../services/worker/protocol.ts';
import { SILENCE_MS } from '../../shared/machine/trouble.ts';
import type { TickResult } from '../../shared/postgres/tick-result.ts';
import {
  Harness,
  kindsOf,
  makeClaim,
  makeSnapshotOf,
  makeTickResult,
  makeWorkerConfig,
  type Shares,
} from '../support/machine-fixtures.ts';

/** The database shows second 1000 when the worker's clock shows 0. */
const DATABASE_MS = 1_000_000;

function fresh() {
  return new Harness(startWorker(makeWorkerConfig()), stepWorker);
}
type Machine = ReturnType<typeof fresh>;

function running(): Machine {
  const machine = fresh();
  machine.at(0, { kind: 'wake' });
  machine.at(0, { kind: 'identity-checked', outcome: 'free' });
  machine.at(0, { kind: 'issued-read', issued: { epoch: 1, version: null } });
  return machine;
}

const ring = (version: number, shares: Shares) => makeSnapshotOf({ epoch: 1, version }, shares);
const snapshot = (version: number, shares: Shares): WorkerEvent => ({
  kind: 'snapshot-received',
  snapshot: ring(version, shares),
});
const claimed = (version: number, slots: readonly number[], lastTick = 0): WorkerEvent => ({
  kind: 'claimed',
  order: { epoch: 1, version },
  result: makeClaim(slots, lastTick),
});

/** Answers the round's statement that the last step began. */
function finishRound(machine: Machine, nowMs: number, result: Partial<TickResult> = {}): void {
  const tick = machine.all('tick').find(({ lane }) => lane !== 'gained');
  assert.ok(tick, 'a statement is under way');
  machine.at(nowMs, { ...tick, kind: 'ticked', result: makeTickResult(result) });
}

/** A worker `a` that has slots 0 and 1 beside `b`, a round done and its key made. */
function registered(shares: Shares = { a: [0, 1], b: [2, 3] }): Machine {
  const machine = running();
  machine.at(1, { kind: 'newest-read', snapshot: ring(1, shares) });
  machine.at(2, claimed(1, shares.a ?? [], 999));
  machine.at(3, { kind: 'clock-measured', sentMs: 3, receivedMs: 3, serverMs: DATABASE_MS + 3 });
  finishRound(machine, 5, { rows: 2 });
  machine.at(6, { kind: 'renewed' });
  machine.at(7, { kind: 'ids-read', tick: machine.state.round.lastTick, ids: ['x', 'y'] });
  return machine;
}

function reports(machine: Machine): WorkerReport[] {
  return machine.all('report').map(({ report }) => report);
}

describe('worker: its identity', () => {
  it('asks whether its id is free before anything else', () => {
    const machine = fresh();
    assert.deepEqual(machine.at(0, { kind: 'wake' }), [{ kind: 'check-identity' }]);
    assert.equal(machine.wakeAtMs, SILENCE_MS, 'nothing but the silence of NATS is looked for');
    assert.deepEqual(kindsOf(machine.at(5, { kind: 'identity-checked', outcome: 'free' })), [
      'serve-probe',
      'measure-clock',
      'read-newest',
    ]);
  });

  it('stops with code 1 where another living process has its id', () => {
    const machine = fresh();
    machine.at(0, { kind: 'wake' });
    machine.at(5, { kind: 'identity-checked', outcome: 'held' });
    assert.deepEqual(kindsOf(machine.effects), ['stop']);
    assert.equal(machine.all('stop')[0]?.code, 1);
    assert.deepEqual([machine.at(6, { kind: 'wake' }), machine.wakeAtMs], [[], null]);

    const taken = registered();
    taken.at(510, { kind: 'renewal-taken' });
    assert.equal(taken.all('stop')[0]?.code, 1);
  });

  it('ends as soon as the fence names a later process of its id, in a claim or in any tick', () => {
    const order = { epoch: 1, version: 2 };
    const events: WorkerEvent[] = [
      { kind: 'claimed', order, result: { claimed: [], refused: [0], isSuperseded: true } },
      ...(['round', 'gained', 'lingering'] as const).map(
        (lane): WorkerEvent => ({
          kind: 'ticked',
          lane,
          tick: 1,
          slots: [0],
          result: makeTickResult({ lost: [0], isSuperseded: true }),
        }),
      ),
    ];
    for (const event of events) {
      const machine = registered();
      machine.at(510, event);
      assert.deepEqual(kindsOf(machine.effects), ['stop']);
      assert.deepEqual([machine.all('stop')[0]?.code, machine.state.stage], [1, 'stopped']);
    }
  });

  it('waits 250 ms and asks again while it is unclear', () => {
    const machine = fresh();
    machine.at(0, { kind: 'wake' });
    machine.at(5, { kind: 'identity-checked', outcome: 'unclear' });
    assert.deepEqual([reports(machine), machine.wakeAtMs], [[{ kind: 'identity-unclear' }], 255]);
    assert.deepEqual(machine.at(255, { kind: 'wake' }), [{ kind: 'check-identity' }]);
  });

  it('a snapshot that comes before the answer claims nothing', () => {
    const machine = fresh();
    machine.at(0, { kind: 'wake' });
    assert.deepEqual(kindsOf(machine.at(1, snapshot(1, { a: [0] }))), []);
  });
});

describe('worker: registering', () => {
  it('registers only when it has a clock, the newest snapshot and a first round behind it', () => {
    const machine = running();
    machine.at(1, { kind: 'clock-measured', sentMs: 1, receivedMs: 1, serverMs: DATABASE_MS + 1 });
    assert.deepEqual(machine.all('tick'), [{ kind: 'tick', lane: 'round', tick: 1_000, slots: [] }]);
    finishRound(machine, 3);
    assert.deepEqual(machine.all('renew'), [], 'the newest snapshot has not been read');
    machine.at(4, { kind: 'newest-read', snapshot: ring(1, { a: [0] }) });
    assert.deepEqual(machine.all('renew'), [], 'its slots have not been claimed');
    machine.at(6, claimed(1, [0]));
    assert.deepEqual(machine.all('renew'), [{ kind: 'renew', value: livenessOf(machine.state) }]);
    assert.equal(findUnready(machine.state, 6)?.reason, 'not registered yet');
    machine.at(8, { kind: 'renewed' });
    assert.deepEqual([reports(machine), findUnready(machine.state, 8)], [[{ kind: 'registered' }], null]);
  });

  it('DESIGN §4: the value carries the version applied, the last tick done, the rows and the state', () => {
    const { id, ring: version, tick, rows, state } = livenessOf(registered().state);
    assert.deepEqual([id, version, tick, rows, state], ['a', 1, 1_000, 2, 'active']);
  });
});

describe('worker: snapshots and the fence', () => {
  it('DESIGN §5: gained slots whose last tick is behind are ticked at once, the others are not', () => {
    const machine = registered();
    machine.at(300, snapshot(2, { a: [0, 1, 2, 3] }));
    assert.deepEqual(machine.all('claim'), [{ kind: 'claim', order: { epoch: 1, version: 2 }, slots: [2, 3] }]);
    const claims = [
      { slot: 2, lastTick: 999, isStanding: true },
      { slot: 3, lastTick: 1_000, isStanding: true },
    ];
    machine.at(305, { kind: 'claimed', order: { epoch: 1, version: 2 }, result: { claimed: claims, refused: [] } });
    assert.deepEqual(machine.all('tick'), [{ kind: 'tick', lane: 'gained', tick: 1_000, slots: [2] }]);
    const snapshotApplied = ring(2, { a: [0, 1, 2, 3] });
    assert.deepEqual(reports(machine), [
      { kind: 'ring-applied', snapshot: snapshotApplied, gained: 2, lost: 0, rows: 4, tookMs: 5 },
    ]);
  });

  it('ticks at once what a snapshot let it claim back from another, too', () => {
    const machine = registered();
    machine.at(200, {
      kind: 'ticked',
      lane: 'round',
      tick: 1_000,
      slots: [0, 1],
      result: makeTickResult({ lost: [1] }),
    });
    machine.at(300, snapshot(2, { a: [0, 1, 2] }));
    assert.deepEqual(machine.all('claim').at(-1)?.slots, [1, 2]);
    machine.at(305, claimed(2, [1, 2], 999));
    assert.deepEqual(machine.all('tick').at(-1), { kind: 'tick', lane: 'gained', tick: 1_000, slots: [1, 2] });
  });

  it('tells of a takeover once, when the first tick of what was behind is done, with the ticks an orphan missed', () => {
    const machine = registered();
    machine.at(300, snapshot(2, { a: [0, 1, 2, 3] }));
    machine.at(305, claimed(2, [2, 3], 997));
    assert.deepEqual(machine.all('tell-applied'), []);
    const [tick] = machine.all('tick');
    assert.ok(tick);
    const before = [
      { slot: 2, lastTick: 997, rows: 1 },
      { slot: 3, lastTick: 997, rows: 2 },
    ];
    machine.at(309, { ...tick, kind: 'ticked', result: makeTickResult({ stamped: 2, rows: 3, before }) });
    const order = { epoch: 1, version: 2 };
    const applied = { worker: 'a', ...order, claimedMs: 5, firstTickMs: 9, slots: 2, rows: 3, missed: 6 };
    assert.deepEqual(machine.all('tell-applied'), [{ kind: 'tell-applied', applied }]);
    assert.deepEqual(reports(machine), [{ kind: 'ticks-missed', missed: 6, rows: 3, seconds: 2 }]);
    machine.at(310, { ...tick, kind: 'ticked', result: makeTickResult() });
    assert.deepEqual(machine.all('tell-applied'), []);
  });

  it('tells of a takeover at once where nothing was behind, and not at all where it gained nothing', () => {
    const machine = registered();
    machine.at(300, snapshot(2, { a: [0, 1, 2], b: [3] }));
    machine.at(305, claimed(2, [2], 1_000));
    const [told] = machine.all('tell-applied');
    assert.deepEqual([told?.applied.claimedMs, told?.applied.firstTickMs], [5, null]);
    machine.at(400, snapshot(3, { a: [0, 1], b: [2, 3] }));
    machine.at(405, claimed(3, []));
    assert.deepEqual(machine.all('tell-applied'), []);
  });

  it('counts the time that a snapshot waited behind another’s claim', () => {
    const machine = registered();
    machine.at(300, snapshot(2, { a: [0, 1, 2], b: [3] }));
    machine.at(302, snapshot(3, { a: [0, 1, 2, 3] }));
    machine.at(310, claimed(2, [2], 1_000));
    machine.at(315, claimed(3, [3], 1_000));
    const [told] = machine.all('tell-applied');
    assert.deepEqual([told?.applied.version, told?.applied.claimedMs], [3, 13]);
  });

  it('tells of what a snapshot gave where the next, which waited, added nothing: also where another has the rest already', () => {
    const machine = registered();
    machine.at(300, snapshot(2, { a: [0, 1, 2, 3] }));
    machine.at(302, snapshot(3, { a: [0, 1, 2], b: [3] }));
    machine.at(310, claimed(2, [2, 3], 999));
    const [tick] = machine.all('tick');
    assert.deepEqual(tick?.slots, [2, 3]);
    machine.at(314, { ...tick, kind: 'ticked', result: makeTickResult({ stamped: 1, rows: 1, lost: [3] }) });
    const [told] = machine.all('tell-applied');
    const { version, slots, claimedMs, firstTickMs } = told?.applied ?? {};
    assert.deepEqual(
      { version, slots, claimedMs, firstTickMs },
      { version: 3, slots: 1, claimedMs: 10, firstTickMs: 14 },
    );
  });

  it('what is refused because the snapshot that waited gave it to another is no refusal', () => {
    const machine = registered();
    machine.at(300, snapshot(2, { a: [0, 1, 2, 3] }));
    machine.at(302, snapshot(3, { a: [0, 1, 2], b: [3] }));
    machine.at(310, { kind: 'claimed', order: { epoch: 1, version: 2 }, result: makeClaim([2], 1_000, [3]) });
    assert.deepEqual(machine.all('tell-applied')[0]?.applied.slots, 1);
    assert.deepEqual(
      [machine.all('read-newest'), machine.all('report').map(({ report }) => report.kind)],
      [[], ['ring-applied']],
    );
  });

  it('tells nothing of a takeover that was refused in part, lost slots at the first tick, or failed to tick', () => {
    const refused = registered();
    refused.at(300, snapshot(2, { a: [0, 1, 2, 3] }));
    refused.at(305, { kind: 'claimed', order: { epoch: 1, version: 2 }, result: makeClaim([2], 1_000, [3]) });
    assert.deepEqual([refused.all('tell-applied'), refused.state.takeover], [[], null]);
    for (const isLost of [true, false]) {
      const machine = registered();
      machine.at(300, snapshot(2, { a: [0, 1, 2, 3] }));
      machine.at(305, claimed(2, [2, 3], 997));
      const [tick] = machine.all('tick');
      assert.ok(tick);
      if (isLost) machine.at(309, { ...tick, kind: 'ticked', result: makeTickResult({ lost: [3] }) });
      else machine.at(309, { ...tick, kind: 'tick-failed', reason: 'away' });
      assert.deepEqual([machine.all('tell-applied'), machine.state.takeover], [[], null]);
    }
  });

  it('DESIGN §5: slots lost to a newer owner are never an error: claimed again, counted, the newest read', () => {
    const machine = registered();
    machine.at(1_000, { kind: 'wake' });
    finishRound(machine, 1_005, { lost: [1] });
    assert.deepEqual(machine.all('claim'), [{ kind: 'claim', order: { epoch: 1, version: 1 }, slots: [1] }]);
    assert.equal(machine.all('read-newest').length, 1);
    assert.deepEqual(reports(machine).at(-1), { kind: 'slots-lost', slots: [1], ring: 1 });
    const result = makeClaim([], 0, [1]);
    machine.at(1_010, { kind: 'claimed', order: { epoch: 1, version: 1 }, result });
    assert.deepEqual(reports(machine), [{ kind: 'claims-refused', slots: [1], ring: 1 }]);
    assert.equal(machine.all('read-newest').length, 1);
  });

  it('DESIGN §7: reads the newest every 5 s, at once after a reconnect, and soon after a read that failed', () => {
    const machine = registered();
    machine.at(10, { kind: 'reconnected' });
    assert.deepEqual(kindsOf(machine.effects), ['read-newest', 'renew']);
    machine.at(20, { kind: 'newest-failed' });
    assert.equal(
      machine.at(269, { kind: 'wake' }).some(({ kind }) => kind === 'read-newest'),
      false,
    );
    assert.equal(
      machine.at(270, { kind: 'wake' }).some(({ kind }) => kind === 'read-newest'),
      true,
    );
    machine.at(271, { kind: 'newest-read', snapshot: null });
    assert.equal(machine.state.newestRead.nextAtMs, 5_271);
  });

  it('slots claimed again after a dispute are ticked at once where they are behind', () => {
    const machine = registered();
    machine.at(1_000, { kind: 'wake' });
    finishRound(machine, 1_005, { lost: [1] });
    machine.at(1_010, claimed(1, [1], 1_000));
    assert.deepEqual(machine.all('tick'), [{ kind: 'tick', lane: 'gained', tick: 1_001, slots: [1] }]);
  });

  it('a snapshot applied in the step that gives up a failed claim is told of, and its ids are read anew', () => {
    const machine = registered();
    machine.at(100, snapshot(2, { a: [0, 1, 2], b: [3] }));
    machine.at(101, snapshot(3, { b: [0, 1, 2, 3] }));
    const order = { epoch: 1, version: 2 };
    machine.at(102, { kind: 'claim-failed', order, reason: 'away' });
    assert.equal(machine.state.slice.applied?.version, 3);
    assert.ok(reports(machine).some(({ kind }) => kind === 'ring-applied'));
    assert.equal(machine.state.round.list, null);
  });

  it('ids that were asked for before a newer question are not taken for its answer', () => {
    const machine = registered();
    machine.at(1_000, { kind: 'wake' });
    finishRound(machine, 1_005, { rows: 3, checksum: '7' });
    machine.at(2_000, { kind: 'wake' });
    finishRound(machine, 2_005, { rows: 4, checksum: '8' });
    machine.at(2_010, { kind: 'ids-read', tick: machine.state.round.lastTick - 1, ids: ['x', 'y', 'z'] });
    machine.at(2_020, { kind: 'ids-read', tick: machine.state.round.lastTick, ids: ['w', 'x', 'y', 'z'] });
    assert.deepEqual(machine.state.round.list, { key: '4:8', ids: ['w', 'x', 'y', 'z'] });
  });
});

describe('worker: a clock that the fence contradicts', () => {
  /** The second that the database shows after a pause of eight seconds, one second after the registration. */
  const NOW = DATABASE_MS / 1_000 + 9;

  it('measures its clock at once when slots lie ahead of its ticks', () => {
    const machine = registered();
    machine.at(1_000, { kind: 'wake' });
    assert.deepEqual(machine.all('measure-clock'), []);
    finishRound(machine, 1_005, { ahead: [0] });
    assert.equal(machine.all('measure-clock').length, 1);
    machine.at(1_010, { kind: 'clock-measured', sentMs: 1_005, receivedMs: 1_010, serverMs: DATABASE_MS + 9_010 });
    assert.deepEqual(
      machine.all('tick').map(({ tick }) => tick),
      [NOW],
    );
  });

  it('measures its clock at once when it claims slots that lie ahead of it', () => {
    const machine = registered();
    machine.at(300, snapshot(2, { a: [0, 1, 2] }));
    machine.at(305, claimed(2, [2], NOW));
    assert.equal(machine.all('measure-clock').length, 1);
  });

  it('begins no tick after one that was refused as early, until its clock is measured', () => {
    const machine = registered();
    machine.at(1_000, { kind: 'wake' });
    finishRound(machine, 1_005, { isEarly: true });
    assert.deepEqual(
      [machine.all('measure-clock').length, reports(machine)],
      [1, [{ kind: 'tick-early', tick: 1_001 }]],
    );
    assert.equal(machine.state.round.lastTick, 1_000);
    assert.deepEqual(machine.at(2_500, { kind: 'wake' }), []);
    machine.at(2_510, { kind: 'clock-failed' });
    machine.at(2_760, { kind: 'wake' });
    assert.equal(machine.all('measure-clock').length, 1);
    machine.at(2_770, { kind: 'clock-measured', sentMs: 2_760, receivedMs: 2_770, serverMs: DATABASE_MS - 7_235 });
    assert.deepEqual(
      machine.all('tick').map(({ tick }) => tick),
      [992],
    );
  });

  it('goes on at once with the database’s second after a refused tick, also where its clock stepped back by little', () => {
    const machine = registered();
    machine.at(1_000, { kind: 'wake' });
    finishRound(machine, 1_005, { isEarly: true });
    machine.at(1_010, { kind: 'clock-measured', sentMs: 1_005, receivedMs: 1_010, serverMs: DATABASE_MS - 1_500 });
    assert.deepEqual(
      machine.all('tick').map(({ tick }) => tick),
      [998],
    );
  });

  it('says that the database’s clock stepped back only if Postgres set slots back', () => {
    const machine = registered();
    assert.deepEqual(kindsOf(machine.at(50, { kind: 'rebased', slots: 0 })), []);
    machine.at(60, { kind: 'rebased', slots: 3 });
    assert.deepEqual(reports(machine), [{ kind: 'rebased', slots: 3 }]);
  });
});

describe('worker: a pause', () => {
  const ticks = (machine: Machine) => machine.all('tick').map(({ tick }) => tick);
  const measured = (sentMs: number, receivedMs: number, aheadMs: number): WorkerEvent => ({
    kind: 'clock-measured',
    sentMs,
    receivedMs,
    serverMs: DATABASE_MS + aheadMs + (sentMs + receivedMs) / 2,
  });

  it('of the machine, once noticed, lets no tick begin before the clock is measured again', () => {
    const machine = registered();
    machine.at(990, { kind: 'pause-noticed' });
    assert.equal(machine.all('measure-clock').length, 1);
    machine.at(1_000, { kind: 'wake' });
    assert.deepEqual([ticks(machine), machine.all('measure-clock')], [[], []]);
    machine.at(1_004, measured(990, 1_004, 8_000));
    assert.deepEqual(ticks(machine), [1_009]);
  });

  it('makes a measurement worthless that was under way', () => {
    const machine = registered();
    machine.at(5_004, { kind: 'wake' });
    assert.equal(machine.all('measure-clock').length, 1);
    machine.at(5_006, { kind: 'pause-noticed' });
    machine.at(5_007, measured(5_004, 5_007, 0));
    assert.deepEqual([ticks(machine), machine.all('measure-clock').length], [[], 1]);
    machine.at(5_012, { kind: 'clock-failed' });
    machine.at(5_270, { kind: 'wake' });
    assert.equal(machine.all('measure-clock').length, 1);
    machine.at(5_275, measured(5_270, 5_275, 8_000));
    assert.deepEqual(ticks(machine), [1_013]);
  });

  it('lets slots just claimed wait for the measurement, and counts what they missed in the next round', () => {
    const machine = registered();
    machine.at(300, snapshot(2, { a: [0, 1, 2, 3] }));
    machine.at(995, { kind: 'pause-noticed' });
    machine.at(1_001, claimed(2, [2, 3], 997));
    assert.deepEqual(ticks(machine), []);
    machine.at(1_005, measured(995, 1_005, 0));
    assert.deepEqual(machine.all('tick'), [
      { kind: 'tick', lane: 'round', tick: 1_001, slots: [0, 1, 2, 3], withBefore: true },
    ]);
    const before = [
      { slot: 0, lastTick: 1_000, rows: 1 },
      { slot: 2, lastTick: 997, rows: 2 },
    ];
    finishRound(machine, 1_010, { rows: 4, before });
    assert.ok(reports(machine).some((report) => report.kind === 'ticks-missed' && report.missed === 6));
  });

  it('of the process shows in a step more than a second later than asked, and does not repeat itself', () => {
    const machine = registered();
    machine.at(4_000, { kind: 'wake' });
    assert.deepEqual([machine.all('measure-clock').length, ticks(machine)], [1, []]);
    // Always late, and yet it ticks.
    machine.at(6_500, measured(4_000, 6_500, 0));
    assert.deepEqual(ticks(machine), [1_006]);
  });

  it('leaves its mark in what is counted: the fence says which slots missed ticks, others had been ticked', () => {
    const machine = registered();
    machine.at(4_000, { kind: 'wake' });
    machine.at(4_005, measured(4_000, 4_005, 0));
    const [tick] = machine.all('tick');
    assert.deepEqual([tick?.tick, tick?.withBefore], [1_004, true]);
    finishRound(machine, 4_010, { rows: 1, lost: [1], before: [{ slot: 0, lastTick: 1_000, rows: 1 }] });
    assert.ok(reports(machine).some((report) => report.kind === 'ticks-missed' && report.missed === 3));
    const [told] = machine.all('tell-applied');
    assert.deepEqual([told?.applied.slots, told?.applied.missed, told?.applied.version], [0, 3, 1]);
  });

  it('is told from a database clock that was set forward, whose skipped numbers nobody missed', () => {
    const machine = registered();
    const host = (event: WorkerEvent, hostMs: number) => ({ ...event, hostMs }) as WorkerEvent;
    machine.at(5_004, { kind: 'wake' });
    machine.at(5_005, host(measured(5_004, 5_005, 0), 90_000));
    finishRound(machine, 5_006, { rows: 2 });
    machine.at(6_000, { kind: 'wake' });
    finishRound(machine, 6_005, { rows: 2 });
    machine.at(6_006, { kind: 'pause-noticed' });
    machine.at(6_008, host(measured(6_007, 6_008, 9_000), 91_003));
    assert.deepEqual(ticks(machine), [1_015]);
    const before = [0, 1].map((slot) => ({ slot, lastTick: 1_006, rows: 1 }));
    finishRound(machine, 6_010, { rows: 2, before });
    assert.deepEqual(
      reports(machine).filter(({ kind }) => kind === 'ticks-missed'),
      [],
    );
  });
});

describe('worker: drained', () => {
  it('says so at once, in its key and to probes, and stays alive and ready', () => {
    const machine = registered();
    machine.at(100, { kind: 'drain-requested' });
    assert.deepEqual(reports(machine), [{ kind: 'drained' }]);
    assert.deepEqual(machine.all('renew'), [{ kind: 'renew', value: livenessOf(machine.state) }]);
    assert.deepEqual([livenessOf(machine.state).state, findUnready(machine.state, 100)], ['drained', null]);
    machine.at(105, { kind: 'renewed' });
    machine.at(600, { kind: 'wake' });
    assert.equal(machine.all('renew')[0]?.value.state, 'drained');
  });

  it('DESIGN §7: ticks what it had until the fence names others, then nothing, though its ticks move on', () => {
    const machine = registered();
    machine.at(100, { kind: 'drain-requested' });
    machine.at(130, snapshot(2, { b: [0, 1, 2, 3] }));
    machine.at(1_000, { kind: 'wake' });
    assert.deepEqual(machine.all('tick'), [{ kind: 'tick', lane: 'lingering', tick: 1_001, slots: [0, 1] }]);
    finishRound(machine, 1_005, { lost: [0, 1] });
    finishRound(machine, 1_006);
    machine.at(2_000, { kind: 'wake' });
    assert.deepEqual(machine.all('tick'), [{ kind: 'tick', lane: 'round', tick: 1_002, slots: [] }]);
    assert.deepEqual(machine.all('stop'), []);
  });

  it('undrained says so at once, and takes what the next snapshot gives it', () => {
    const machine = registered();
    machine.at(100, { kind: 'drain-requested' });
    machine.at(101, { kind: 'undrain-requested' });
    assert.deepEqual(reports(machine), [{ kind: 'undrained' }]);
    assert.deepEqual(machine.all('renew'), [], 'the renewal under way is waited for');
    machine.at(105, { kind: 'renewed' });
    assert.equal(machine.all('renew')[0]?.value.state, 'active');
    machine.at(130, snapshot(2, { a: [0, 1, 2], b: [3] }));
    assert.equal(machine.all('claim').length, 1);
  });

  it('asked twice it does nothing more; leaving is more than being drained', () => {
    const machine = registered();
    assert.deepEqual(machine.at(90, { kind: 'undrain-requested' }), []);
    machine.at(100, { kind: 'drain-requested' });
    assert.deepEqual(machine.at(101, { kind: 'drain-requested' }), []);
    machine.at(110, { kind: 'leave-requested' });
    assert.deepEqual(machine.at(111, { kind: 'undrain-requested' }), []);
    assert.equal(livenessOf(machine.state).state, 'leaving');
  });
});

describe('worker: the planned leave', () => {
  it('DESIGN §7: deletes its key, ticks on until no slot is its own, then stops with code 0', () => {
    const machine = registered();
    machine.at(100, { kind: 'leave-requested' });
    assert.deepEqual([reports(machine), machine.all('remove-key').length], [[{ kind: 'leaving' }], 1]);
    assert.equal(livenessOf(machine.state).state, 'leaving');
    machine.at(110, { kind: 'key-removed', removed: true });
    machine.at(130, snapshot(2, { b: [0, 1, 2, 3] }));
    assert.deepEqual(kindsOf(machine.effects), ['report', 'read-owned']);
    machine.at(135, { kind: 'owned-read', slots: [0, 1] });
    assert.equal(machine.wakeAtMs, 155);
    machine.at(1_000, { kind: 'wake' });
    assert.deepEqual(machine.all('tick'), [{ kind: 'tick', lane: 'lingering', tick: 1_001, slots: [0, 1] }]);
    machine.at(1_010, { kind: 'owned-read', slots: [] });
    assert.deepEqual(machine.all('stop'), [{ kind: 'stop', code: 0, reason: 'left; every slot has its new owner' }]);
    assert.equal(machine.wakeAtMs, null);
  });

  it('DESIGN §7: the removal waits for the renewal under way', () => {
    const machine = registered();
    machine.at(510, { kind: 'wake' });
    assert.equal(machine.all('renew').length, 1);
    machine.at(511, { kind: 'leave-requested' });
    assert.deepEqual(machine.all('remove-key'), []);
    machine.at(515, { kind: 'renewed' });
    assert.equal(machine.all('remove-key').length, 1);
  });

  it('DESIGN §7: the last worker leaves at once', () => {
    const machine = registered({ a: [0, 1, 2, 3] });
    machine.at(100, { kind: 'leave-requested' });
    machine.at(105, { kind: 'key-removed', removed: true });
    assert.deepEqual(machine.all('stop'), [{ kind: 'stop', code: 0, reason: 'left as the last worker' }]);
  });

  it('DESIGN §7: the grace ends at 10 s', () => {
    const machine = registered();
    machine.at(100, { kind: 'leave-requested' });
    machine.at(105, { kind: 'key-removed', removed: true });
    machine.at(10_099, { kind: 'wake' });
    assert.deepEqual(machine.all('stop'), []);
    machine.at(10_100, { kind: 'wake' });
    assert.equal(machine.all('stop').length, 1);
  });

  it('asked to leave before its id was checked it stops at once; asked twice it leaves once', () => {
    const machine = fresh();
    machine.at(0, { kind: 'wake' });
    machine.at(1, { kind: 'leave-requested' });
    assert.equal(machine.all('stop')[0]?.code, 0);
    const leaving = registered();
    leaving.at(100, { kind: 'leave-requested' });
    assert.deepEqual(leaving.at(101, { kind: 'leave-requested' }), []);
  });
});
