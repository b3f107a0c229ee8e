import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  currentSnapshot,
  findUnready,
  recentRecoveries,
  startCoordinator,
  stepCoordinator,
} from '../../services/coordinator/machine.ts';
import type { CoordinatorEvent, Office } from '../../services/coordinator/protocol.ts';
import { decodeSnapshot, encodeSnapshot, type Order, type Snapshot } from '../../shared/ring/snapshot.ts';
import {
  Harness,
  kindsOf,
  makeCoordinatorConfig,
  makeEntry,
  makeLiveness,
  makeOffice,
  makeSnapshotOf,
  makeTable,
} from '../support/machine-fixtures.ts';

const orderOf = ({ epoch, version }: Order): Order => ({ epoch, version });
const RING = makeSnapshotOf({ epoch: 4, version: 7 }, { a: [0, 1, 2, 3], b: [4, 5, 6, 7] });
const STORED = { newest: { sequence: 30, snapshot: RING }, workers: ['a', 'b'] };

/** One that has been connected for long. */
function standby() {
  const started = startCoordinator(makeCoordinatorConfig());
  return new Harness({ ...started, connectedAtMs: Number.NEGATIVE_INFINITY }, stepCoordinator);
}

/** Whose process has only just begun. */
function newcomer() {
  return new Harness(startCoordinator(makeCoordinatorConfig()), stepCoordinator);
}

/** Wins the vacant key, at 0. */
function holder(machine = standby()) {
  machine.at(0, { kind: 'wake' });
  machine.at(0, { kind: 'leader-read', entry: null });
  machine.at(0, { kind: 'leader-written', sentMs: 0, outcome: { kind: 'won', revision: 1 } });
  return machine;
}

function leader(office: Parameters<typeof makeOffice>[0] = STORED) {
  const machine = holder();
  machine.at(1, { kind: 'office-ready', attempt: 1, office: makeOffice(office) });
  return machine;
}

type Machine = ReturnType<typeof standby>;

/** Answers a renewal, sent at that time, with success. */
function acknowledge(machine: Machine, sentMs: number): void {
  machine.at(sentMs, { kind: 'leader-written', sentMs, outcome: { kind: 'won', revision: 2 } });
}

/** The snapshot that the last step published. */
function publishedBy(machine: Machine): Snapshot {
  const [effect] = machine.all('publish-snapshot');
  assert.ok(effect, 'a snapshot is published');
  return effect.snapshot;
}

/** A leader whose announcement (5, 8) is stored as sequence 31. */
function settled(): Machine {
  const machine = leader();
  machine.at(2, { kind: 'snapshot-published', sequence: 31, order: orderOf(publishedBy(machine)) });
  return machine;
}

/** Lets the hold lapse, wins the key again. */
function lapseAndWin(machine: Machine, nowMs: number): void {
  machine.at(nowMs, { kind: 'wake' });
  machine.at(nowMs, { kind: 'leader-read', entry: null });
  machine.at(nowMs, { kind: 'leader-written', sentMs: nowMs, outcome: { kind: 'won', revision: 9 } });
}

function reasons(machine: Machine): string[] {
  return machine.all('report').flatMap(({ report }) => (report.kind === 'stepped-down' ? [report.reason] : []));
}

describe('coordinator: taking office', () => {
  it('DESIGN §7: looks, makes the key, takes office, publishes under its epoch', () => {
    const machine = standby();
    assert.deepEqual(kindsOf(machine.at(0, { kind: 'wake' })), ['read-leader', 'check-table']);
    machine.at(0, { kind: 'leader-read', entry: null });
    assert.deepEqual(machine.effects, [{ kind: 'write-leader', epoch: 0, revision: null }]);
    machine.at(1, { kind: 'leader-written', sentMs: 0, outcome: { kind: 'won', revision: 1 } });
    assert.deepEqual(machine.all('take-office'), [{ kind: 'take-office', attempt: 1, lapsedEpoch: null }]);
    machine.at(2, { kind: 'office-ready', attempt: 1, office: makeOffice(STORED) });
    const snapshot = publishedBy(machine);
    assert.deepEqual(machine.all('publish-snapshot'), [{ kind: 'publish-snapshot', snapshot, expectedSequence: 30 }]);
    assert.deepEqual([orderOf(snapshot), snapshot.cause], [{ epoch: 5, version: 8 }, { kind: 'leader-changed' }]);
    assert.deepEqual(snapshot.workers, RING.workers);
    assert.equal(currentSnapshot(machine.state), null, 'not before the stream has it');
  });

  it('DESIGN §4: where the stream is lost the fence says who has what, and the versions go on above its highest', () => {
    const owners = ['a', 'a', 'a', 'a', 'b', 'b', 'b', 'b'];
    const machine = leader({ fence: { order: { epoch: 4, version: 11 }, owners }, workers: ['a', 'b'] });
    const snapshot = publishedBy(machine);
    assert.deepEqual(orderOf(snapshot), { epoch: 5, version: 12 });
    assert.deepEqual(
      snapshot.workers.map(({ id, slots }) => [id, slots]),
      [
        ['a', '0-3'],
        ['b', '4-7'],
      ],
    );
  });

  it('an office that cannot be taken is let go, and tried again after a second', () => {
    const machine = holder();
    machine.at(5, { kind: 'office-failed', attempt: 1, reason: 'Postgres is away' });
    assert.deepEqual(machine.all('remove-leader'), [{ kind: 'remove-leader', revision: 1 }]);
    machine.at(6, { kind: 'leader-read', entry: null });
    assert.deepEqual(machine.all('write-leader'), []);
    assert.equal(machine.wakeAtMs, 1_005);
  });

  it('does nothing for members, table or ring outside a term', () => {
    const machine = holder();
    const before = machine.state;
    machine.at(3, { kind: 'worker-heard', value: makeLiveness('a') });
    machine.at(3, { kind: 'table-changed', since: 'seen-1', change: null });
    machine.at(3, { kind: 'snapshot-refused', order: { epoch: 4, version: 7 }, reason: 'late' });
    // It only watches.
    const { readiness } = before;
    assert.deepEqual([machine.effects, { ...machine.state, readiness }], [[], before]);
  });

  it('DESIGN §3: what it publishes from the fence is whole, also where some slots were never claimed', () => {
    const owners = ['a', 'a', 'a', null, 'b', 'b', 'b', 'b'];
    const machine = leader({ fence: { order: { epoch: 4, version: 11 }, owners }, workers: ['a', 'b'] });
    const decoded = decodeSnapshot(encodeSnapshot(publishedBy(machine)), { slots: 8 });
    assert.deepEqual(decoded.ok || decoded.reason, true);
  });

  it('a snapshot of another number of slots does not end the process', () => {
    const foreign = makeSnapshotOf({ epoch: 4, version: 7 }, { a: [0, 1, 2, 3] }, { slots: 4 });
    const office: Partial<Office> = { newest: { sequence: 30, snapshot: foreign } };
    const machine = leader({ ...office, workers: ['a', 'b'] });
    const [announced] = machine.all('publish-snapshot');
    const order = announced === undefined ? { epoch: 5, version: 8 } : orderOf(announced.snapshot);
    assert.doesNotThrow(() => machine.at(100, { kind: 'snapshot-published', sequence: 31, order }));
  });

  it('no count ends the process, neither one that was found nor one that changes add up to', () => {
    const machine = leader({
      newest: { sequence: 0, snapshot: null },
      table: makeTable([-1, Number.NaN, 2 ** 40, 1.5, 1, 1, 1, 1]),
      workers: ['a', 'b'],
    });
    machine.at(30, { kind: 'wake' });
    const snapshot = publishedBy(machine);
    assert.deepEqual(decodeSnapshot(encodeSnapshot(snapshot), { slots: 8 }), { ok: true, snapshot });
    machine.at(40, { kind: 'snapshot-published', sequence: 1, order: orderOf(snapshot) });
    const report = (nowMs: number, delta: number) => {
      const found = { deltas: [{ slot: 0, delta }], added: 0, removed: 9, at: 'seen-1' };
      machine.at(nowMs, {
        kind: 'table-changed',
        since: 'seen-1',
        change: { ...found, recount: false, connection: 'first', readMs: 1 },
      });
    };
    report(51, -9);
    assert.deepEqual(machine.all('count-table'), [{ kind: 'count-table' }]);
    machine.at(52, { kind: 'table-counted', table: null });
    machine.at(350, { kind: 'wake' });
    assert.deepEqual(machine.all('read-changes'), [{ kind: 'read-changes', since: 'seen-1' }]);
    report(351, Number.MAX_SAFE_INTEGER);
    const next = publishedBy(machine);
    assert.deepEqual(decodeSnapshot(encodeSnapshot(next), { slots: 8 }), { ok: true, snapshot: next });
  });

  it('an answer to a former attempt at taking office is not taken for the latest', () => {
    const machine = holder();
    lapseAndWin(machine, 1_501);
    machine.at(1_502, { kind: 'office-ready', attempt: 1, office: makeOffice({ ...STORED, epoch: 5 }) });
    machine.at(1_503, { kind: 'office-ready', attempt: 2, office: makeOffice({ ...STORED, epoch: 6 }) });
    assert.equal(machine.state.term?.epoch, 6);
  });
});

describe('coordinator: a term', () => {
  it('DESIGN §6: a worker that left is planned for 20 ms later, its rows given to the others', () => {
    const machine = settled();
    machine.at(100, { kind: 'worker-removed', worker: 'b', revision: null });
    assert.deepEqual(machine.all('publish-snapshot'), []);
    machine.at(120, { kind: 'wake' });
    const snapshot = publishedBy(machine);
    assert.deepEqual(snapshot.cause, { kind: 'worker-left', worker: 'b', evidence: 'left' });
    assert.deepEqual(snapshot.moved, { slots: 4, rows: 4, minimumRows: 4 });
    machine.at(125, { kind: 'snapshot-published', sequence: 32, order: orderOf(snapshot) });
    assert.equal(currentSnapshot(machine.state), snapshot);
  });

  it('a drained worker is planned without, and joins again when it is undrained', () => {
    const machine = settled();
    machine.at(100, { kind: 'worker-heard', value: makeLiveness('b', { state: 'drained' }) });
    machine.at(120, { kind: 'wake' });
    const drained = publishedBy(machine);
    assert.deepEqual(drained.cause, { kind: 'worker-left', worker: 'b', evidence: 'drained' });
    assert.deepEqual(
      drained.workers.map(({ id }) => id),
      ['a'],
    );
    machine.at(125, { kind: 'snapshot-published', sequence: 32, order: orderOf(drained) });
    machine.at(200, { kind: 'worker-heard', value: makeLiveness('b') });
    machine.at(220, { kind: 'wake' });
    assert.deepEqual(publishedBy(machine).cause, { kind: 'worker-joined', worker: 'b' });
  });

  it('DESIGN §3: where all are drained the ring stays as it is; the last active one’s rows go to the drained', () => {
    const all = settled();
    for (const id of ['a', 'b']) all.at(100, { kind: 'worker-heard', value: makeLiveness(id, { state: 'drained' }) });
    all.at(120, { kind: 'wake' });
    assert.deepEqual(all.all('publish-snapshot'), []);

    const last = settled();
    last.at(100, { kind: 'worker-heard', value: makeLiveness('b', { state: 'drained' }) });
    last.at(120, { kind: 'wake' });
    last.at(125, { kind: 'snapshot-published', sequence: 32, order: orderOf(publishedBy(last)) });
    last.at(200, { kind: 'worker-removed', worker: 'a', revision: null });
    last.at(220, { kind: 'wake' });
    assert.deepEqual(
      publishedBy(last).workers.map(({ id, slots }) => [id, slots]),
      [['b', '0-7']],
    );
  });

  it('probes each worker once a second while NATS tells of lost connections for certain, four times a second else', () => {
    /** How often b is asked within two seconds, while all answer and the office is kept. */
    const probesIn = (machine: Machine, fromMs: number) => {
      let probes = 0;
      for (let nowMs = fromMs; nowMs < fromMs + 2_000; nowMs += 25) {
        const events: CoordinatorEvent[] = [
          ...['a', 'b'].map((id) => ({ kind: 'worker-heard', value: makeLiveness(id, { tick: nowMs }) }) as const),
          { kind: 'wake' },
        ];
        for (let event = events.shift(); event !== undefined; event = events.shift()) {
          machine.at(nowMs, event);
          for (const { worker } of machine.all('probe-worker')) {
            probes += worker === 'b' ? 1 : 0;
            events.push({ kind: 'worker-probed', worker, answer: { kind: 'answered', value: makeLiveness(worker) } });
          }
          if (machine.all('write-leader').length > 0) {
            events.push({ kind: 'leader-written', sentMs: nowMs, outcome: { kind: 'won', revision: nowMs } });
          }
        }
      }
      return probes;
    };
    const machine = settled();
    // Asked in the step that began the term.
    for (const worker of ['a', 'b']) {
      machine.at(20, { kind: 'worker-probed', worker, answer: { kind: 'answered', value: makeLiveness(worker) } });
    }
    assert.ok(probesIn(machine, 25) >= 7);
    machine.at(2_010, { kind: 'disconnects-certain', isCertain: true });
    assert.equal(probesIn(machine, 2_025), 2);
    machine.at(4_010, { kind: 'disconnects-certain', isCertain: false });
    assert.ok(probesIn(machine, 4_025) >= 7);
  });

  it('reads the fence’s progress once a second, and asks for the rows of those whose newest tick stands still', () => {
    const machine = settled();
    const reads: { readonly atMs: number; readonly asked: readonly unknown[] }[] = [];
    for (let nowMs = 500; nowMs < 5_000; nowMs += 50) {
      const events: CoordinatorEvent[] = [
        { kind: 'leader-written', sentMs: nowMs, outcome: { kind: 'won', revision: nowMs } },
        ...['a', 'b'].map((id) => ({ kind: 'worker-heard', value: makeLiveness(id, { tick: nowMs }) }) as const),
      ];
      // The second answer is late: until it comes nothing is asked.
      const isAnswered = nowMs < 2_000 || nowMs > 3_500;
      if (isAnswered && reads.length > 0) {
        const progress = { ticks: [{ worker: 'b', tick: nowMs }], asked: [], idle: [] };
        events.push({ kind: 'progress-read', progress });
      }
      for (const event of events) {
        machine.at(nowMs, event);
        for (const { asked } of machine.all('read-progress')) reads.push({ atMs: nowMs, asked });
      }
    }
    const ofA = { worker: 'a', slots: [0, 1, 2, 3] };
    assert.deepEqual(reads, [
      { atMs: 1_050, asked: [] },
      { atMs: 2_050, asked: [] },
      { atMs: 3_550, asked: [ofA] },
      { atMs: 4_550, asked: [ofA] },
    ]);
  });

  it('DESIGN §6: the server’s word of a lost connection: probes that worker at once; a standby, its leader', () => {
    const leading = settled();
    leading.at(100, { kind: 'connection-closed', client: 'b' });
    assert.ok(leading.all('probe-worker').some(({ worker }) => worker === 'b'));
    const standing = standby();
    standing.at(0, { kind: 'wake' });
    const entry = { id: 'other', epoch: 4, startedAt: '2026-11-23T09:00:00.000Z', revision: 3 };
    standing.at(1, { kind: 'leader-read', entry });
    standing.at(2, { kind: 'leader-probed', leader: 'other', answer: { kind: 'answered', value: null } });
    standing.at(10, { kind: 'connection-closed', client: 'b' });
    assert.deepEqual(standing.effects, []);
    standing.at(20, { kind: 'connection-closed', client: 'other' });
    assert.deepEqual(standing.effects, [{ kind: 'probe-leader', leader: 'other' }]);
    standing.at(22, { kind: 'leader-probed', leader: 'other', answer: { kind: 'no-responders' } });
    assert.deepEqual(standing.effects, [{ kind: 'write-leader', epoch: 0, revision: 3 }]);
  });

  it('DESIGN §4: refused: lets the key go, deleted by its revision, and the term ends', () => {
    const machine = leader();
    machine.at(5, { kind: 'snapshot-refused', order: orderOf(publishedBy(machine)), reason: 'wrong last sequence' });
    assert.deepEqual(machine.all('remove-leader'), [{ kind: 'remove-leader', revision: 1 }]);
    assert.deepEqual([machine.state.term, machine.state.lapsedEpoch], [null, null]);
    assert.equal(reasons(machine).length, 1);
  });

  it('ends its term when Postgres has issued a later epoch, whether its holder published or not', () => {
    for (const newest of [
      { sequence: 31, snapshot: null },
      { sequence: 32, snapshot: { ...RING, epoch: 6, version: 9 } },
      null,
    ]) {
      const machine = settled();
      machine.at(50, { kind: 'newest-read', newest, lastEpoch: 6 });
      assert.equal(machine.state.term, null);
      assert.match(reasons(machine)[0] ?? '', /epoch 6 has been issued since/);
    }
  });

  it('ends its term when Postgres has forgotten its epoch, as after a restore', () => {
    const machine = settled();
    machine.at(50, { kind: 'newest-read', newest: { sequence: 31, snapshot: RING }, lastEpoch: 4 });
    assert.equal(machine.state.term, null);
    assert.match(reasons(machine)[0] ?? '', /only up to 4/);
  });

  it('replaces a snapshot of an epoch that Postgres never issued by the ring in force, and reports it once', () => {
    const machine = settled();
    const snapshot = currentSnapshot(machine.state);
    const forged = { ...RING, epoch: 6, version: 9 };
    machine.at(50, { kind: 'newest-read', newest: { sequence: 32, snapshot: forged }, lastEpoch: 5 });
    assert.deepEqual(machine.all('publish-snapshot'), [{ kind: 'publish-snapshot', snapshot, expectedSequence: 32 }]);
    const report = (sequence: number) => ({
      kind: 'report',
      report: {
        kind: 'snapshot-rejected',
        snapshot: {
          epoch: 6,
          version: 9,
          sequence,
          reason: 'expected an epoch from 1 to 5, the last that Postgres issued, got 6',
        },
      },
    });
    assert.deepEqual(machine.all('report'), [report(32)]);
    machine.at(51, { kind: 'snapshot-failed', order: { epoch: 5, version: 8 }, reason: 'no answer' });
    machine.at(52, { kind: 'newest-read', newest: { sequence: 32, snapshot: forged }, lastEpoch: 5 });
    assert.deepEqual([machine.all('report'), machine.all('publish-snapshot').length], [[], 1]);
    assert.notEqual(machine.state.term, null);
  });

  it('replaces a snapshot of its own epoch whose version leaps, and keeps its own version', () => {
    const machine = settled();
    const snapshot = currentSnapshot(machine.state);
    const forged = { ...RING, epoch: 5, version: Number.MAX_SAFE_INTEGER };
    machine.at(50, { kind: 'newest-read', newest: { sequence: 32, snapshot: forged }, lastEpoch: 5 });
    assert.deepEqual(machine.all('publish-snapshot'), [{ kind: 'publish-snapshot', snapshot, expectedSequence: 32 }]);
    assert.equal(machine.state.term?.planner.version, 8);
  });

  it('does not judge a later epoch while Postgres does not answer, and asks again', () => {
    const machine = settled();
    machine.at(50, { kind: 'snapshot-heard', order: { epoch: 6, version: 9 } });
    const newest = { sequence: 32, snapshot: { ...RING, epoch: 6, version: 9 } };
    machine.at(60, { kind: 'newest-read', newest, lastEpoch: null });
    const reports = machine.all('report').map(({ report }) => report.kind);
    assert.deepEqual([machine.all('publish-snapshot'), reports], [[], ['trouble-began']]);
    assert.notEqual(machine.state.term, null);
    machine.at(310, { kind: 'wake' });
    assert.equal(machine.all('read-newest').length, 1);
  });

  it('looks at once when it hears a snapshot that is not its own, and publishes the ring in force above it', () => {
    const machine = settled();
    const own = currentSnapshot(machine.state);
    assert.ok(own);
    machine.at(50, { kind: 'snapshot-heard', order: orderOf(own) });
    assert.equal(machine.all('read-newest').length, 0);
    const foreign = { ...RING, epoch: 5, version: 12 };
    machine.at(51, { kind: 'snapshot-heard', order: orderOf(foreign) });
    assert.equal(machine.all('read-newest').length, 1);
    machine.at(52, { kind: 'newest-read', newest: { sequence: 32, snapshot: foreign }, lastEpoch: 5 });
    const [publish] = machine.all('publish-snapshot');
    assert.deepEqual(publish?.snapshot.workers, own.workers);
    assert.deepEqual([publish?.snapshot.version, publish?.expectedSequence], [13, 32]);
    const report = { kind: 'snapshot-overruled', epoch: 5, version: 12, sequence: 32 };
    assert.deepEqual(machine.all('report'), [{ kind: 'report', report }]);
  });

  it('publishes what was in doubt above a foreign snapshot of its epoch', () => {
    const machine = leader();
    const doubted = publishedBy(machine);
    machine.at(1_000, { kind: 'snapshot-failed', order: orderOf(doubted), reason: 'no answer' });
    const foreign = { ...RING, epoch: 5, version: 40 };
    machine.at(1_001, { kind: 'newest-read', newest: { sequence: 33, snapshot: foreign }, lastEpoch: 5 });
    const [publish] = machine.all('publish-snapshot');
    assert.deepEqual(publish, {
      kind: 'publish-snapshot',
      snapshot: { ...doubted, version: 41, at: publish?.snapshot.at },
      expectedSequence: 33,
    });
  });

  it('rejects a report of a snapshot that this term has not published', () => {
    const machine = settled();
    const applied = { worker: 'a', claimedMs: 1, firstTickMs: null, slots: 1, rows: 0, missed: 0 };
    for (const order of [
      { epoch: 5, version: 9 },
      { epoch: Number.MAX_SAFE_INTEGER, version: 1 },
    ]) {
      machine.at(50, { kind: 'ring-applied', applied: { ...applied, ...order } });
      const report = { kind: 'applied-rejected', applied: { ...applied, ...order } };
      assert.deepEqual(machine.all('report'), [{ kind: 'report', report }]);
    }
  });

  it('reports what does not fit the epochs that Postgres issued when it begins its term', () => {
    const rejected = { epoch: 7, version: 9, sequence: 30, reason: 'why' };
    const oddities = { rejected, raisedFrom: 4, forgedSlots: 2 };
    const machine = leader({ ...STORED, newest: { sequence: 30, snapshot: null }, oddities });
    const kinds = machine.all('report').map(({ report }) => report.kind);
    assert.deepEqual(kinds.slice(0, 3), ['snapshot-rejected', 'epoch-raised', 'fence-forged']);
  });

  it('a publish without an answer: reads the newest, and takes it as stored or sends it again as it was', () => {
    const machine = leader();
    const snapshot = publishedBy(machine);
    machine.at(1_000, { kind: 'snapshot-failed', order: orderOf(snapshot), reason: 'no answer' });
    assert.equal(machine.all('read-newest').length, 1);
    machine.at(1_001, { kind: 'newest-read', newest: { sequence: 30, snapshot: RING }, lastEpoch: 5 });
    assert.deepEqual(machine.all('publish-snapshot'), [{ kind: 'publish-snapshot', snapshot, expectedSequence: 30 }]);
    machine.at(1_002, { kind: 'snapshot-failed', order: orderOf(snapshot), reason: 'no answer' });
    machine.at(1_003, { kind: 'newest-read', newest: { sequence: 31, snapshot }, lastEpoch: 5 });
    assert.deepEqual([currentSnapshot(machine.state), machine.all('publish-snapshot')], [snapshot, []]);
  });

  it('a read of the newest that crosses a publish neither repeats it nor ends the term', () => {
    const machine = leader();
    const snapshot = publishedBy(machine);
    machine.at(3, { kind: 'newest-read', newest: { sequence: 30, snapshot: RING }, lastEpoch: 5 });
    assert.deepEqual(machine.all('publish-snapshot'), []);
    machine.at(4, { kind: 'snapshot-published', sequence: 31, order: orderOf(snapshot) });
    machine.at(5, { kind: 'snapshot-refused', order: orderOf(snapshot), reason: 'wrong last sequence' });
    assert.notEqual(machine.state.term, null);
  });

  it('a refusal of a former term’s publish does not end this one', () => {
    const machine = settled();
    machine.at(5, { kind: 'snapshot-refused', order: { epoch: 3, version: 2 }, reason: 'wrong last sequence' });
    assert.notEqual(machine.state.term, null);
  });

  it('reads the bucket every 3 s and at once after a reconnect', () => {
    const machine = settled();
    for (const sentMs of [500, 1_000, 1_500, 2_000, 2_500, 3_000]) acknowledge(machine, sentMs);
    machine.at(3_001, { kind: 'wake' });
    assert.equal(machine.all('read-members').length, 1);
    machine.at(3_005, { kind: 'members-read', entries: null });
    machine.at(3_010, { kind: 'reconnected' });
    assert.equal(machine.all('read-members').length, 1);
    assert.equal(machine.state.term?.membership.blindUntilMs, 5_010);
  });

  it('DESIGN §6: a process that has just begun accuses nobody for one TTL: all may be on their way back like itself', () => {
    const machine = holder(newcomer());
    machine.at(100, { kind: 'office-ready', attempt: 1, office: makeOffice(STORED) });
    assert.equal(machine.state.term?.membership.blindUntilMs, 2_100);
    const nobody = { kind: 'worker-probed', worker: 'b', answer: { kind: 'no-responders' } } as const;
    machine.at(120, nobody);
    assert.deepEqual(machine.all('probe-worker'), []);
    machine.at(150, { kind: 'worker-heard', value: makeLiveness('b', { tick: 101 }) });
    machine.at(160, nobody);
    assert.equal(machine.all('probe-worker').length, 1, 'heard since, and gone: that is no effect of an outage');
  });

  it('DESIGN §6: whom it heard since it connected, if only while standing by, is missing when nobody answers', () => {
    const young = newcomer();
    young.at(0, { kind: 'wake' });
    young.at(50, { kind: 'worker-heard', value: makeLiveness('a') });
    const machine = holder(young);
    machine.at(100, { kind: 'office-ready', attempt: 1, office: makeOffice(STORED) });
    machine.at(120, { kind: 'worker-probed', worker: 'a', answer: { kind: 'no-responders' } });
    assert.equal(machine.all('probe-worker').length, 1);
    assert.deepEqual(machine.at(120, { kind: 'worker-probed', worker: 'b', answer: { kind: 'no-responders' } }), []);
    machine.at(130, { kind: 'reconnected' });
    assert.deepEqual(machine.at(140, { kind: 'worker-probed', worker: 'a', answer: { kind: 'no-responders' } }), []);
  });

  it('DESIGN §6: silence counts only while its own renewals are acknowledged: a gap starts every lease anew', () => {
    const machine = settled();
    machine.at(1_400, { kind: 'leader-written', sentMs: 1_300, outcome: { kind: 'won', revision: 2 } });
    assert.equal(machine.state.term?.membership.blindUntilMs, 3_400);
  });

  it('DESIGN §7: SIGTERM: lets the key go and stops', () => {
    const machine = settled();
    machine.at(10, { kind: 'leave-requested' });
    assert.deepEqual(kindsOf(machine.effects), ['remove-leader', 'report', 'stop']);
    assert.deepEqual([machine.at(20, { kind: 'wake' }), machine.wakeAtMs], [[], null]);
  });
});

describe('coordinator: how long a disruption took', () => {
  const recoveries = (machine: Machine) => machine.all('publish-recovery').map(({ recovery }) => recovery);
  const applied = (worker: string, order: Order) => ({
    kind: 'ring-applied' as const,
    applied: { worker, ...orderOf(order), claimedMs: 2, firstTickMs: 6, slots: 4, rows: 4, missed: 4 },
  });

  it('a worker that died: from the probe that found nobody to the first tick of the last who gained', () => {
    const machine = settled();
    const nobody = { kind: 'worker-probed', worker: 'b', answer: { kind: 'no-responders' } } as const;
    machine.at(100, nobody);
    machine.at(103, nobody);
    machine.at(104, { kind: 'key-read', worker: 'b', outcome: { entry: makeEntry('b', 2) } });
    machine.at(105, { kind: 'key-deleted', worker: 'b', outcome: 'deleted' });
    const snapshot = publishedBy(machine);
    machine.at(108, { kind: 'snapshot-published', sequence: 32, order: orderOf(snapshot) });
    assert.deepEqual(recoveries(machine), []);
    machine.at(116, applied('a', snapshot));
    const [recovery] = recoveries(machine);
    assert.deepEqual(recovery?.phases, {
      evidenceToDecided: 5,
      decidedToPublished: 3,
      publishedToLastClaim: 4,
      lastClaimToLastFirstTick: 4,
      total: 16,
    });
    assert.deepEqual([recovery?.cause.kind, recovery?.missed, recovery?.isComplete], ['worker-left', 4, true]);
    assert.deepEqual(recentRecoveries(machine.state)?.at(-1), recovery);
  });

  it('rows that came: from the moment on at which a poll found them', () => {
    const machine = settled();
    machine.at(100, { kind: 'wake' });
    const [read] = machine.all('read-changes');
    const found = { deltas: [{ slot: 0, delta: 4 }], added: 4, removed: 0, at: 'seen-2' };
    const change = { ...found, recount: false, connection: 'first', readMs: 4 };
    machine.at(104, { kind: 'table-changed', since: read?.since ?? '', change });
    const snapshot = publishedBy(machine);
    machine.at(127, { kind: 'snapshot-published', sequence: 32, order: orderOf(snapshot) });
    for (const { id } of snapshot.workers) machine.at(135, applied(id, snapshot));
    const recovery = recentRecoveries(machine.state)?.at(-1);
    assert.deepEqual([recovery?.cause.kind, recovery?.phases.evidenceToDecided], ['table-resized', 4]);
  });

  it('a leader that is gone: from its absence to the announcement, which gives nobody anything', () => {
    const machine = standby();
    machine.at(0, { kind: 'wake' });
    const entry = { id: 'other', epoch: 4, startedAt: 'then', revision: 3 };
    machine.at(1, { kind: 'leader-read', entry });
    const nobody = { kind: 'leader-probed', leader: 'other', answer: { kind: 'no-responders' } } as const;
    machine.at(10, nobody);
    machine.at(12, nobody);
    machine.at(14, { kind: 'leader-written', sentMs: 12, outcome: { kind: 'won', revision: 4 } });
    machine.at(20, { kind: 'office-ready', attempt: 1, office: makeOffice(STORED) });
    machine.at(23, { kind: 'snapshot-published', sequence: 31, order: orderOf(publishedBy(machine)) });
    const [recovery] = recoveries(machine);
    assert.deepEqual([recovery?.cause, recovery?.workers], [{ kind: 'leader-changed' }, 0]);
    assert.deepEqual([recovery?.phases.evidenceToDecided, recovery?.phases.total], [10, 13]);
  });

  it('is awake at the limit to say who did not tell, and publishes the ring all the same', () => {
    const machine = settled();
    machine.at(100, { kind: 'worker-removed', worker: 'b', revision: null });
    machine.at(120, { kind: 'wake' });
    machine.at(121, { kind: 'snapshot-published', sequence: 32, order: orderOf(publishedBy(machine)) });
    assert.equal(currentSnapshot(machine.state)?.version, 9);
    for (let sentMs = 500; sentMs <= 5_000; sentMs += 500) acknowledge(machine, sentMs);
    machine.at(5_120, { kind: 'wake' });
    assert.equal(machine.wakeAtMs, 5_121);
    machine.at(5_121, { kind: 'wake' });
    const [recovery] = recoveries(machine);
    assert.deepEqual([recovery?.isComplete, recovery?.missing], [false, ['a']]);
  });
});

describe('coordinator: a term that lapsed', () => {
  it('DESIGN §7: without an acknowledgement for 0.75 of the TTL it stops before it acts on anything', () => {
    const machine = settled();
    machine.at(1_501, { kind: 'worker-removed', worker: 'b', revision: null });
    assert.deepEqual([machine.state.term, machine.state.lapsedEpoch], [null, 5]);
    assert.deepEqual(reasons(machine), ['no acknowledgement in time']);
    assert.deepEqual(machine.all('publish-snapshot'), []);
  });

  it('DESIGN §9: resumed where nobody was elected since, it publishes nothing and evicts nobody for a TTL', () => {
    const machine = settled();
    const snapshot = currentSnapshot(machine.state);
    lapseAndWin(machine, 1_501);
    assert.deepEqual(machine.all('take-office'), [{ kind: 'take-office', attempt: 2, lapsedEpoch: 5 }]);
    machine.at(1_502, {
      kind: 'office-ready',
      attempt: 2,
      office: makeOffice({ ...STORED, newest: { sequence: 31, snapshot } }),
    });
    machine.at(1_550, { kind: 'wake' });
    assert.deepEqual(machine.all('publish-snapshot'), []);
    assert.equal(currentSnapshot(machine.state), snapshot);
    assert.equal(machine.state.term?.membership.blindUntilMs, 3_502);
  });

  it('DESIGN §9: after an outage that the key did not outlive the former leader comes first, a standby half a TTL later', () => {
    const former = settled();
    former.at(1_501, { kind: 'wake' });
    former.at(9_000, { kind: 'reconnected' });
    former.at(9_001, { kind: 'leader-read', entry: null });
    assert.equal(former.all('write-leader').length, 1);
    const other = standby();
    other.at(0, { kind: 'wake' });
    other.at(0, {
      kind: 'leader-read',
      entry: { id: 'other', epoch: 5, startedAt: '2026-11-23T10:00:00.000Z', revision: 3 },
    });
    other.at(9_000, { kind: 'reconnected' });
    other.at(9_001, { kind: 'leader-read', entry: null });
    assert.deepEqual([other.all('write-leader'), other.wakeAtMs], [[], 10_000]);
    other.at(10_000, { kind: 'wake' });
    assert.equal(other.all('write-leader').length, 1);
  });

  it('DESIGN §4: a resumed term never uses a version again that a publish in doubt may have carried to workers', () => {
    const machine = settled();
    const snapshot = currentSnapshot(machine.state);
    machine.at(100, { kind: 'worker-removed', worker: 'b', revision: null });
    machine.at(120, { kind: 'wake' });
    assert.deepEqual(orderOf(publishedBy(machine)), { epoch: 5, version: 9 });
    lapseAndWin(machine, 1_501);
    assert.deepEqual(machine.all('take-office'), [{ kind: 'take-office', attempt: 2, lapsedEpoch: null }]);
    const office = makeOffice({ ...STORED, epoch: 6, newest: { sequence: 31, snapshot } });
    machine.at(1_502, { kind: 'office-ready', attempt: 2, office });
    assert.equal(publishedBy(machine).epoch, 6);
  });
});

describe('coordinator: a damaged table', () => {
  const GONE = { kind: 'mendable', what: 'schema', reason: 'schema scaler is gone' } as const;
  const LACKING = { kind: 'mendable', what: 'equipment', reason: 'the table lacks its index' } as const;
  const SLOTS = settled().state.config.slots;

  it('begins a new term once schema scaler was created again, without resuming the old one', () => {
    const machine = settled();
    const epoch = machine.state.term?.epoch;
    machine.at(100, { kind: 'table-checked', verdict: GONE });
    assert.deepEqual(machine.all('mend-table'), [{ kind: 'mend-table', what: 'schema', above: epoch }]);
    const outcome = { kind: 'mended', what: 'schema', slots: SLOTS } as const;
    machine.at(150, { kind: 'table-mended', outcome });
    assert.equal(machine.state.term, null);
    assert.equal(machine.state.lapsedEpoch, null);
    assert.equal(machine.all('remove-leader').length, 1);
  });

  it('counts the table again once it got its index and triggers back', () => {
    const machine = settled();
    machine.at(100, { kind: 'table-checked', verdict: LACKING });
    const outcome = { kind: 'mended', what: 'equipment', slots: SLOTS } as const;
    machine.at(150, { kind: 'table-mended', outcome });
    const since = machine.state.term?.table.size.at;
    assert.ok(since);
    // The poll under way comes first.
    machine.at(160, { kind: 'table-changed', since, change: null });
    assert.equal(machine.all('count-table').length, 1);
  });

  it('is not mended by a standby that knows a leader', () => {
    const machine = standby();
    machine.at(0, { kind: 'wake' });
    const entry = { id: 'other', epoch: 1, startedAt: '2026-01-01T00:00:00.000Z', revision: 3 };
    machine.at(1, { kind: 'leader-read', entry });
    machine.at(2, { kind: 'table-checked', verdict: GONE });
    assert.deepEqual(machine.all('mend-table'), []);
    assert.equal(findUnready(machine.state, 3)?.reason, GONE.reason);
  });

  it('ends the process where another number of slots was adopted: all of it counts in the old one', () => {
    const machine = settled();
    machine.at(100, { kind: 'table-checked', verdict: GONE });
    const outcome = { kind: 'mended', what: 'schema', slots: 2 * SLOTS } as const;
    machine.at(150, { kind: 'table-mended', outcome });
    assert.equal(machine.all('stop')[0]?.code, 1);
  });
});
